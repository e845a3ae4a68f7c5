# SPDX-License-Identifier: GPL-3.0-or-later
"""One genesis, once: made as predicted, kept for ever, and refused with names where it would have to change."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical_digest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_hash import genesis_hash
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module, tree

SIGNERS = ["0x52908400098527886E0F7030069857D2E4169EE7", "0x27b1fdb04752bbc536007a920d24acb045561c26"]
CHECKSUMMED = ["0x27b1fdb04752bbc536007a920d24acb045561c26", "0x52908400098527886E0F7030069857D2E4169EE7"]


def arguments(folder: Path, **change: Any) -> dict[str, Any]:
    return {
        "path": str(folder / "network/genesis.json"),
        "network": str(folder / "network/network.json"),
        "signers": SIGNERS,
        "prefunded": {SIGNERS[0]: "1000000000000000000000000"},
        **change,
    }


WHOLE = {
    "forks": {"london": 1000},
    "nonce": 42,
    "precompile_dust": True,
    "vanity": "0x01",
    "prefunded": {
        SIGNERS[0]: {"balance": "5", "nonce": 1, "code": "0xfe", "storage": {"0x01": "0x02"}},
        "0x4e59b44847b379578588920cA78FbF26c0B4956C": "7",
    },
}


@pytest.mark.parametrize("change", [{}, {"vanity": "SmartEnergy"}, {"create2_proxy": False, "prefunded": None}, WHOLE])
def test_a_genesis_is_made_once(tmp_path: Path, change: dict[str, Any]) -> None:
    made, kept = assert_check_mode_is_truthful("clique_genesis", arguments(tmp_path, **change), tmp_path)
    assert made["changed"]
    assert json.loads(Path(made["path"]).read_text()) == made["genesis"] == kept["genesis"]
    assert [signer.lower() for signer in made["signers"]] == [signer.lower() for signer in CHECKSUMMED]
    assert made["genesis_hash"] == kept["genesis_hash"]


def test_numbers_survive_readers_with_53_bits(tmp_path: Path) -> None:
    made = run_module("clique_genesis", arguments(tmp_path))
    text = json.dumps(made["genesis"])
    assert json.loads(text, parse_int=float) == json.loads(text)


@pytest.mark.parametrize("signers", [None, []])
def test_signers_and_accounts_left_out_are_the_recorded_ones(tmp_path: Path, signers: list[str] | None) -> None:
    made = run_module("clique_genesis", arguments(tmp_path))
    before = tree(tmp_path)
    kept = run_module("clique_genesis", arguments(tmp_path, signers=signers, prefunded=None))
    assert (kept["changed"], kept["genesis_hash"]) == (False, made["genesis_hash"])
    assert tree(tmp_path) == before


def test_a_rich_genesis_is_kept_where_accounts_are_left_out(tmp_path: Path) -> None:
    made = run_module("clique_genesis", arguments(tmp_path, **WHOLE))
    left_out = {**WHOLE, "signers": None, "prefunded": None, "precompile_dust": None}
    kept = run_module("clique_genesis", arguments(tmp_path, **left_out))
    assert (kept.get("msg"), kept["changed"], kept["digest"]) == (None, False, made["digest"])


def test_another_spelling_is_left_as_it_is(tmp_path: Path) -> None:
    made = run_module("clique_genesis", arguments(tmp_path))
    path = Path(made["path"])
    path.write_text(json.dumps({**made["genesis"], "gasLimit": "30000000"}))
    before = tree(tmp_path)
    kept = run_module("clique_genesis", arguments(tmp_path))
    assert (kept["changed"], kept["digest"]) == (False, made["digest"])
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chain_id": 4242}, ["config.chainId: 1337 ≠ 4242", "digest:"]),
        ({"period_s": 2}, ["config.clique.period: 5 ≠ 2"]),
        ({"period_s": 2, "gas_limit": 8_000_000}, ["config.clique.period: 5 ≠ 2", "gasLimit", "hash: 0x"]),
        ({"signers": SIGNERS[:1]}, ["extraData.signers", SIGNERS[1]]),
        ({"prefunded": {}}, ["alloc.0x52908400098527886e0f7030069857d2e4169ee7.balance", "nothing"]),
        ({"create2_proxy": False}, ["alloc.0x4e59b44847b379578588920ca78fbf26c0b4956c"]),
        ({"forks": {"london": 7}}, ["config.londonBlock: 0 ≠ 7"]),
        ({"nonce": 1}, ["nonce: 0 ≠ 1"]),
        ({"precompile_dust": True}, ["alloc.0x0000000000000000000000000000000000000000.balance: nothing ≠ 1"]),
    ],
)
def test_an_existing_genesis_that_differs_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    run_module("clique_genesis", arguments(tmp_path))
    assert_refused("clique_genesis", arguments(tmp_path, **change), tmp_path, "cannot change", *words)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"signers": None}, "at least one signer"),
        ({"signers": [None]}, "not an address"),
        ({"signers": ["0x12"]}, "not an address"),
        ({"period_s": -1}, "period_s"),
        ({"forks": {"berlin": 9}}, "the fork london is on from block 0, before berlin, which is on from 9"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    assert_refused("clique_genesis", arguments(tmp_path, **change), tmp_path, word)


@pytest.mark.parametrize("content", ["{", "[]", '{"config": 1}'])
def test_a_file_that_is_no_genesis_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "network/genesis.json"
    path.parent.mkdir()
    path.write_text(content)
    assert_refused("clique_genesis", arguments(tmp_path), tmp_path, str(path))


@pytest.mark.parametrize("unknown", [{"signers": [None, SIGNERS[0]]}, {"prefunded": {"None": "1"}}])
def test_check_mode_does_not_make_up_what_depends_on_unknown_accounts(tmp_path: Path, unknown: dict[str, Any]) -> None:
    answer = run_module("clique_genesis", arguments(tmp_path, **unknown), check=True)
    assert answer["changed"]
    assert [answer[name] for name in ("genesis", "genesis_hash", "digest", "signers", "extra_data")] == [None] * 5
    assert tree(tmp_path) == {}


def test_only_the_recorded_genesis_is_made_again(tmp_path: Path) -> None:
    made = run_module("clique_genesis", arguments(tmp_path))
    genesis = {"chain_id": 1337, "period_s": 5, "hash": made["genesis_hash"]}
    genesis |= {name: made[name] for name in ("digest", "signers")}
    record = {"path": str(tmp_path / "network/network.json"), "genesis": genesis, "hosts": {}}
    assert run_module("clique_network", record)["changed"]
    before = tree(tmp_path)
    Path(made["path"]).unlink()
    assert_refused("clique_genesis", arguments(tmp_path, period_s=2), tmp_path, "is lost", made["genesis_hash"])
    assert_check_mode_is_truthful("clique_genesis", arguments(tmp_path, signers=None), tmp_path)
    assert tree(tmp_path) == before


def adopting(folder: Path, **change: Any) -> dict[str, Any]:
    """Arguments that ask for nothing but a source."""
    return {"path": str(folder / "network/genesis.json"), "source": source(), **change}


def source() -> dict[str, Any]:
    """Another network's genesis, as puppeth would have exported it."""
    signers = "".join(signer[2:].lower() for signer in CHECKSUMMED)
    forks = ("homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul")
    return {
        "config": {
            "chainId": 4242,
            **{f"{fork}Block": number for number, fork in enumerate(forks)},
            "eip150Hash": "0x" + "00" * 32,
            "clique": {"period": 15, "epoch": 900},
        },
        "nonce": "0x2a",
        "timestamp": "0x58ee40ba",
        "extradata": "0x" + b"Harmony".ljust(32).hex() + signers + "00" * 65,
        "gasLimit": "4700000",
        "difficulty": 1,
        "gasUsed": "0x0",
        "parentHash": "0x" + "00" * 32,
        "alloc": {
            **{f"{number:040x}": {"balance": "0x1"} for number in range(256)},
            SIGNERS[0][2:]: {"balance": "1000"},
            "77" * 20: {"balance": "0x0", "code": "0x6001", "storage": {"0x01": "0x02"}, "nonce": "0x5"},
        },
        "baseFeePerGas": None,
    }


