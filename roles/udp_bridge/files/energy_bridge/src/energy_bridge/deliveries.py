# SPDX-License-Identifier: GPL-3.0-or-later
"""What senders were told about their readings, and the report that is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energy_bridge.lossy import Line
from energy_bridge.model import NWH_PER_WH, Reading

__all__ = ["ACKNOWLEDGED", "ENDS", "Delivery", "progress", "report", "table"]

ENDS = {"superseded", "settled", "refused", "rejected", "conflict"}
ACKNOWLEDGED = {"stored", "late", "batched", "reverted", "superseded", "settled", "refused"}
UNANSWERED = "unanswered"

_MOST_NAMED = 10  # readings that the table names one by one


@dataclass(slots=True)
class Delivery:
    """One reading's way, as its sender saw it."""

    reading: Reading
    sent: int = 0
    stored: bool = False
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The last answer's."""
        return str(self.answer.get("status", UNANSWERED))


def progress(deliveries: Sequence[Delivery]) -> str:
    """How far it is, in a line."""
    stored = sum(delivery.stored for delivery in deliveries)
    settled = sum(delivery.status == "settled" for delivery in deliveries)
    return f"{len(deliveries)} readings sent, {stored} stored, {settled} settled"


def report(deliveries: Sequence[Delivery], lines: Iterable[Line] = ()) -> dict[str, Any]:
    """The senders' own account, for programs: sent, stored, settled … count readings, datagrams repetitions too.

    lost, duplicated and reordered are what lines did on purpose.
    """
    fates = Counter(delivery.status for delivery in deliveries)
    lines = list(lines)
    return {
        "sent": len(deliveries),
        "stored": sum(delivery.stored for delivery in deliveries),
        "settled": fates["settled"],
        "refused": fates["refused"],
        "unanswered": fates[UNANSWERED],
        "by_fate": dict(sorted(fates.items())),
        "datagrams": sum(delivery.sent for delivery in deliveries),
        "lost": sum(line.lost for line in lines),
        "duplicated": sum(line.duplicated for line in lines),
        "reordered": sum(line.reordered for line in lines),
        "readings": [
            {
                "source": delivery.reading.source,
                "boot": delivery.reading.boot,
                "seq": delivery.reading.seq,
                "slot": delivery.reading.slot,
                "energy_wh": delivery.reading.energy_nwh // NWH_PER_WH,
                "price_wei_per_wh": delivery.reading.price_wei_per_wh,
                "datagrams": delivery.sent,
                "stored": delivery.stored,
                "status": delivery.status,
                "transaction": delivery.answer.get("transaction"),
                "reason": delivery.answer.get("reason"),
            }
            for delivery in sorted(deliveries, key=lambda delivery: (delivery.reading.slot, delivery.reading.source))
        ],
    }


def table(report: Mapping[str, Any], bridge: str) -> str:
    """The report for people; bridge is where it was sent."""
    fates = ", ".join(f"{count} {status}" for status, count in report["by_fate"].items())
    lines = [
        (
            f"readings   {report['sent']} sent, {report['stored']} stored, {report['settled']} settled, "
            f"{report['refused']} refused, {report['unanswered']} unanswered"
        ),
        f"fates      {fates or 'none'}",
        (
            f"datagrams  {report['datagrams']} sent; on purpose {report['lost']} lost, "
            f"{report['duplicated']} duplicated, {report['reordered']} reordered"
        ),
    ]
    open_ends = [reading for reading in report["readings"] if reading["status"] not in ("settled", UNANSWERED)]
    for reading in open_ends[:_MOST_NAMED]:
        because = f": {reading['reason']}" if reading["reason"] else ""
        lines.append(f"  {reading['source']}, slot {reading['slot']}: {reading['status']}{because}")
    if len(open_ends) > _MOST_NAMED:
        lines.append(f"  and {len(open_ends) - _MOST_NAMED} more that are not settled; --report FILE has all of them")
    sources = {reading["source"] for reading in report["readings"]}
    heard = {reading["source"] for reading in report["readings"] if reading["status"] != UNANSWERED}
    if silent := sorted(sources - heard):
        them = "it" if len(silent) == 1 else "them"
        lines.append(
            f"{_some(silent)} never got an answer: is the bridge at {bridge}, does it know {them} (clique_actors), "
            f"and has it the same secret for {them}?"
        )
    return "\n".join(lines)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
