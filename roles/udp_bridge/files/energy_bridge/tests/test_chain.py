# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of signing is said in a sentence."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from energy_bridge.chain import MarketChain, blamed, read_operator
from energy_bridge.model import Trade
from energy_bridge.settlement import ChainError
from energy_bridge.written import ConfigError
from eth_account import Account
from eth_account.signers.local import LocalAccount

PASSWORD = "a password"


@pytest.fixture(scope="module")
def operator() -> LocalAccount:
    account: LocalAccount = Account.from_key("0x" + "01" * 32)
    return account


@pytest.fixture
def keystore(tmp_path: Path, operator: LocalAccount) -> Path:
    directory = tmp_path / "keystore"
    directory.mkdir()
    key = Account.encrypt(operator.key, PASSWORD, kdf="pbkdf2", iterations=1)
    (directory / "UTC--operator").write_text(json.dumps(key))
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return directory


def test_a_temporary_file_is_no_account(keystore: Path, operator: LocalAccount) -> None:
    (keystore / ".UTC--operator.tmp").write_text("{")
    assert read_operator(keystore, keystore.parent / "password").address == operator.address


def test_a_second_account_is_refused(keystore: Path) -> None:
    (keystore / "UTC--other").write_text("{}")
    with pytest.raises(ConfigError, match="has to hold one account, and it holds 2"):
        read_operator(keystore, keystore.parent / "password")


@pytest.mark.parametrize(
    ("trades", "reason"),
    [
        pytest.param(
            [Trade("pv", "grid", 100, 2, 5)],
            "pv is no longer an actor in the configuration; bring it back",
            id="a seller",
        ),
        pytest.param(
            [Trade("grid", "load", 100, 2, 5), Trade("chp", "grid", 100, 2, 5), Trade("chp", "load", 1, 2, 5)],
            "chp, load are no longer actors in the configuration; bring them back",
            id="several",
        ),
    ],
)
def test_a_batch_with_an_actor_that_was_removed_waits_and_says_for_whom(
    operator: LocalAccount, trades: Sequence[Trade], reason: str
) -> None:
    async def sign() -> None:
        chain = MarketChain(
            "http://127.0.0.1:9",
            chain_id=1337,
            market="0x" + "ab" * 20,
            abi=[],
            operator=operator,
            accounts={"grid": "0x" + "02" * 20},
        )
        try:
            await chain.sign(seq=0, nonce=0, readings_root=bytes(32), trades=trades)
        finally:
            await chain.close()

    with pytest.raises(ChainError) as caught:
        asyncio.run(sign())
    assert str(caught.value) == reason


ACCOUNTS = {name: f"0x{number:040x}" for number, name in enumerate(("grid", "load", "pv"), 1)}
BATCH = [
    Trade("pv", "load", 10, 5, 1),
    Trade("pv", "grid", 30, 5, 1),
    Trade("grid", "load", 20, 5, 2),
    Trade("load", "pv", 20, -5, 2),
    Trade("grid", "load", 1, 5, 1, imbalance=True),
]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        pytest.param({"index": 3, "account": ACCOUNTS["load"]}, [3], id="one trade"),
        pytest.param({"account": ACCOUNTS["load"], "missingWei": 5}, [4], id="the last payment is enough"),
        pytest.param({"account": ACCOUNTS["load"], "missingWei": 6}, [4, 3], id="a seller pays a negative price"),
        pytest.param({"account": ACCOUNTS["load"], "missingWei": 10**9}, [4, 3, 2, 0], id="all of them are not"),
        pytest.param({"account": ACCOUNTS["pv"].upper().replace("X", "x"), "day": 7}, [0, 1, 3], id="an account"),
        pytest.param({"day": 7}, [0, 1, 2, 3], id="a closed day takes imbalances"),
        pytest.param({}, [0, 1, 2, 3, 4], id="nobody in particular"),
        pytest.param({"account": "0x" + "ff" * 20}, [0, 1, 2, 3, 4], id="nobody known"),
    ],
)
def test_the_trades_that_the_contract_speaks_of_are_taken_out(values: dict[str, Any], places: list[int]) -> None:
    assert blamed(values, BATCH, ACCOUNTS) == places
