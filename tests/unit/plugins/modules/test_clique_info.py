# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about a chain that one real geth seals every second, and about no chain at all."""

import time
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.chain import Chain
from support.modules import run_module

STRANGER = Account.create().address
NOBODY: dict[str, Any] = {"changed": False, "running": False} | dict.fromkeys(
    (
        "head",
        "blocks",
        "genesis_hash",
        "chain_config",
        "client",
        "signers",
        "sealed",
        "in_turn_share",
        "last_sealed_by",
        "peers",
        "peer_public_keys",
        "votes",
        "problems",
    )
)


@pytest.fixture
def ipc(chain: Chain) -> str:
    return str(chain.node.ipc)


def test_facts_are_those_that_web3_sees(chain: Chain, ipc: str) -> None:
    facts = run_module("clique_info", {"ipc": ipc, "wait_for": {"head": 3}, "signers_window": 2, "timeout_s": 30})
    block = chain.web3.eth.get_block(facts["head"]["number"])
    assert facts["changed"] is False
    assert facts["running"] is True
    assert facts["head"]["number"] >= 3
    assert facts["head"]["hash"] == block["hash"].to_0x_hex()
    assert 0 <= facts["head"]["age_s"] <= time.time() - block["timestamp"]
    assert facts["genesis_hash"] == chain.web3.eth.get_block(0)["hash"].to_0x_hex()
    assert facts["chain_config"]["clique"] == {"period": 1, "epoch": 30000}
    assert facts["client"].startswith("Geth/v1.13.15-stable-modified/linux-")
    assert facts["signers"] == [chain.admin.address]
    assert facts["sealed"] == {chain.admin.address: 2}
    assert facts["problems"] == []
    assert (facts["in_turn_share"], facts["last_sealed_by"], facts["peers"], facts["votes"]) == (
        1,
        chain.admin.address,
        0,
        {},
    )


def test_http_offers_less_and_the_rest_is_null(chain: Chain) -> None:
    facts = run_module("clique_info", {"rpc_url": chain.url})
    assert facts["running"] is True
    assert (facts["signers"], facts["sealed"], facts["chain_config"], facts["votes"]) == (None, None, None, None)


def test_waits_for_a_seal_after_now(chain: Chain, ipc: str) -> None:
    wait_for = {
        "signer_sealed": chain.admin.address.lower(),
        "signers_seen": [chain.admin.address.lower()],
        "new_blocks": 1,
    }
    before = chain.web3.eth.block_number
    facts = run_module("clique_info", {"ipc": ipc, "wait_for": wait_for, "timeout_s": 30})
    assert facts["head"]["number"] > before
    assert run_module("clique_info", {"ipc": ipc, "wait_for": {**wait_for, "since_head": 0}})["running"] is True


def test_a_failed_wait_shows_its_evidence(chain: Chain, ipc: str) -> None:
    log = chain.node.log
    wait_for = {"peers": 1, "signers_seen": [chain.admin.address, STRANGER]}
    answer = run_module("clique_info", {"ipc": ipc, "wait_for": wait_for, "timeout_s": 1, "log_file": str(log)})
    assert answer["failed"] is True
    assert "after 1 s this node still lacks 1 peers; and" in answer["msg"]
    assert f"sealed by {STRANGER}; it has 0 peers, its head is " in answer["msg"]
    shown = answer["msg"].split(f"The last lines of {log}:\n")[1]
    assert len(shown.splitlines()) == 15
    assert shown in log.read_text()
    assert f"blocks were sealed by {chain.admin.address}" in answer["msg"]
    assert answer["sealed"][chain.admin.address] > 0


def test_check_mode_waits_for_nothing(ipc: str, tmp_path: Path) -> None:
    facts = run_module("clique_info", {"ipc": ipc, "wait_for": {"head": 10**6}, "timeout_s": 60}, check=True)
    assert (facts["running"], facts["changed"]) == (True, False)
    unborn = {"ipc": str(tmp_path / "none.ipc"), "wait_for": {"head": 1}}
    assert run_module("clique_info", unborn, check=True) == NOBODY


def test_where_nobody_answers(tmp_path: Path) -> None:
    assert run_module("clique_info", {"ipc": str(tmp_path / "none.ipc")}) == NOBODY
    unborn = {"ipc": str(tmp_path / "none.ipc"), "wait_for": {"head": 1}, "timeout_s": 0.5}
    answer = run_module("clique_info", unborn)
    assert answer["msg"].startswith("after 0.5 s this node still lacks an answer (no node answers at ")
    assert answer.items() >= {key: value for key, value in NOBODY.items() if key != "changed"}.items()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "one of the following is required: ipc, rpc_url"),
        ({"ipc": "/" + "x" * 107}, "choose a shorter directory"),
        ({"rpc_url": "127.0.0.1:8545"}, "127.0.0.1:8545 is no URL of a node; it has to begin with http:// or https://"),
        ({"ipc": "/none", "wait_for": {"signers_seen": ["0x12"]}}, "the signer '0x12' is not an address"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], says: str) -> None:
    assert says in run_module("clique_info", arguments)["msg"]
