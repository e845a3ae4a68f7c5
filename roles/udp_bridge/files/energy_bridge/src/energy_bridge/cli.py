# SPDX-License-Identifier: GPL-3.0-or-later
"""The command energy-bridge: run it, look into it, compare it with the chain, copy it, play sources for it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from energy_bridge.config import read_config, read_source_keys
from energy_bridge.model import UINT32_MAX, Mode
from energy_bridge.store import Store, StoreError, nowhere
from energy_bridge.written import ConfigError

__all__ = ["main", "serve"]

T = TypeVar("T")

# Where the role udp_bridge puts it, unless it is told otherwise.
CONFIG = Path("/var/lib/clique/bridge/config.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the process's exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="energy-bridge", description=sys.modules["energy_bridge"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    for name, command, text in (
        ("run", _run, "Receive readings and settle them, until SIGTERM."),
        ("check", _check, "Check a configuration and say what is wrong with it."),
        ("status", _status, "Show how many readings and trades there are, and where they stand."),
        (
            "reconcile",
            _reconcile,
            "Compare database and chain, trade by trade; the exit status is 1 where they differ.",
        ),
        ("prove", _prove, "Show how a reading leads to the root that its batch has in the chain."),
        ("export", _export, "Write all trades as a table."),
        ("backup", _backup, "Copy the database to a new file, consistently, while the bridge goes on."),
        (
            "secret",
            _secret,
            "Show the secret of a source, or of all as JSON: 32 bytes in hex, the key of its datagrams' HMAC-SHA256.",
        ),
    ):
        sub = add(name, command, text)
        sub.add_argument("--config", type=Path, default=CONFIG, help="the bridge's config.json (default: %(default)s)")
        if name == "status":
            sub.add_argument("--json", action="store_true", help="for programs")
        if name == "reconcile":
            sub.add_argument(
                "--rebuild",
                action="store_true",
                help="fill the database, which has to be new, from the chain's logs (stop the bridge first)",
            )
        if name == "prove":
            sub.add_argument("source", help="the actor's name, as in pv")
            sub.add_argument("boot", type=int)
            sub.add_argument("seq", type=int)
        if name == "export":
            sub.add_argument("--format", choices=("csv", "parquet"), default="csv", help="parquet needs pyarrow")
        if name in ("export", "backup"):
            sub.add_argument("file", type=Path, help="the file to write")
        if name == "secret":
            sub.add_argument(
                "source", nargs="?", help="the actor's name, as in pv; left out: all, as simulate takes them"
            )

    _add_players(add)
    return parser


def _add_players(add: Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]) -> None:
    """Add what sends readings: simulate and replay."""
    simulate = add("simulate", _simulate, "Play the actors of a scenario, and send what they measure.")
    simulate.add_argument(
        "--print-actors",
        action="store_true",
        help="send nothing; print what group_vars need for the scenario's actors to exist",
    )
    replay = add("replay", _simulate, "Send measurements of your own; actors without a column are simulated.")
    replay.add_argument(
        "replay", type=Path, metavar="FILE", help="CSV: time, and a column such as load_kwh or pv_kw each"
    )
    simulate.set_defaults(replay=None)
    replay.set_defaults(print_actors=False)
    for sub, slots, first in (
        (simulate, "how many slots to play (default: 96, a day)", "the first slot (default: the present one)"),
        (
            replay,
            "how many slots to play (default: all)",
            "play the file from this slot on (default: at its own times)",
        ),
    ):
        sub.add_argument(
            "--scenario", type=Path, help="YAML, as in docs/simulate.md (default: the tutorial's household)"
        )
        sub.add_argument("--bridge", default="127.0.0.1:30401", metavar="HOST:PORT", help="where the bridge listens")
        sub.add_argument("--source-keys", type=Path, help="the sources' secrets; without it nothing is authenticated")
        sub.add_argument("--slots", type=_positive, help=slots)
        sub.add_argument("--start-slot", type=_slot, help=first)
        sub.add_argument("--slot-s", type=_positive, default=900, help="the length of a slot in seconds")
        pace = sub.add_mutually_exclusive_group()
        pace.add_argument("--interval-s", type=_seconds, help="seconds from one data set to the next (default: 15)")
        pace.add_argument(
            "--speed", type=_speed, help="how much faster than real time; 60 plays a slot of 900 s in 15 s"
        )
        sub.add_argument("--settle-s", type=_seconds, default=300.0, help="how long to wait for what is not settled")
        sub.add_argument(
            "--seed",
            type=int,
            default=2018,
            help="the same seed plays the same weather, the same people and the same faults",
        )
        for fault, text in (
            ("loss", "is not sent at all"),
            ("duplicate", "is sent twice"),
            ("reorder", "is overtaken by its source's next one"),
        ):
            sub.add_argument(
                f"--{fault}", type=_probability, default=0.0, metavar="P", help=f"0 to 1: how likely a datagram {text}"
            )
        sub.add_argument("--report", type=Path, help="write each reading's fate to this JSON file")


def _number(convert: Callable[[str], T], accepts: Callable[[T], bool], wanted: str) -> Callable[[str], T]:
    """What reads an option's number, or says what it has to be."""

    def read(text: str) -> T:
        with contextlib.suppress(ValueError):
            if accepts(value := convert(text)):
                return value
        raise argparse.ArgumentTypeError(f"it has to be {wanted}, not {text}")

    return read


