# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page asks of a large database is answered by an index, never by looking at every row."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.lookup import STATES, Lookup
from energy_bridge.model import BatchState
from energy_bridge.store import Store


class Explained(Lookup):
    """A lookup that keeps SQLite's plans of its queries."""

    plans: tuple[str, ...] = ()

    def _read(self, query: str, values: Any = ()) -> list[Any]:
        if query.startswith(("SELECT", "WITH")):
            self.plans += tuple(row[3] for row in super()._read(f"EXPLAIN QUERY PLAN {query}", values))
        return super()._read(query, values)


def plans(path: Path, method: str, *arguments: Any, **named: Any) -> tuple[str, ...]:
    Store(path).close()
    with closing(Explained(path)) as lookup:
        getattr(lookup, method)(*arguments, **named)
        return lookup.plans


CASES: list[tuple[str, dict[str, Any]]] = [
    ("list_trades", {"actor": "pv", "limit": 5}),
    ("list_trades", {"actor": "pv", "before": 7, "limit": 5}),
    ("list_trades", {"actor": "pv", "slots": (1, 2), "limit": 5}),
    ("list_trades", {"slots": (1, 2), "limit": 5}),
    ("list_trades", {"slots": (1, 1), "before": 7, "limit": 5}),
    *(
        ("list_trades", {"state": state, "slots": slots, "limit": 5})
        for state in STATES
        for slots in (None, (1, 2))
        if slots is not None or state != BatchState.FINAL
    ),
    ("list_readings", {"source": "pv", "limit": 5}),
    ("list_readings", {"source": "pv", "before": 7, "limit": 5}),
    ("list_readings", {"slot": 1, "limit": 5}),
    ("list_readings", {"slot": 1, "source": "pv", "limit": 5}),
    ("list_slots", {"before": 7, "limit": 5}),
    ("slot", {"slot": 7}),
    ("offers", {"slot": 7}),
    ("trades_of", {"batch": 7, "limit": 5}),
    ("places", {"known": (7, {1, 2})}),
    ("chain_trades", {"batches": {1, 2}}),
    ("outbox_trades", {}),
    ("open_slot_count", {}),
]


@pytest.mark.parametrize(("method", "named"), CASES)
def test_an_index_answers(tmp_path: Path, method: str, named: dict[str, Any]) -> None:
    found = plans(tmp_path / "bridge.sqlite", method, **named)
    assert found
    # A scan may be of what the query itself made, or of an index that has only the few that matter.
    few = ("batches_under_way", "trades_waiting", "slots_open", "trades_refused", "json_each", "SCAN (")
    assert [line for line in found if line.startswith("SCAN") and not any(name in line for name in few)] == []


def test_the_newest_of_all_are_read_from_the_end(tmp_path: Path) -> None:
    sorts = {
        method: [line for line in plans(tmp_path / "bridge.sqlite", method, limit=5)[:-1] if "TEMP B-TREE" in line]
        for method in ("list_trades", "list_readings", "list_slots")
    }
    # But for the few that were found, which are sorted at the very end.
    assert sorts == {"list_trades": [], "list_readings": [], "list_slots": []}


def test_a_lookup_changes_nothing_and_sees_what_others_change(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "bridge.sqlite")) as store, closing(Lookup(tmp_path / "bridge.sqlite")) as lookup:
        before = lookup.version()
        assert lookup.version() == before
        store.belongs_to("market", "ours")
        assert lookup.version() != before
        with lookup.snapshot():
            assert lookup.days(900) == []
            lookup.places()
