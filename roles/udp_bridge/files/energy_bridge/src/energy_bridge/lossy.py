# SPDX-License-Identifier: GPL-3.0-or-later
"""A network that loses, doubles and reorders datagrams on purpose. Pure: luck comes from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Faults", "Line", "Luck", "passed"]

# Three numbers from 0 up to 1: is it lost, is it doubled, does it wait?
Luck = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Faults:
    """The probabilities, 0 to 1, that a datagram is lost, arrives twice, or is overtaken by the next one."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """One sender's way to the bridge: the datagram that waits for the next one, and what was done so far."""

    held: tuple[bytes, ...] = ()
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0


def passed(line: Line, datagram: bytes, faults: Faults, luck: Luck) -> tuple[Line, tuple[bytes, ...]]:
    """What comes out of the line when this datagram goes in, and the line after it.

    One datagram waits at a time, so each is overtaken by one other at most, and a copy may arrive before its original.
    """
    if luck[0] < faults.loss:
        return replace(line, lost=line.lost + 1), ()
    twice = luck[1] < faults.duplicate
    line = replace(line, duplicated=line.duplicated + twice)
    copies = (datagram,) * (1 + twice)
    if line.held:
        return replace(line, held=()), (*copies, *line.held)
    if luck[2] < faults.reorder:
        return replace(line, held=copies[:1], reordered=line.reordered + 1), copies[1:]
    return line, copies