def test_a_source_is_adopted_once(tmp_path: Path) -> None:
    made, kept = assert_check_mode_is_truthful("clique_genesis", adopting(tmp_path), tmp_path)
    assert json.loads(Path(made["path"]).read_text()) == made["genesis"]
    assert (made["chain_id"], made["period_s"]) == (4242, 15)
    assert made["genesis_hash"] == kept["genesis_hash"] == genesis_hash(source())
    assert made["digest"] == canonical_digest(source())
    assert "warnings" not in made


def test_a_source_may_be_a_file_and_be_described_besides(tmp_path: Path) -> None:
    file = tmp_path / "puppeth.json"
    file.write_text(json.dumps(source()))
    asked: dict[str, Any] = {
        "chain_id": 4242,
        "period_s": 15,
        "epoch": 900,
        "gas_limit": 4_700_000,
        "timestamp": 0x58EE40BA,
    }
    asked |= {
        "signers": SIGNERS,
        "prefunded": {SIGNERS[0]: 1000},
        "create2_proxy": False,
        "vanity": "Harmony".ljust(32),
    }
    made = run_module("clique_genesis", adopting(tmp_path, source=str(file), **asked))
    assert (made.get("msg"), made["changed"]) == (None, True)
    assert run_module("clique_genesis", adopting(tmp_path, source=made["path"]))["changed"] is False


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"chain_id": 1337}, ["config.chainId: 4242 ≠ 1337"]),
        ({"period_s": 5, "epoch": 30000}, ["config.clique.period: 15 ≠ 5", "config.clique.epoch: 900 ≠ 30000"]),
        ({"base_fee_wei": 7}, ["baseFeePerGas: nothing ≠ 7"]),
        ({"signers": SIGNERS[:1]}, ["extraData.signers"]),
        ({"prefunded": {SIGNERS[0]: 1}}, ["balance: 1000 ≠ 1"]),
        ({"vanity": "Other"}, ["extraData.vanity"]),
        ({"create2_proxy": True}, ["alloc.0x4e59b44847b379578588920ca78fbf26c0b4956c.balance: nothing ≠ 0"]),
        ({"timestamp": 0}, ["timestamp: 1492009146 ≠ 0"]),
        ({"nonce": 0}, ["nonce: 42 ≠ 0"]),
        ({"forks": {"istanbul": 9, "london": 0}}, ["istanbulBlock: 7 ≠ 9", "londonBlock: nothing ≠ 0"]),
    ],
)
def test_a_source_that_contradicts_what_is_asked_is_refused_by_name(
    tmp_path: Path, asked: dict[str, Any], words: list[str]
) -> None:
    assert_refused("clique_genesis", adopting(tmp_path, **asked), tmp_path, "the source differs", *words)


