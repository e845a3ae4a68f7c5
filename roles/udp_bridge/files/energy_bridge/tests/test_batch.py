# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch's bytes are what the contract expects, come back as they went, and are refused where they are none."""

from typing import Any

import pytest
from energy_bridge.batch import BatchError, BatchTrade, SettledBatch, decode_batch, decode_event, encode_batch
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

LOAD, PV, GRID = (to_checksum_address(f"0x{byte * 20}") for byte in ("0a", "0b", "ff"))
TRADES = [
    BatchTrade(PV, LOAD, 1000, 10**14, 2_100_001),
    BatchTrade(PV, GRID, 500, -1, 2_100_000),
    BatchTrade(GRID, LOAD, 2**32 - 1, -(2**63), 2_100_000, imbalance=True),
]
BATCH = bytes.fromhex(
    "00200b20 0003"
    + "0a" * 20
    + "0b" * 20
    + "ff" * 20
    + "0001 0000 000003e8 00005af3107a4000 0002"
    + "0001 0002 000001f4 ffffffffffffffff 0000"
    + "0002 0000 ffffffff 8000000000000000 0001"
)
ONE_ACCOUNT = "00200b20 0001" + "0a" * 20
TRADE = "0000 0000 00000001 0000000000000001 0000"


def test_a_batch_has_these_bytes() -> None:
    assert encode_batch(TRADES) == BATCH
    assert decode_batch(BATCH) == TRADES


def test_a_batch_of_nothing_is_its_head() -> None:
    assert encode_batch([]) == bytes(6)
    assert decode_batch(bytes(6)) == []


accounts = st.sampled_from([LOAD, PV, GRID]) | st.binary(min_size=20, max_size=20).map(to_checksum_address)
trades = st.integers(0, 2**32 - 2**15).flatmap(
    lambda first_slot: st.lists(
        st.builds(
            BatchTrade,
            seller=accounts,
            buyer=accounts,
            energy_wh=st.integers(0, 2**32 - 1),
            price_wei_per_wh=st.integers(-(2**63), 2**63 - 1),
            slot=st.integers(first_slot, first_slot + 2**15 - 1),
            imbalance=st.booleans(),
        )
    )
)


@given(trades)
def test_every_batch_comes_back(trades: list[BatchTrade]) -> None:
    batch = encode_batch(trades)
    assert decode_batch(batch) == trades
    count = int.from_bytes(batch[4:6], "big")
    listed = [batch[place : place + 20] for place in range(6, 6 + 20 * count, 20)]
    assert listed == sorted(set(listed)), "the contract wants them ascending"
    assert len(batch) == 6 + 20 * count + 18 * len(trades)


@pytest.mark.parametrize(
    "trades",
    [
        pytest.param([BatchTrade(PV, LOAD, 2**32, 1, 5)], id="energy"),
        pytest.param([BatchTrade(PV, LOAD, -1, 1, 5)], id="negative energy"),
        pytest.param([BatchTrade(PV, LOAD, 1, 2**63, 5)], id="price"),
        pytest.param([BatchTrade(PV, LOAD, 1, -(2**63) - 1, 5)], id="negative price"),
        pytest.param([BatchTrade(PV, LOAD, 1, 1, 2**32)], id="slot"),
        pytest.param([BatchTrade(PV, LOAD, 1, 1, 5), BatchTrade(PV, LOAD, 1, 1, 5 + 2**15)], id="slots too far apart"),
        pytest.param(
            [BatchTrade(f"0x{2 * n:040x}", f"0x{2 * n + 1:040x}", 1, 1, 5) for n in range(2**15)],
            id="accounts",
        ),
    ],
)
def test_what_does_not_fit_is_refused(trades: list[BatchTrade]) -> None:
    with pytest.raises(BatchError, match=r"^A batch cannot hold these trades: .*\.$"):
        encode_batch(trades)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ("", "No batch with 0 accounts has 0 bytes."),
        ("0000000000", "No batch with 0 accounts has 5 bytes."),
        ("00200b20 0002" + "0a" * 39, "No batch with 2 accounts has 45 bytes."),
        (ONE_ACCOUNT + TRADE[:-2], "No batch with 1 accounts has 43 bytes."),
        (ONE_ACCOUNT + TRADE + "00", "No batch with 1 accounts has 45 bytes."),
        (ONE_ACCOUNT + TRADE + "0000 0001" + TRADE[9:], "Trade 1 names account 1 of a batch with 1 accounts."),
        (ONE_ACCOUNT + "ffff 0000" + TRADE[9:], "Trade 0 names account 65535 of a batch with 1 accounts."),
        ("00000000 0000" + TRADE, "Trade 0 names account 0 of a batch with 0 accounts."),
    ],
)
def test_bytes_that_are_no_batch_are_refused(batch: str, reason: str) -> None:
    with pytest.raises(BatchError) as caught:
        decode_batch(bytes.fromhex(batch))
    assert str(caught.value) == reason


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(batch: bytes) -> None:
    try:
        trades = decode_batch(batch)
    except BatchError:
        return
    assert len(trades) == (len(batch) - 6 - 20 * int.from_bytes(batch[4:6], "big")) // 18


def test_an_event_is_read_with_its_trades() -> None:
    arguments: dict[str, Any] = {
        "operator": GRID,
        "seq": 7,
        "contentHash": bytearray(b"c" * 32),
        "readingsRoot": bytearray(b"r" * 32),
        "batch": bytearray(BATCH),
    }
    assert decode_event(arguments) == SettledBatch(GRID, 7, b"c" * 32, b"r" * 32, tuple(TRADES))
