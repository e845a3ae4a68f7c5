# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys are opened, and transactions sent and waited for, on a real chain."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._chain import (
    Call,
    ChainError,
    NodeUnreachableError,
    connect,
    relying_on,
    send_all,
    unlock,
    wait_until_idle,
)
from eth_account import Account
from support.chain import PASSWORD, Chain, unsteady, write_keystore
from web3.types import RPCEndpoint


@pytest.mark.parametrize("text", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\n", f"{PASSWORD}\nof pv\n"])
def test_the_password_is_the_first_line(tmp_path: Path, text: str) -> None:
    account = Account.create()
    write_keystore(account, tmp_path / "keystore", tmp_path / "password")
    (tmp_path / "password").write_text(text, newline="")
    (tmp_path / "keystore/.lock").touch()
    assert unlock(tmp_path / "keystore", tmp_path / "password") == account


def test_a_keystore_has_one_account(tmp_path: Path) -> None:
    for count in (1, 2):
        write_keystore(Account.create(), tmp_path / f"{count}", tmp_path / "password")
    (tmp_path / "empty").mkdir()
    write_keystore(Account.create(), tmp_path / "2", tmp_path / "password")
    for name, count in (("empty", 0), ("2", 2)):
        with pytest.raises(ChainError, match=f"{name} has {count} accounts, and it has to have one"):
            unlock(tmp_path / name, tmp_path / "password")


@pytest.mark.parametrize("key", ["{", "[]", "{}", '{"version": 3}'])
def test_what_is_no_key_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "keystore").mkdir()
    (tmp_path / "keystore/key").write_text(key)
    (tmp_path / "password").write_text(PASSWORD)
    with pytest.raises(ChainError, match=r"the account in .*keystore cannot be unlocked with .*password"):
        unlock(tmp_path / "keystore", tmp_path / "password")


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        self.now_s += seconds


def test_a_node_that_was_just_started_is_waited_for(chain: Chain) -> None:
    with unsteady(chain, lambda number: number > 3) as url:
        assert connect(url, timeout_s=5, clock=Clock()).eth.chain_id == 1337


@pytest.mark.parametrize(
    ("place", "kind", "timeout_s"),
    [
        ("http://127.0.0.1:1", "URL", 0),
        ("http://127.0.0.1:1", "URL", 5),
        ("/nonexistent/geth.ipc", "path", 5),
    ],
)
def test_no_node_is_said_in_a_sentence(place: str, kind: str, timeout_s: float) -> None:
    clock = Clock()
    says = f"no Ethereum node answers at {place}; start it, or correct the {kind}"
    with pytest.raises(NodeUnreachableError, match=says):
        connect(place, timeout_s=timeout_s, clock=clock)
    assert clock.now_s == pytest.approx(timeout_s, abs=0.25)


def test_a_node_that_stops_answering_is_said_in_a_sentence(chain: Chain) -> None:
    with unsteady(chain, lambda number: number <= 1) as url:
        web3 = connect(url, timeout_s=0, clock=Clock())
        with (
            pytest.raises(ChainError, match=f"^the node at {url} stopped answering: .*; run this again$"),
            relying_on(url),
        ):
            web3.eth.get_block("latest")


def test_what_a_node_refuses_is_said_in_a_sentence(chain: Chain) -> None:
    web3 = connect(chain.url, timeout_s=0, clock=Clock())
    words = (
        f"^the node at {chain.url} refuses: .*the method eth_nothing does not exist.*; see its log, and run this again$"
    )
    with pytest.raises(ChainError, match=words), relying_on(chain.url):
        web3.manager.request_blocking(RPCEndpoint("eth_nothing"), [])


def test_another_error_is_nobodys_sentence() -> None:
    with pytest.raises(PermissionError), relying_on("http://127.0.0.1:1"):
        raise PermissionError


def test_calls_go_out_with_consecutive_nonces_after_what_is_under_way(chain: Chain) -> None:
    web3 = connect(chain.url, timeout_s=0, clock=time)
    poor = Account.create().address
    chain.give(poor, 1)
    calls = [Call(f"pay {wei}", poor, 21_000, value_wei=wei) for wei in (10, 100)]
    receipts = send_all(web3, chain.admin, calls, timeout_s=30, clock=time)
    nonces = [web3.eth.get_transaction(receipt["transactionHash"])["nonce"] for receipt in receipts]
    assert nonces == [nonces[0], nonces[0] + 1]
    assert web3.eth.get_balance(poor) == 111
    assert wait_until_idle(web3, chain.admin.address.lower(), timeout_s=30, clock=time) == nonces[1] + 1


def test_too_little_money_sends_nothing(chain: Chain) -> None:
    web3, poor = connect(chain.url, timeout_s=0, clock=time), Account.create()
    with pytest.raises(ChainError, match=f"{poor.address} has 0 wei and needs [0-9]+; send it some first"):
        send_all(web3, poor, [Call("pay", poor.address, 21_000)], timeout_s=30, clock=time)
    assert web3.eth.get_transaction_count(poor.address, "pending") == 0


def test_a_call_that_the_contract_refuses_is_named(chain: Chain) -> None:
    market = chain.empty_market()
    data = bytes.fromhex(market.encode_abi("withdraw")[2:])
    calls = [Call("pay", chain.admin.address, 21_000), Call("withdraw", market.address, 100_000, data)]
    with pytest.raises(ChainError, match=r"the contract refused to withdraw \(0x[0-9a-f]{64} in block [0-9]+\); what"):
        send_all(connect(chain.url, timeout_s=0, clock=time), chain.admin, calls, timeout_s=30, clock=time)


def test_a_chain_that_stands_still_is_named(chain: Chain) -> None:
    with pytest.raises(ChainError, match=r"the transaction to pay \(0x[0-9a-f]{64}\) is in no block after 0 s; do the"):
        send_all(
            connect(chain.url, timeout_s=0, clock=time),
            chain.admin,
            [Call("pay", chain.admin.address, 21_000)],
            timeout_s=0,
            clock=time,
        )
