# SPDX-License-Identifier: GPL-3.0-or-later
"""The running bridge: threads that receive and store, and an event loop that clears, settles, and shows how it is."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from energy_bridge.agreement_chain import AgreementChain
from energy_bridge.agreements import AgreementSettlement, AgreementStore, agreements_of, open_store
from energy_bridge.api import Api
from energy_bridge.chain import MarketChain, read_abi, read_operator
from energy_bridge.config import Clock, Config, read_source_keys
from energy_bridge.figures import Board
from energy_bridge.gate import Gate, close_due_slots, settle_late_readings
from energy_bridge.intake import Intake, TimeRules, describe
from energy_bridge.metrics import Metrics
from energy_bridge.model import DAY_S, Reading
from energy_bridge.receiver import Allowed, Receiver, open_socket
from energy_bridge.settlement import ChainError, MismatchError, Settlement
from energy_bridge.site import Site, serving
from energy_bridge.store import Store, StoreError, nowhere
from energy_bridge.watch import Watch
from energy_bridge.web import Web
from energy_bridge.wire import Source, Sources
from energy_bridge.written import ConfigError

__all__ = ["FATAL", "market_chain", "run"]

log = logging.getLogger(__name__)

MOST_TRADES = 4000  # in one batch: 72 KB of the 128 KiB that a transaction may have, and a sixth of a block's gas
GATE_PAUSE_S = 0.2  # under load there is a commit every few milliseconds; slots need not be looked at that often
FIRST_LOOK_S = 3.0  # how long a node may take to say whether the database is the right one, before sources are heard
ARCHIVE_S = 3600.0

# What ends the service with one sentence instead of a traceback.
FATAL = (ConfigError, StoreError, MismatchError, OSError)


def market_chain(config: Config) -> MarketChain:
    """The market that this configuration names, with its operator's key; raises ConfigError."""
    if (agreements := agreements_of(config)) is not None:
        return AgreementChain(
            config.rpc_url,
            agreements=agreements,
            abi=read_abi(config.market_abi),
            operator=read_operator(config.operator_keystore, config.operator_password_file),
        )
    return MarketChain(
        config.rpc_url,
        chain_id=config.chain_id,
        market=config.market_address,
        abi=read_abi(config.market_abi),
        operator=read_operator(config.operator_keystore, config.operator_password_file),
        accounts={actor.name: actor.address for actor in config.actors.values()},
    )


def read_sources(config: Config) -> Sources:
    """Who may send, with the secrets as they stand in the file; raises ConfigError."""
    if config.source_keys is None:
        log.warning("UNAUTHENTICATED: source_keys is null, so anyone who reaches this port can trade for every actor")
        keys = {}
    else:
        keys = read_source_keys(config.source_keys)
        if missing := sorted(config.actors.keys() - keys.keys()):
            raise ConfigError(f"{config.source_keys} has no secret for {', '.join(missing)}.")
    return Sources(
        [Source(actor.name, actor.id, keys.get(actor.name, ())) for actor in config.actors.values()],
        authenticated=config.source_keys is not None,
        strict=config.strict,
    )


