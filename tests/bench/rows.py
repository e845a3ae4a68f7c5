# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the benchmark: what each means, and how a person and a program read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.scenarios import BLOCK_GAS, CONFIRMATIONS, SCENARIOS


@dataclass(frozen=True)
class Kind:
    """A row before it is measured. The goal is the most that its ratio may be; its value, for gas or without a peer.

    Of what is better when there is more of it, the goal is the least that its value may be.
    """

    meaning: str
    unit: str
    goal: float | None = None
    peer: str | None = None

    @property
    def is_judged_by_value(self) -> bool:
        return self.peer is None or self.unit in {GAS, RATE, INTAKE, MILLISECONDS}

    @property
    def more_is_better(self) -> bool:
        return self.unit in {RATE, INTAKE}


SECONDS, MILLISECONDS, MIB, MODULES, PERIODS = "s", "ms", "MiB", "modules", "periods"
GAS, GWEI, RATE, INTAKE = "gas", "gwei", "trades/s", "datagrams/s"
# What a trade is without batches, by how the names of the rows beside it end.
INSTEAD = {"": "a transaction each", "/contract_per_trade": "a contract each"}
PLAIN_PAGE = "SQL on each request"
KINDS = {
    "sealing_s": Kind("network from nothing until all four seal", SECONDS, peer="plain shell script"),
    "bring_up_s": Kind("network, market and bridge from nothing", SECONDS, 60),
    "second_run_s": Kind("site.yml again, nothing to do", SECONDS, 30),
    "bring_up_8_s": Kind("bring-up with eight sealers", SECONDS, 2, "four sealers"),
    "geth_build_s": Kind("build.yml for one host, cold Go cache", SECONDS, 1.1, "go install"),
    "module_executions_per_host/first/sealer": Kind("modules, first run: sealer", MODULES, 40),
    "module_executions_per_host/first/gateway": Kind("modules, first run: gateway", MODULES),
    "module_executions_per_host/first/controller": Kind("modules, first run: controller", MODULES),
    "module_executions_per_host/second/sealer": Kind("modules, second run: sealer", MODULES, 20),
    "module_executions_per_host/second/gateway": Kind("modules, second run: gateway", MODULES),
    "module_executions_per_host/second/controller": Kind("modules, second run: controller", MODULES),
    "rss_mib/geth-sealer": Kind("memory: geth of a sealer", MIB),
    "rss_mib/geth-gateway": Kind("memory: geth of the gateway", MIB),
    "rss_mib/bootnode": Kind("memory: bootnode", MIB),
    "rss_mib/bridge": Kind("memory: bridge", MIB),
    "bridge_rss_mib": Kind("memory: bridge, after a million readings", MIB, 150),
    **{
        f"intake_datagrams_per_s/{form}": Kind(f"readings taken on one core: {form}", INTAKE, 20_000, "plain asyncio")
        for form in ("json", "binary")
    },
    "page_first_view_ms": Kind("first view in Chromium: 200 actors, 100,000 trades", MILLISECONDS, 1_000, PLAIN_PAGE),
    "page_clients/update_ms": Kind("50 browsers: from a commit to its figures, 95 %", MILLISECONDS, 1_000, PLAIN_PAGE),
    "page_clients/rss_mib": Kind("memory: bridge, with 50 browsers", MIB, 150),
    "agreements_per_s": Kind("agreements made by the bridge, of five actors", RATE),
    "rss_mib/supervisord": Kind("memory: supervisord of a host", MIB),
    **{
        f"gas_per_trade/{scenario.name}{ending}": Kind(
            f"gas of a trade: {scenario.meaning}", GAS, None if ending else scenario.goal, peer
        )
        for scenario in SCENARIOS
        for ending, peer in INSTEAD.items()
    },
    **{
        f"trades_per_s/{scenario.name}/{blocks}{ending}": Kind(
            f"trades that fit, {blocks}: {scenario.meaning}", RATE, peer=peer
        )
        for scenario in SCENARIOS
        if not scenario.first_of_a_day
        for blocks in BLOCK_GAS
        for ending, peer in INSTEAD.items()
    },
    "settled_trades_per_s": Kind("settled among 200 by the bridge, 5 min", RATE, 1_000, INSTEAD[""]),
    "settled_base_fee_gwei": Kind("base fee at the end of that", GWEI, peer=INSTEAD[""]),
    # Two periods more than the confirmations take.
    "final_latency_periods_p50": Kind("gate closure to FINAL, median", PERIODS, CONFIRMATIONS + 2),
}


@dataclass(frozen=True)
class Row:
    """What was measured of one kind; peer_value has the same unit."""

    name: str
    value: float
    peer_value: float | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def ratio(self) -> float | None:
        return self.value / self.peer_value if self.peer_value else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        judged = self.value if self.kind.is_judged_by_value else self.ratio
        if self.kind.goal is None or judged is None:
            return None
        return judged >= self.kind.goal if self.kind.more_is_better else judged <= self.kind.goal

    def as_json(self) -> dict[str, float | str | None]:
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.kind.unit,
            "peer": self.kind.peer,
            "peer_value": _rounded(self.peer_value),
            "ratio": _rounded(self.ratio),
            "goal": self.kind.goal,
        }


def from_json(entry: dict[str, float | str | None]) -> Row:
    """Read a row back from build/bench.json."""
    peer_value = entry["peer_value"]
    return Row(str(entry["name"]), float(entry["value"] or 0), None if peer_value is None else float(peer_value))


def select(words: Sequence[str]) -> list[str]:
    """Names of the rows that are asked for by name or by how their names begin; all of them where nothing is asked."""
    chosen = set()
    for word in words:
        found = {word} & KINDS.keys() or {name for name in KINDS if name.startswith(word)}
        if not found:
            raise ValueError(f"there is no row {word}; the rows are {', '.join(KINDS)}")
        chosen |= found
    return [name for name in KINDS if name in chosen or not words]


def table(rows: Iterable[Row]) -> str:
    """The rows for a terminal."""
    lines = [("", "here", "instead", "ratio", "goal", ""), *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    rule = "─" * (sum(widths) + 10)
    head, *body = ("  ".join(_aligned(line, widths)).rstrip() for line in lines)
    return "\n".join([rule, head, rule, *body, rule])


def markdown(rows: Iterable[Row]) -> str:
    """The rows as docs/benchmarks.md has them."""
    head = ["| row | what | here | instead | ratio | goal |", "|---|---|--:|--:|--:|--:|"]
    lines = ((f"`{row.name}`", *_cells(row)) for row in rows)
    return "\n".join([*head, *(f"| {' | '.join([*line[:-2], ' '.join(line[-2:]).strip()])} |" for line in lines)])


def _cells(row: Row) -> tuple[str, str, str, str, str, str]:
    """Meaning, value, the peer and its value, ratio, goal, and whether it is reached."""
    kind = row.kind
    peer = "" if row.peer_value is None else f"{kind.peer} {_quantity(row.peer_value, kind.unit)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    sign = "≥" if kind.more_is_better else "≤"
    goal = "" if kind.goal is None else f"{sign} {kind.goal:,g}{f' {kind.unit}' if kind.is_judged_by_value else ''}"
    mark = {True: "✓", False: "✗", None: ""}[row.reached]
    return kind.meaning, _quantity(row.value, kind.unit), peer, ratio, goal, mark


def _quantity(value: float, unit: str) -> str:
    digits = 0 if unit in {MODULES, GAS, INTAKE, MILLISECONDS} else 3 if unit == GWEI else 1
    return f"{value:,.{digits}f} {unit}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """What it is stands left, figures stand right."""
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
