# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements become the energy of slots, to the Wh, and a bad row is named by its line."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from energy_bridge.replay import parse_replay, read_replay
from energy_bridge.scenario import built_in
from energy_bridge.written import ConfigError
from hypothesis import given
from hypothesis import strategies as st

NOON_S = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
NOON = NOON_S // 900
SCENARIO = built_in()


def replay(*lines: str, slot_s: int = 900) -> dict[int, dict[str, int]]:
    return {slot: dict(given) for slot, given in parse_replay("\n".join(lines), SCENARIO, slot_s=slot_s).items()}


def said(*lines: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        replay(*lines)
    return str(refused.value).splitlines()


def test_energy_is_summed_and_power_is_averaged() -> None:
    """Rows of five minutes; a load's column is what it needs, everybody else's what it provides."""
    rows = [f"2026-06-01T12:{minute:02}Z,{minute / 100},{minute / 10}" for minute in range(0, 30, 5)]
    assert replay("time,load_kwh,pv_kw", *rows) == {
        NOON: {"load": -150, "pv": 125},  # 0, 0.05 and 0.1 kWh; 0, 0.5 and 1 kW
        NOON + 1: {"load": -600, "pv": 500},
    }


def test_a_long_row_is_shared_out_over_slots() -> None:
    hourly = replay("time,load_kwh,pv_kw", "2026-06-01T12:00,1,2", "2026-06-01T13:00,2,4")
    assert hourly == {
        NOON + quarter: {"load": -250 if quarter < 4 else -500, "pv": 500 if quarter < 4 else 1000}
        for quarter in range(8)
    }


def test_rows_that_cross_a_slots_border_are_split_there() -> None:
    assert replay("time,battery_kwh", "2026-06-01T12:05,0.9", "2026-06-01T12:20,-0.3") == {
        NOON: {"battery": 600},
        NOON + 1: {"battery": 100},  # 300 of the first row, -200 of the second
        NOON + 2: {"battery": -100},
    }


def test_a_row_lasts_until_the_next_one() -> None:
    assert replay("time,pv_kw", "2026-06-01T12:00,1", "2026-06-01T12:45,2", "2026-06-01T13:00,3") == {
        NOON: {"pv": 250},
        NOON + 1: {"pv": 250},
        NOON + 2: {"pv": 250},
        NOON + 3: {"pv": 500},
        NOON + 4: {"pv": 750},
    }


@pytest.mark.parametrize(
    "times",
    [
        ("2026-06-01T12:00", "2026-06-01T12:15"),
        ("2026-06-01 14:00+02:00", "2026-06-01 14:15+02:00"),
        ("2026-06-01T12:00:00.000Z", "2026-06-01T12:15:00.000Z"),
        (str(NOON_S), str(NOON_S + 900)),
        (f"{NOON_S}.0", f"{NOON_S + 900}.0"),
    ],
)
def test_a_time_is_iso_or_seconds(times: tuple[str, str]) -> None:
    assert replay("time,pv_kw", f"{times[0]},1", f"{times[1]},2") == {NOON: {"pv": 250}, NOON + 1: {"pv": 500}}


def test_a_spreadsheets_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    path.write_bytes("\ufefftime;load_kw\r\n2026-06-01 12:00;0,5\r\n2026-06-01 12:15;1,5\r\n;\r\n".encode())
    assert read_replay(path, SCENARIO, slot_s=900) == {NOON: {"load": -125}, NOON + 1: {"load": -375}}
    assert replay("time\tload_kw", f"{NOON_S}\t0,5", f"{NOON_S + 900}\t1.5") == {
        NOON: {"load": -125},
        NOON + 1: {"load": -375},
    }


@given(
    minutes=st.lists(st.integers(1, 200), min_size=2, max_size=30),
    nwh=st.lists(st.integers(-(10**12), 10**12), min_size=30, max_size=30),
    slot_s=st.sampled_from([60, 420, 900, 3600]),
)
def test_nothing_is_lost_whatever_the_interval(minutes: list[int], nwh: list[int], slot_s: int) -> None:
    times = [NOON_S + 60 * sum(minutes[:place]) for place in range(len(minutes))]
    rows = [f"{time},{nwh[place] / 10**12:.12f}" for place, time in enumerate(times)]
    slots = replay("time,pv_kwh", *rows, slot_s=slot_s)
    assert list(slots) == list(range(min(slots), max(slots) + 1))
    total_wh = Fraction(sum(nwh[: len(minutes)]), 10**9)
    assert abs(sum(given["pv"] for given in slots.values()) - total_wh) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("when,load_kwh", "line 1: the first column has to be time, not 'when'."),
        ("time", "line 1: there has to be a column for an actor, such as load_kwh."),
        ("time,load", "line 1: 'load' has to be an actor's name with _kwh or _kw, such as load_kwh."),
        ("time,oven_kw", "line 1: oven is no actor of the scenario; there are load, pv, chp, battery, grid."),
        ("time,grid_kw", "line 1: grid is the grid, which takes what is left, and has no column."),
        ("time,pv_kw,pv_kwh", "line 1: pv has two columns."),
    ],
)
def test_a_header_that_is_wrong_is_said(header: str, sentence: str) -> None:
    assert said(header, f"{NOON_S},1", f"{NOON_S + 900},1") == [sentence]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("2026-06-01T12:30,", "line 4: load has to be a number of kW, not ''."),
        ("2026-06-01T12:30,1 kW", "line 4: load has to be a number of kW, not '1 kW'."),
        ("2026-06-01T12:30,nan", "line 4: load has to be a number of kW, not 'nan'."),
        ("2026-06-01T12:30,1e999", "line 4: load has to be a number of kW, not '1e999'."),
        ("2026-06-01T12:30,1,2", "line 4: it has 3 cells, and the first line has 2."),
        (
            "01.06.2026 12:30,1",
            "line 4: time has to be like 2026-06-01T12:00 or seconds since 1970, not '01.06.2026 12:30'.",
        ),
        ("1926-06-01,1", "line 4: time has to be like 2026-06-01T12:00 or seconds since 1970, not '1926-06-01'."),
        ("2026-06-01T12:15,1", "line 4: its time is not after that of line 3."),
    ],
)
def test_a_bad_row_is_named_by_its_line(row: str, sentence: str) -> None:
    assert said("time,load_kw", "2026-06-01T12:00,1", "2026-06-01T12:15,1", row, "2026-06-01T12:45,1") == [sentence]