def test_another_genesis_than_the_source_stays_and_is_named(tmp_path: Path) -> None:
    run_module("clique_genesis", adopting(tmp_path))
    other = {**source(), "gasLimit": 8_000_000, "timestamp": 0}
    words = ["cannot change", "gasLimit: 4700000 ≠ 8000000", "timestamp: 1492009146 ≠ 0", "hash: 0x"]
    assert_refused("clique_genesis", adopting(tmp_path, source=other), tmp_path, *words)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("missing.json", ["missing.json does not exist"]),
        ("/", ["/ is not a genesis file"]),
        (7, ["the source is not a genesis"]),
        ({"extradata": "0x00"}, ["the extraData has 1 bytes"]),
        ({"alloc": {SIGNERS[0]: {}}}, ["balance"]),
        ({"alloc": {SIGNERS[0]: {"balance": "-1"}}}, ["balance is '-1'"]),
        ({"alloc": {SIGNERS[0]: {"balance": "1", "storage": 1}}}, ["storage of the genesis is not a JSON object"]),
        (
            {"config": {**source()["config"], "terminalTotalDifficulty": 0, "istanbulBlock": 1}},
            ["terminalTotalDifficulty", "istanbul is on from block 1, before petersburg"],
        ),
    ],
)
def test_a_source_that_makes_no_clique_network_is_refused(tmp_path: Path, bad: Any, words: list[str]) -> None:
    bad = {**source(), **bad} if isinstance(bad, dict) else bad
    assert_refused("clique_genesis", adopting(tmp_path, source=bad), tmp_path, *words)


def test_a_period_of_0_is_warned_about(tmp_path: Path) -> None:
    made = run_module("clique_genesis", arguments(tmp_path, period_s=0))
    assert made["changed"]
    assert "period of this network is 0" in str(made["warnings"])
