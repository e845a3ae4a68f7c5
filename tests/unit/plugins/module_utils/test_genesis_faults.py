# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a genesis is named, each fault in a clause; what is right is not."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import Choice, build
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_faults import faults, warnings

LOW, HIGH = "0x27b1fdb04752bbc536007a920d24acb045561c26", "0x52908400098527886e0f7030069857d2e4169ee7"
GENESIS = build(Choice(signers=(LOW, HIGH)))
NOW_S = 1_700_000_000.0


def extra_data(*signers: str) -> str:
    return "0x" + "00" * 32 + "".join(signer[2:] for signer in signers) + "00" * 65


def changed(config: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {**GENESIS, "config": {**GENESIS["config"], **(config or {})}, **fields}


@pytest.mark.parametrize(
    "genesis",
    [
        GENESIS,
        changed({"berlinBlock": None, "londonBlock": None}),
        changed({"berlinBlock": 7, "londonBlock": 7}),
        changed({"muirGlacierBlock": 0, "daoForkBlock": 0}),
    ],
    ids=["default", "up to Istanbul", "later", "optional forks"],
)
def test_geth_begins_with_what_has_no_fault(geth: Path, tmp_path: Path, genesis: dict[str, Any]) -> None:
    assert faults(genesis) == []
    assert initialised(geth, tmp_path, genesis)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"berlinBlock": 9}, "the fork london is on from block 0, before berlin, which is on from 9"),
        (
            {"istanbulBlock": None},
            "the fork berlin is on from block 0, and istanbul, which comes before it, is not on at all",
        ),
        ({"muirGlacierBlock": 9}, "the fork berlin is on from block 0, before muirGlacier, which is on from 9"),
    ],
)
def test_forks_out_of_order_are_named_where_geth_refuses_them(
    geth: Path, tmp_path: Path, config: dict[str, Any], fault: str
) -> None:
    assert faults(changed(config)) == [fault]
    assert not initialised(geth, tmp_path, changed(config))


@pytest.mark.parametrize(
    ("genesis", "fault"),
    [
        (changed(extraData=extra_data(LOW)[:-2]), "the extraData has 116 bytes, which is not 32 bytes, 20 for each"),
        (changed(extraData=extra_data()), "the extraData names no signer"),
        (changed(extraData=extra_data(HIGH, LOW)), "not in ascending order: 0x27b1"),
        (changed(extraData=extra_data(LOW, LOW)), "is named twice in extraData"),
        (changed({"shanghaiTime": 0}), "config.shanghaiTime is set, which is Shanghai"),
        (changed({"terminalTotalDifficulty": 0}), "config.terminalTotalDifficulty is set"),
        (changed({"clique": None}), "no config.clique"),
        (changed({"chainId": None}), "no config.chainId"),
        (changed(number=1), "its number is 1"),
    ],
)
def test_a_fault_is_named(genesis: dict[str, Any], fault: str) -> None:
    (found,) = faults(genesis)
    assert fault in found


def test_goerli_ended_with_the_merge(geth: Path) -> None:
    dump = subprocess.run([geth, "--goerli", "dumpgenesis"], check=True, capture_output=True).stdout
    found = "; ".join(faults(json.loads(dump)))
    assert "config.terminalTotalDifficulty is set" in found
    assert "config.shanghaiTime is set" in found


def test_what_is_seldom_meant_is_warned_about() -> None:
    assert warnings(changed(timestamp=int(NOW_S) + 60), NOW_S) == []
    (period,) = warnings(changed({"clique": {"period": 0, "epoch": 30000}}), NOW_S)
    assert "period of this network is 0" in period
    (late,) = warnings(changed(timestamp=1_800_000_000), NOW_S)
    assert "nobody seals a block before 2027-01-15T08:00:00+00:00" in late
    (never,) = warnings(changed(timestamp=2**63), NOW_S)
    assert str(2**63) in never


def initialised(geth: Path, folder: Path, genesis: dict[str, Any]) -> bool:
    """Whether geth init takes it."""
    file = folder / "genesis.json"
    file.write_text(json.dumps(genesis))
    run = subprocess.run(
        [geth, "--datadir", folder / "data", "init", "--state.scheme", "hash", file], check=False, capture_output=True
    )
    return run.returncode == 0