_positive = _number(int, lambda value: value > 0, "a positive whole number")
_slot = _number(int, lambda value: 0 <= value <= UINT32_MAX, "a slot's number, as time in s divided by --slot-s")
_seconds = _number(float, lambda value: 0 <= value < math.inf, "a number of seconds, not negative")
_speed = _number(float, lambda value: 0 < value < math.inf, "a positive number")
_probability = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def serve(path: Path, at: Callable[[str], None] = nowhere) -> int:
    """Run the bridge with the configuration at this path until SIGTERM; returns the exit status, raises ConfigError.

    at is told of every durable step.
    """
    from energy_bridge.service import FATAL, run  # noqa: PLC0415 - web3 takes a second to import

    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    logging.getLogger("web3").setLevel(logging.WARNING)
    config = read_config(path)
    try:
        asyncio.run(run(config, at=at))
    except FATAL as error:
        logging.getLogger("energy_bridge").critical("stopped reason=%s", error)
        return 1
    return 0


def _run(options: argparse.Namespace) -> int:
    return serve(options.config)


def _check(options: argparse.Namespace) -> int:
    read_config(options.config)
    return 0


def _status(options: argparse.Namespace) -> int:
    with _store(options) as store:
        status = store.status()
    print(json.dumps(status, indent=2) if options.json else _sentences(status))
    return 0


def _store(options: argparse.Namespace) -> contextlib.closing[Store]:
    """The database of the bridge with this configuration, to read."""
    from energy_bridge.agreements import open_store  # noqa: PLC0415 - Ethereum's libraries take a while to import

    return contextlib.closing(open_store(read_config(options.config), read_only=True))


def _reconcile(options: argparse.Namespace) -> int:
    from energy_bridge.agreements import open_store  # noqa: PLC0415 - web3 takes a second to import
    from energy_bridge.reconcile import differences, rebuild  # noqa: PLC0415
    from energy_bridge.service import market_chain  # noqa: PLC0415
    from energy_bridge.settlement import ChainError, MismatchError  # noqa: PLC0415

    config = read_config(options.config)

    async def run() -> int:
        async with contextlib.AsyncExitStack() as stack:
            store = stack.enter_context(contextlib.closing(open_store(config, read_only=not options.rebuild)))
            chain = market_chain(config)
            stack.push_async_callback(chain.close)
            if options.rebuild:
                print(f"{await rebuild(store, chain, now=time.time())} batches are in the database again.")
                return 0
            found = await differences(store, chain)
            print("\n".join(found) or "Database and chain agree.")
            return 1 if found else 0

    try:
        return asyncio.run(run())
    except (ChainError, MismatchError) as error:
        print(error, file=sys.stderr)
        return 1


def _prove(options: argparse.Namespace) -> int:
    from energy_bridge.merkle import merkle_path, merkle_root  # noqa: PLC0415 - only this command needs it

    if read_config(options.config).mode is Mode.AGREEMENT:
        raise ConfigError(
            "In the mode agreement the chain has no root of the readings: each trade stands there itself."
        )
    key = (options.source, options.boot, options.seq)
    with _store(options) as store:
        standing = store.standing(*key)
        if standing is None:
            raise StoreError(f"there is no reading {options.source} {options.boot} {options.seq} in the database")
        if standing.batch is None:
            raise StoreError("the reading is in no batch: nothing rests on it in the chain")
        rests_on = store.readings_of(standing.batch.id)
    keys = [(reading.source, reading.boot, reading.seq) for reading, _ in rests_on]
    digests = [digest for _, digest in rests_on]
    place = keys.index(key)
    proof = {
        "digest": digests[place].hex(),
        "path": [digest.hex() for digest in merkle_path(digests, place)],
        "root": merkle_root(digests).hex(),
        "state": standing.batch.state,
        "seq": standing.batch.seq,
        "transaction": standing.batch.hash,
    }
    print(json.dumps(proof, indent=2))
    return 0


def _export(options: argparse.Namespace) -> int:
    with _store(options) as store:
        columns, rows = store.table()
    if options.format == "csv":
        with options.file.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
        return 0
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 'energy-bridge[parquet]'.") from None
    named = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
    pyarrow.parquet.write_table(pyarrow.table(named), options.file)
    return 0


def _backup(options: argparse.Namespace) -> int:
    with _store(options) as store:
        store.backup(options.file)
    return 0


def _secret(options: argparse.Namespace) -> int:
    path = read_config(options.config).source_keys
    if path is None:
        raise ConfigError("This bridge authenticates nobody: a datagram is the JSON object alone.")
    keys = read_source_keys(path)
    if options.source is None:
        print(json.dumps({name: first.hex() for name, (first, *_) in keys.items()}, indent=2))
        return 0
    if options.source not in keys:
        raise ConfigError(f"There is no source {options.source!r}; there are {', '.join(sorted(keys))}.")
    print(keys[options.source][0].hex())
    # Not for those who take the secret into a variable.
    print("Decode the hex to 32 bytes; send a reading, then its HMAC-SHA256 under them: docs/wire.md.", file=sys.stderr)
    return 0


def _sentences(status: dict[str, Any]) -> str:
    readings, slots, trades = status["readings"], status["slots"], status["trades"]
    batches = ", ".join(f"{count} {state}" for state, count in status["batches"].items() if count) or "none"
    settled = f"{trades['settled']} settled, {trades['refused']} refused, {trades['imbalances']} imbalances"
    agreements = ", ".join(f"{count} {state}" for state, count in status.get("agreements", {}).items())
    return "\n".join(
        (
            f"readings  {readings['stored']} stored, {readings['late']} late",
            f"slots     {slots['closed']} closed, {slots['open']} open, next {status['next_slot']}",
            f"trades    {trades['made']} made, {settled}",
            f"batches   {batches}",
            *([f"agreements {agreements}"] if agreements else []),
        )
    )


def _simulate(options: argparse.Namespace) -> int:
    from energy_bridge.player import play  # noqa: PLC0415 - only this command needs it

    return asyncio.run(play(options))
