# SPDX-License-Identifier: GPL-3.0-or-later
"""Chaos in a network of four sealers: outages of one at a time, at random and by design, forced ties, and power cuts.

Of four, any three seal without a break: a chain that stands while three are up and connected has halted.
"""

from __future__ import annotations

import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import pairwise
from random import Random

from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call, NodeRefusesError
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

from support.sealers import Geth, Sealers

COUNT = 4
RECENT = COUNT // 2  # whoever sealed one of so many last blocks may not seal the next
CONFIRMATIONS = COUNT // 2 + 1  # a block with so many on top of it counts as final
BLOCKS_BEHIND = 2  # of what was sealed, a power cut may take no more
GROWS_BLOCKS = 3  # in these, each of three sealers has its turn
# A sealer that asks a peer for its chain which is then stopped seals nothing for 60 s, and goes on by itself.
HALTED_AFTER_S = 120
IN_STEP_WITHIN_S = 300
# From where all seal in turn, a tie takes four blocks; one fails where a sealer was quicker than we are.
TRIES = 12
LOOK_EVERY_S = 0.01
_SEALED = re.compile(r'msg="Successfully sealed new block" number=([\d,]+) .*\bhash=(0x[0-9a-f]{64})')

# --- the plan ---------------------------------------------------------------------------------------------------------


class Aim(Enum):
    """Whom an outage hits."""

    ANY = "any sealer"
    RECENT_SIGNER = "a recent signer"
    ONLY_HOPE = "the only one that could continue one of two heads"


class Way(Enum):
    """How a sealer goes: stopped, it goes on later as it was; killed, it is started again."""

    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True)
class Outage:
    """One sealer goes for lasts_s and then until the chain has gone on without it; the next one waits for pause_s."""

    aim: Aim
    way: Way
    lasts_s: float
    pause_s: float

    def __str__(self) -> str:
        return f"{self.aim.value} is {self.way.value}"


def outages(random: Random) -> Iterator[Outage]:
    """Outages without end, as this source draws them."""
    while True:
        aim, way = random.choice(tuple(Aim)), random.choice(tuple(Way))
        yield Outage(aim, way, lasts_s=random.uniform(0, 4), pause_s=random.uniform(0, 2))


# --- the position -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Position:
    """The head's number and who sealed the last blocks, oldest first; sealers are places in the order of signers."""

    head: int
    recent: tuple[int, ...]

    @property
    def in_turn(self) -> int:
        """Whose turn the next block is."""
        return (self.head + 1) % COUNT

    @property
    def rivals(self) -> tuple[int, ...]:
        """Who may seal the next block, if their blocks are of one difficulty because nobody of them is in turn."""
        allowed = tuple(place for place in range(COUNT) if place not in self.recent)
        return () if self.in_turn in allowed else allowed

    @property
    def only_hope(self) -> int:
        """Who may seal on either rival's block; the other rival may too, unless it keeps to its own."""
        return self.recent[0]


# --- what the sealers' logs say ---------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Sealed:
    """A block that a sealer made; the sealer is its place in the network."""

    number: int
    hash: str
    sealer: int


def sealed_in(log: str, sealer: int) -> list[Sealed]:
    """Every block that a sealer's log says it made, in geth's logfmt."""
    return [Sealed(int(number.replace(",", "")), hash_, sealer) for number, hash_ in _SEALED.findall(log)]


def ties(sealed: Iterable[Sealed], difficulty: Callable[[Sealed], int | None]) -> int:
    """At how many heights there were different heads of one total difficulty; None is that of a block that is lost."""
    by_number: defaultdict[int, set[Sealed]] = defaultdict(set)
    for block in sealed:
        by_number[block.number].add(block)
    found = 0
    for rivals in by_number.values():
        if len(rivals) > 1:
            known = [total for total in map(difficulty, rivals) if total is not None]
            found += len(set(known)) < len(known)
    return found


def longest_gap_s(timestamps: Sequence[int]) -> int:
    """The longest time from one block to the next, in seconds."""
    return max((later - earlier for earlier, later in pairwise(timestamps)), default=0)


@dataclass(frozen=True)
class Report:
    """What a chaos came to; halts are sentences."""

    lasted_s: float
    outages: int
    ties: int
    halts: tuple[str, ...]
    longest_gap_s: int
    power_cuts: int


