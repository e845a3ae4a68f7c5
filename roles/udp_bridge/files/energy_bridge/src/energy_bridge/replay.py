# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's own measurements, a CSV file, as the energy of each slot: exact sums, whatever the file's interval is.

docs/simulate.md describes the file. Every bad row is named by its line, all of them at once.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from energy_bridge.model import UINT32_MAX, Kind
from energy_bridge.scenario import Scenario
from energy_bridge.written import ConfigError, naming, read_text

__all__ = ["Slots", "parse_replay", "read_replay"]

Slots = Mapping[int, Mapping[str, int]]

_MOST_NAMED = 20  # bad rows
_MOST_SLOTS = 1_000_000
_MOST_DIGITS = 100  # before or behind the point: more would only take long
_COLUMN = re.compile(r"(.+)_(kwh|kw)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S = 10**6
_US_PER_H = 3600 * _US_PER_S
_WH_PER_KWH = 1000


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column says about an actor: kWh in a row's interval, or the mean kW of it."""

    actor: str
    is_power: bool
    sign: int


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    time_us: int
    values: tuple[Fraction, ...]


def read_replay(path: Path, scenario: Scenario, *, slot_s: int) -> Slots:
    """Read a file of measurements; raises ConfigError with a sentence for each mistake."""
    text = read_text(path, "utf-8-sig")
    with naming(path):
        return parse_replay(text, scenario, slot_s=slot_s)


def parse_replay(text: str, scenario: Scenario, *, slot_s: int) -> Slots:
    """The Wh of each actor that has a column, by slot, positive where it provides; raises ConfigError."""
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    problems: list[str] = []
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ConfigError(f"line {reader.line_num} is not CSV: {error}.") from error
    if not lines:
        raise ConfigError("there is nothing in it; the first line has to be like: time,load_kwh.")
    columns = _columns([cell.strip() for cell in lines[0][1]], scenario)
    rows: list[_Row] = []
    for number, cells in lines[1:]:
        try:
            row = _row(number, cells, columns, decimal_comma=delimiter != ",")
        except ValueError as error:
            problems.append(f"line {number}: {error}.")
            continue
        if rows and row.time_us <= rows[-1].time_us:
            problems.append(f"line {number}: its time is not after that of line {rows[-1].line}.")
        else:
            rows.append(row)
    if not problems and len(rows) < 2:  # noqa: PLR2004 - an interval has two ends
        problems.append("it has to have at least two rows: how long a row is for is the time to the next one.")
    if not problems and rows[-1].time_us - rows[0].time_us > _MOST_SLOTS * slot_s * _US_PER_S:
        problems.append(f"from its first row to its last are more than {_MOST_SLOTS} slots.")
    if problems:
        more = len(problems) - _MOST_NAMED
        raise ConfigError(
            "\n".join(problems[:_MOST_NAMED] + ([f"and {more} more lines like these."] if more > 0 else []))
        )
    return _whole(_resampled(rows, columns, slot_us=slot_s * _US_PER_S), columns)


def _delimiter(text: str) -> str:
    """A comma, or what a spreadsheet writes where a comma is in the numbers."""
    header = text.partition("\n")[0]
    return next((other for other in ";\t" if other in header), ",")


def _columns(header: Sequence[str], scenario: Scenario) -> list[_Column]:
    problems = []
    if header[0] != "time":
        problems.append(f"line 1: the first column has to be time, not {header[0]!r}.")
    if len(header) == 1:
        problems.append("line 1: there has to be a column for an actor, such as load_kwh.")
    kinds = {actor.name: actor.kind for actor in scenario.actors}
    columns: list[_Column] = []
    for name in header[1:]:
        found = _COLUMN.fullmatch(name)
        kind = kinds.get(found[1]) if found else None
        if found is None:
            problems.append(f"line 1: {name!r} has to be an actor's name with _kwh or _kw, such as load_kwh.")
        elif kind is None:
            problems.append(f"line 1: {found[1]} is no actor of the scenario; there are {', '.join(kinds)}.")
        elif kind is Kind.GRID:
            problems.append(f"line 1: {found[1]} is the grid, which takes what is left, and has no column.")
        elif found[1] in [column.actor for column in columns]:
            problems.append(f"line 1: {found[1]} has two columns.")
        else:
            columns.append(_Column(found[1], found[2] == "kw", -1 if kind is Kind.LOAD else 1))
    if problems:
        raise ConfigError("\n".join(problems))
    return columns


def _row(line: int, cells: Sequence[str], columns: Sequence[_Column], *, decimal_comma: bool) -> _Row:
    """Raises ValueError with what is wrong."""
    if len(cells) != 1 + len(columns):
        raise ValueError(f"it has {len(cells)} cells, and the first line has {1 + len(columns)}")
    values = []
    for column, cell in zip(columns, cells[1:], strict=True):
        text = cell.strip().replace(",", ".") if decimal_comma else cell.strip()
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or not -_MOST_DIGITS < value.adjusted() < _MOST_DIGITS:
            unit = "kW" if column.is_power else "kWh"
            raise ValueError(f"{column.actor} has to be a number of {unit}, not {cell.strip()!r}")
        values.append(Fraction(value) * _WH_PER_KWH * column.sign)
    return _Row(line, _time_us(cells[0].strip()), tuple(values))


def _time_us(text: str) -> int:
    """Seconds since the epoch, or ISO 8601, in UTC where it names no zone; as whole microseconds."""
    try:
        if re.fullmatch(r"\d{9,}(\.\d+)?", text):
            return int(Decimal(text) * _US_PER_S)
        time = datetime.fromisoformat(text)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        if time >= _EPOCH:
            return (time - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"time has to be like 2026-06-01T12:00 or seconds since 1970, not {text!r}")


def _resampled(
    rows: Sequence[_Row], columns: Sequence[_Column], *, slot_us: int
) -> Iterator[tuple[int, tuple[Fraction, ...]]]:
    """Parts of rows, each in one slot, as (slot, Wh of each column); a row is for the time until the next one."""
    ends = [after.time_us for _, after in pairwise(rows)]
    ends.append(2 * ends[-1] - rows[-2].time_us)  # the last is as long as the one before it
    for row, end_us in zip(rows, ends, strict=True):
        length_us = end_us - row.time_us
        for slot in range(row.time_us // slot_us, -(-end_us // slot_us)):
            part_us = min(end_us, (slot + 1) * slot_us) - max(row.time_us, slot * slot_us)
            yield (
                slot,
                tuple(
                    value * Fraction(part_us, _US_PER_H if column.is_power else length_us)
                    for column, value in zip(columns, row.values, strict=True)
                ),
            )


def _whole(parts: Iterator[tuple[int, tuple[Fraction, ...]]], columns: Sequence[_Column]) -> Slots:
    """The sum of each slot in whole Wh: what rounding leaves goes to the next, so that the whole file's sum is kept."""
    sums: dict[int, list[Fraction]] = {}
    for slot, energies in parts:
        sum_ = sums.setdefault(slot, [Fraction(0)] * len(columns))
        for place, energy in enumerate(energies):
            sum_[place] += energy
    left = [Fraction(0)] * len(columns)
    slots: dict[int, dict[str, int]] = {}
    for slot, energies_wh in sums.items():
        slots[slot] = {}
        for place, (column, energy) in enumerate(zip(columns, energies_wh, strict=True)):
            whole = round(energy + left[place])
            left[place] += energy - whole
            if abs(whole) >= UINT32_MAX:
                raise ConfigError(f"{column.actor} has {whole} Wh in a slot, which is more than a trade can have.")
            slots[slot][column.actor] = whole
    return slots
