# SPDX-License-Identifier: GPL-3.0-or-later
"""The running bridge: one event loop, one socket, one store, one chain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Mapping

from energy_bridge.chain import MarketChain, read_abi, read_operator
from energy_bridge.config import Config, ConfigError, read_source_keys
from energy_bridge.gate import close_due_slots
from energy_bridge.receiver import BUFFER_BYTES, Receiver
from energy_bridge.settlement import ChainError, MismatchError, Settlement
from energy_bridge.store import Store, StoreError

__all__ = ["run"]

log = logging.getLogger(__name__)


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, StoreError or MismatchError, or OSError for the socket."""
    secrets = _secrets(config)
    abi = read_abi(config.market_abi)
    operator = read_operator(config.operator_keystore, config.operator_password_file)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        sock = stack.enter_context(_socket(config.listen_host, config.listen_port))
        store = stack.enter_context(contextlib.closing(Store(config.database)))
        accounts = {actor.name: actor.address for actor in config.actors.values()}
        chain = MarketChain(
            config.rpc_url,
            chain_id=config.chain_id,
            market=config.market_address,
            abi=abi,
            operator=operator,
            accounts=accounts,
        )
        stack.push_async_callback(chain.close)
        stored = asyncio.Event()
        receiver = Receiver(
            sock, store, sources=config.actors.keys(), secrets=secrets, clock=time.time, on_stored=stored.set
        )
        settlement = Settlement(
            store,
            chain,
            confirmations=config.confirmations,
            clock=time.monotonic,
            on_final=receiver.notify_settled,
        )
        loop.add_reader(sock, receiver.drain)
        stack.callback(loop.remove_reader, sock)
        log.info("listening host=%s port=%d operator=%s", *sock.getsockname()[:2], operator.address)
        work = [
            asyncio.create_task(_close_slots(config, store, receiver, stored)),
            asyncio.create_task(_settle(config, settlement)),
            asyncio.create_task(stopping.wait()),
        ]
        done, pending = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
    log.info("stopped")


async def _close_slots(config: Config, store: Store, receiver: Receiver, stored: asyncio.Event) -> None:
    while True:
        stored.clear()
        try:
            settled = close_due_slots(
                store, actors=len(config.actors), grid=config.grid, grace_s=config.grace_s, now=time.time()
            )
            for slot in settled:
                receiver.notify_settled(slot)
        except StoreError as error:
            log.error("slots_not_closed reason=%s", error)  # noqa: TRY400 - the reason is all there is to say
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stored.wait(), config.poll_s)


async def _settle(config: Config, settlement: Settlement) -> None:
    checked, trouble = False, ""
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


def _secrets(config: Config) -> Mapping[str, bytes] | None:
    if config.source_keys is None:
        log.warning("UNAUTHENTICATED: source_keys is null, so anyone who reaches this port can trade for every actor")
        return None
    secrets = read_source_keys(config.source_keys)
    missing = sorted(config.actors.keys() - secrets.keys())
    if missing:
        raise ConfigError(f"{config.source_keys} has no secret for {', '.join(missing)}.")
    return secrets


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"UDP {host}:{port} cannot be used: {error.strerror}") from error
    return sock


# What ends the service with one sentence instead of a traceback.
FATAL = (ConfigError, StoreError, MismatchError, OSError)