async def run(config: Config, *, at: Callable[[str], None] = nowhere) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, StoreError or MismatchError, or OSError for a socket.

    What was received by then is stored and answered before it ends. at is told of every durable step, as by Store.
    """
    sources, allowed, metrics = read_sources(config), Allowed(config.listen_allow), Metrics()
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end, ended)
    stored = asyncio.Event()

    def fail(error: BaseException) -> None:
        loop.call_soon_threadsafe(_end, ended, error)

    def wake() -> None:
        loop.call_soon_threadsafe(stored.set)

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_alone(config))
        chain = market_chain(config)
        stack.push_async_callback(chain.close)
        store = stack.enter_context(contextlib.closing(open_store(config, at=at)))
        sock = stack.enter_context(open_socket(config.listen_host, config.listen_port))
        intake = Intake(
            lambda: open_store(config, at=at),
            sources=sources,
            rules=TimeRules(config.slot_s, config.accept_horizon_s, wall_clock=config.clock is Clock.WALL),
            metrics=metrics,
            on_stored=wake,
            on_failure=fail,
        )
        receiver = Receiver(sock, intake, allowed=allowed, metrics=metrics, on_failure=fail)

        def tell(readings: Iterable[Reading]) -> None:
            at("notify before")
            _tell(store, intake, readings)
            at("notify after")

        settlement = _settlement(config, store, chain, tell)

        # A database that is not the right one acknowledges nothing. Whether it is has to wait where the node is away.
        checked = False
        with contextlib.suppress(ChainError, TimeoutError):
            await asyncio.wait_for(settlement.check(), FIRST_LOOK_S)
            checked = True
        intake.start()
        stack.push_async_callback(asyncio.to_thread, intake.stop)
        if config.web_port is not None:

            def make_site() -> Site:
                watch = Watch(config, lambda: board.outbox(), intake)  # noqa: PLW0108 - it is made of this one
                metrics.show(
                    queue_length=lambda: intake.queue_length,
                    kernel_dropped=receiver.kernel_dropped,
                    view=lambda: watch.view,
                )
                board = Board(config, watch, counts=metrics.counts)
                web = Web(
                    intake,
                    allowed=allowed,
                    authenticated=sources.authenticated,
                    metrics=metrics,
                    view=lambda: board.view,
                    period_s=config.period_s,
                    clock=time.time,
                    web_names=config.web_names,
                    api=Api(config, board),
                )
                return Site(watch, board, web)

            port = await stack.enter_async_context(
                serving(make_site, config.web_host, config.web_port, on_failure=fail)
            )
            log.info("serving host=%s port=%d", config.web_host, port)
        receiver.start()
        stack.push_async_callback(asyncio.to_thread, receiver.stop)
        log.info("listening host=%s port=%d operator=%s", *sock.getsockname()[:2], chain.operator)
        work = [
            asyncio.create_task(_close_slots(config, store, stored, tell)),
            asyncio.create_task(_settle(config, settlement, checked=checked)),
            asyncio.create_task(_archive(config, store)),
        ]
        done, _ = await asyncio.wait({*work, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        for one in done:
            one.result()
    log.info("stopped")


def _settlement(
    config: Config, store: Store, chain: MarketChain, on_settled: Callable[[list[Reading]], None]
) -> Settlement:
    """What settles, in the mode that the configuration names."""
    if isinstance(store, AgreementStore) and isinstance(chain, AgreementChain):
        return AgreementSettlement(
            store,
            chain,
            confirmations=config.confirmations,
            slot_s=config.slot_s,
            clock=time.time,
            on_settled=on_settled,
        )
    return Settlement(
        store,
        chain,
        confirmations=config.confirmations,
        slot_s=config.slot_s,
        most_trades=MOST_TRADES,
        clock=time.time,
        on_settled=on_settled,
    )


def _end(ended: asyncio.Future[None], error: BaseException | None = None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


def _tell(store: Store, intake: Intake, readings: Iterable[Reading]) -> None:
    """Tell the sources once what has come to an end; who misses it learns it by repeating its datagram."""
    for reading in readings:
        standing = store.standing(reading.source, reading.boot, reading.seq)
        if standing is not None and (answer := describe(standing))["status"] != "batched":
            intake.tell(reading.source, reading.boot, reading.seq, answer)


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Keep a second process off the operator's key for as long as this lasts; raises ConfigError."""
    try:
        folder = os.open(config.operator_keystore, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"The keystore {config.operator_keystore} cannot be read: {error.strerror}.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(
            f"Another bridge uses the key in {config.operator_keystore}: stop it, or give this one a key of its own."
        ) from error
    finally:
        os.close(folder)


async def _archive(config: Config, store: Store) -> None:
    """Move what is old out of the way, once an hour, into a file for each month."""
    while True:
        before = time.time() - config.retention_days * DAY_S
        month = time.strftime("%Y-%m", time.gmtime(before))
        try:
            if moved := store.archive(config.database.with_name(f"archive-{month}.sqlite"), before=before):
                log.info("archived batches=%d month=%s", moved, month)
        except StoreError as error:
            log.error("not_archived reason=%s", error)  # noqa: TRY400 - the reason is all there is to say
        await asyncio.sleep(ARCHIVE_S)


async def _close_slots(
    config: Config, store: Store, stored: asyncio.Event, tell: Callable[[Iterable[Reading]], None]
) -> None:
    gate = Gate(
        # Who only takes the fee may have nothing to say.
        actors=frozenset(config.actors) - {config.rules.fee_account},
        slot_s=config.slot_s,
        grace_s=config.grace_s,
        lead_s=config.lead_s,
        simulated=config.clock is Clock.SIMULATED,
    )
    while True:
        stored.clear()
        try:
            settled = close_due_slots(store, gate, config.rules, now=time.time())
            settled += settle_late_readings(store, config.rules)
            if settled:
                tell(settled)
        except StoreError as error:
            log.error("slots_not_closed reason=%s", error)  # noqa: TRY400 - the reason is all there is to say
        await asyncio.sleep(min(GATE_PAUSE_S, config.poll_s))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stored.wait(), config.poll_s)


async def _settle(config: Config, settlement: Settlement, *, checked: bool) -> None:
    trouble = ""
    while True:
        try:
            if not checked:
                await settlement.check()
                checked = True
            await settlement.step()
            if trouble:
                log.info("settling_again")
            trouble = ""
        except (ChainError, StoreError) as error:
            if str(error) != trouble:  # once per kind of trouble, not once per poll
                log.warning("not_settling reason=%s", error)
            trouble = str(error)
        await asyncio.sleep(config.poll_s)
