# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of trades in bytes, as EnergyMarket takes it in settleBatch and logs it in BatchSettled.

All is big-endian: the first slot 4 bytes, the number of accounts 2, the accounts 20 each and ascending, the trades 18
each. A trade: place of the seller among the accounts 2, of the buyer 2, Wh 4, wei per Wh 8 (signed), and in 2 the slot
less the first slot, times two, plus one for an imbalance.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

__all__ = [
    "BatchError",
    "BatchTrade",
    "SettledBatch",
    "decode_batch",
    "decode_event",
    "encode_batch",
]

_HEAD = struct.Struct(">IH")
_TRADE = struct.Struct(">HHIqH")
_ACCOUNT_BYTES = 20


class BatchError(ValueError):
    """Bytes that are no batch, or trades that no batch can hold."""


@dataclass(frozen=True, slots=True)
class BatchTrade:
    """A trade between two accounts (checksummed addresses); energy_wh > 0, with a negative price the seller pays."""

    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    imbalance: bool = False


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """What one BatchSettled event says."""

    operator: str
    seq: int
    content_hash: bytes
    readings_root: bytes
    trades: tuple[BatchTrade, ...]


def encode_batch(trades: Sequence[BatchTrade]) -> bytes:
    """Pack trades of one day, in their order; raises BatchError for what does not fit its bytes."""
    first_slot = min((trade.slot for trade in trades), default=0)
    accounts = sorted({bytes.fromhex(name[2:]) for trade in trades for name in (trade.seller, trade.buyer)})
    places = {account: place for place, account in enumerate(accounts)}
    try:
        head = _HEAD.pack(first_slot, len(accounts))
        packed = [
            _TRADE.pack(
                places[bytes.fromhex(trade.seller[2:])],
                places[bytes.fromhex(trade.buyer[2:])],
                trade.energy_wh,
                trade.price_wei_per_wh,
                2 * (trade.slot - first_slot) + trade.imbalance,
            )
            for trade in trades
        ]
    except struct.error as error:
        raise BatchError(f"A batch cannot hold these trades: {error}.") from error
    return b"".join([head, *accounts, *packed])


def decode_batch(batch: bytes) -> list[BatchTrade]:
    """Unpack the trades of a batch, in their order; raises BatchError."""
    head = batch[: _HEAD.size].ljust(_HEAD.size, b"\0")
    first_slot, count = _HEAD.unpack(head)
    start = _HEAD.size + count * _ACCOUNT_BYTES
    if len(batch) < start or (len(batch) - start) % _TRADE.size:
        raise BatchError(f"No batch with {count} accounts has {len(batch)} bytes.")
    places = range(_HEAD.size, start, _ACCOUNT_BYTES)
    accounts = [to_checksum_address(batch[place : place + _ACCOUNT_BYTES]) for place in places]
    trades = []
    for index, (seller, buyer, energy_wh, price, offset) in enumerate(_TRADE.iter_unpack(batch[start:])):
        if max(seller, buyer) >= count:
            raise BatchError(f"Trade {index} names account {max(seller, buyer)} of a batch with {count} accounts.")
        slot, imbalance = first_slot + offset // 2, offset % 2 == 1
        trades.append(BatchTrade(accounts[seller], accounts[buyer], energy_wh, price, slot, imbalance))
    return trades


def decode_event(arguments: Mapping[str, Any]) -> SettledBatch:
    """Read the arguments of a BatchSettled event, as web3 gives them; raises BatchError."""
    return SettledBatch(
        operator=arguments["operator"],
        seq=arguments["seq"],
        content_hash=bytes(arguments["contentHash"]),
        readings_root=bytes(arguments["readingsRoot"]),
        trades=tuple(decode_batch(bytes(arguments["batch"]))),
    )
