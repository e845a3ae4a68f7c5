# SPDX-License-Identifier: GPL-3.0-or-later
"""One genesis, once: made as predicted, kept for ever, and refused with names where it would have to change."""

import json
from pathlib import Path
from typing import Any

import pytest
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


@pytest.mark.parametrize("change", [{}, {"vanity": "SmartEnergy"}, {"create2_proxy": False, "prefunded": None}])
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
        ({"period_s": 0}, "period_s"),
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