def test_all_bad_rows_are_named_at_once_but_not_without_end() -> None:
    good = [f"{NOON_S + 900 * place},1" for place in range(3)]
    assert [line.split(":")[0] for line in said("time,load_kw", good[0], "x,1", good[1], "y,1")] == ["line 3", "line 5"]
    many = said("time,load_kw", *(["x,1"] * 25))
    assert (len(many), many[-1]) == (21, "and 5 more lines like these.")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([""], "there is nothing in it; the first line has to be like: time,load_kwh."),
        (
            ["time,pv_kw", "2026-06-01,1"],
            "it has to have at least two rows: how long a row is for is the time to the next one.",
        ),
        (["time,pv_kw", "1970-01-01,1", "2026-06-01,1"], "from its first row to its last are more than 1000000 slots."),
        (
            ["time,pv_kw", "2026-06-01T12:00,17179869180", "2026-06-01T12:15,1"],
            "pv has 4294967295000 Wh in a slot, which is more than a trade can have.",
        ),
        (['time,"pv_kw', "2026-06-01,1"], "line 2 is not CSV: unexpected end of data."),
    ],
)
def test_what_is_wrong_with_the_whole_file_is_said(lines: list[str], sentence: str) -> None:
    assert said(*lines) == [sentence]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv cannot be read: No such file or directory\."):
        read_replay(tmp_path / "none.csv", SCENARIO, slot_s=900)
    (tmp_path / "latin.csv").write_bytes(b"Stra\xdfe")
    with pytest.raises(ConfigError, match=r"latin\.csv is not a text in UTF-8\."):
        read_replay(tmp_path / "latin.csv", SCENARIO, slot_s=900)
    (tmp_path / "bad.csv").write_text("time\n")
    with pytest.raises(ConfigError, match=r"bad\.csv: line 1: there has to be a column"):
        read_replay(tmp_path / "bad.csv", SCENARIO, slot_s=900)