def table(reports: Mapping[str, Report]) -> str:
    """The reports by build, one line each."""
    heading = ("build", "minutes", "outages", "power cuts", "ties", "halts", "longest without a block")
    lines = [
        (
            build,
            f"{one.lasted_s / 60:.1f}",
            str(one.outages),
            str(one.power_cuts),
            str(one.ties),
            str(len(one.halts)),
            f"{one.longest_gap_s} s",
        )
        for build, one in reports.items()
    ]
    widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)]
    rows = ["  ".join(map(str.rjust, line, widths)) for line in (heading, *lines)]
    return "\n".join(rows)


# --- the driver -------------------------------------------------------------------------------------------------------


@dataclass
class Chaos:
    """Plays havoc with a network that is whole, and leaves it whole again; whatever is drawn comes from its source."""

    network: Sealers
    random: Random
    clock: Clock
    outages: int = 0
    power_cuts: int = 0
    halts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert len(self.network.sealers) == COUNT
        self._order = sorted(self.network.sealers, key=lambda sealer: sealer.account.lower())
        self._plan = outages(self.random)
        self._since_s = self.clock.monotonic()
        self._since_head = self.network.gateway.head

    def run(self, lasts_s: float) -> None:
        """One outage after the other, for so long; ends early where the chain stands though all are there."""
        end = self.clock.monotonic() + lasts_s
        while self.clock.monotonic() < end and self._outage(next(self._plan)):
            pass

    def _outage(self, planned: Outage) -> bool:
        """Let one sealer go and come back; False where the chain then still stands."""
        victim = self._victim(planned.aim)
        self._away(victim, planned.way)
        self.clock.sleep(planned.lasts_s)
        self._goes_on(f"while {planned}")
        whole = self._back(victim, f"after {planned} and came back")
        self.clock.sleep(planned.pause_s)
        return whole

    def _victim(self, aim: Aim) -> Geth:
        if aim is Aim.ANY:
            return self.random.choice(self._order)
        if aim is Aim.ONLY_HOPE and (hope := self._tied()):
            return hope
        return self._order[self.random.choice(self._new_position(above=0).recent)]

    def _tied(self) -> Geth | None:
        """Let two sealers seal one height each without the other's block; return who has to go for the chain to halt.

        The slower of two that may seal, and are not in turn, is stopped until the other one's block is there. Its own
        one is as good as sealed then, so that it comes before it hears of the other. Where all seal in turn, nobody has
        a rival; a sealer that misses its turn makes a disorder in which two have.
        """
        looked_at = 0
        for _ in range(TRIES):
            position = self._new_position(above=looked_at)
            looked_at = position.head
            if not position.rivals:
                self._misses_its_turn(position)
                continue
            slow, quick = self.random.sample(position.rivals, 2)
            self._order[slow].send(signal.SIGSTOP)
            after = self._new_position(above=position.head)
            self._order[slow].send(signal.SIGCONT)
            if (after.head, after.recent[-1]) == (position.head + 1, quick):
                return self._order[position.only_hope]
            looked_at = after.head
        return None

    def _misses_its_turn(self, position: Position) -> None:
        absent = self._order[position.in_turn]
        self._away(absent, Way.STOPPED)
        if self._goes_on("while the sealer whose turn it is is stopped", since=position.head):
            absent.send(signal.SIGCONT)  # at once: it is one of the next two rivals
        else:
            self._back(absent, "after the sealer whose turn it was came back")

    def _away(self, victim: Geth, way: Way) -> None:
        self.outages += 1
        if way is Way.KILLED:
            victim.end(signal.SIGKILL)
        else:
            victim.send(signal.SIGSTOP)

    def _back(self, victim: Geth, when: str) -> bool:
        """Let a sealer come back and wait until all go on together: one that lags behind is not there yet."""
        if victim.ended:
            victim.start()
        else:
            victim.send(signal.SIGCONT)
        self.network.join(*self.network.all)
        return self._goes_on(when) and self._in_step(when)

    def _goes_on(self, when: str, *, since: int | None = None) -> bool:
        """Wait until the chain has grown; one that does not has halted."""
        gateway = self.network.gateway
        wanted = (gateway.head if since is None else since) + GROWS_BLOCKS
        return self._comes(lambda: gateway.head >= wanted) or self._halted(f"block {wanted} does not come {when}")

    def _in_step(self, when: str) -> bool:
        """Wait until every node has the chain as far as it was when this was asked."""
        wanted = self.network.gateway.head
        if self._comes(lambda: all(node.head >= wanted for node in self.network.all), IN_STEP_WITHIN_S):
            return True
        return self._halted(f"not all have block {wanted} {when}")

    def _halted(self, how: str) -> bool:
        self.halts.append(f"{how}: the head is {self.network.gateway.head}")
        return False

    def _new_position(self, above: int) -> Position:
        """Where the chain stands, as soon as it has a block above this one; where it halts, as it is."""
        places = {sealer.account.lower(): place for place, sealer in enumerate(self._order)}
        rpc = self.network.gateway.node.rpc

        def look() -> Position | None:
            head = self.network.gateway.head
            numbers = range(head - RECENT + 1, head + 1)
            try:
                signers = rpc.batch([Call("clique_getSigner", (hex(number),)) for number in numbers])
            except NodeRefusesError:  # the head has been taken back meanwhile
                return None
            seen.append(Position(head, tuple(places[signer] for signer in signers)))
            return seen[-1] if head > above else None

        seen: list[Position] = []
        self._comes(look)
        return seen[-1]

    def _comes(self, condition: Callable[[], object], timeout_s: float = HALTED_AFTER_S) -> bool:
        """Wait until that is so."""
        return bool(wait_until(condition, timeout_s=timeout_s, clock=self.clock, poll_s=LOOK_EVERY_S))

    # --- power cuts ---------------------------------------------------------------------------------------------------

    def power_cut(self) -> list[str]:
        """Kill all at once and start them again; name what is not as it was, one sentence each."""
        self.power_cuts += 1
        network, gateway = self.network, self.network.gateway
        final = gateway.head - CONFIRMATIONS
        final_hash = gateway.hash_of(final)
        kept = {sealer.datadir: keys_and_genesis(sealer) for sealer in network.sealers}
        heads = {sealer.datadir: sealer.head for sealer in network.sealers}
        for node in network.all:
            node.send(signal.SIGKILL)
        for node in network.all:
            node.end(signal.SIGKILL)
        for place, sealer in enumerate(network.sealers):
            own = (block.number for block in sealed_in(sealer.node.log.read_text(), place))
            heads[sealer.datadir] = max(heads[sealer.datadir], *own)
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(Geth.start, network.all))
        found = []
        for sealer in network.sealers:
            name, was_at = sealer.datadir.name, heads[sealer.datadir]
            if sealer.head < was_at - BLOCKS_BEHIND:
                found.append(f"{name} is at block {sealer.head}, and was at {was_at}")
            if keys_and_genesis(sealer) != kept[sealer.datadir]:
                found.append(f"the keys or the genesis of {name} are not what they were")
        network.join(*network.all)
        if not (self._goes_on("after a power cut") and self._in_step("after a power cut")):
            found.append(self.halts[-1])
        found += [
            f"{node.datadir.name} has another block {final}, which was final"
            for node in network.all
            if not self._comes(partial(node.has, final, final_hash))
        ]
        return found

    def report(self) -> Report:
        """What it came to up to now."""
        gateway = self.network.gateway
        sealed = [
            block
            for place, sealer in enumerate(self.network.sealers)
            for block in sealed_in(sealer.node.log.read_text(), place)
            if block.number > self._since_head
        ]
        numbers = range(self._since_head, gateway.head + 1)
        return Report(
            lasted_s=self.clock.monotonic() - self._since_s,
            outages=self.outages,
            ties=ties(sealed, self._difficulty),
            halts=tuple(self.halts),
            longest_gap_s=longest_gap_s([self._time_s(number) for number in numbers]),
            power_cuts=self.power_cuts,
        )

    def _time_s(self, number: int) -> int:
        return int(self.network.gateway.call("eth_getHeaderByNumber", hex(number))["timestamp"], 16)

    def _difficulty(self, block: Sealed) -> int | None:
        told = self.network.sealers[block.sealer].call("eth_getBlockByHash", block.hash, False)
        return None if told is None else int(told["totalDifficulty"], 16)


def keys_and_genesis(node: Geth) -> dict[str, bytes]:
    """What no power cut may change: every key of a node, and its first block."""
    keys = [path for path in (*node.datadir.glob("keystore/*"), node.datadir / "geth/nodekey") if path.is_file()]
    genesis = node.call("debug_getRawBlock", "0x0")
    return {str(path.relative_to(node.datadir)): path.read_bytes() for path in keys} | {"genesis": genesis.encode()}
