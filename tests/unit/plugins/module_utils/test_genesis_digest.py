# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest is blind to spelling and to nothing else; real geth is the judge of what is spelling."""

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import (
    canonical_digest,
    differences,
)

SIGNERS = ["0x1111111111111111111111111111111111111111", "0xabcdefabcdefabcdefabcdefabcdefabcdefabcd"]
FORKS = ("homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul", "berlin")
GENESIS: dict[str, Any] = {
    "config": {
        "chainId": 1337,
        **{f"{fork}Block": 0 for fork in (*FORKS, "london")},
        "clique": {"period": 5, "epoch": 30000},
    },
    "difficulty": "0x1",
    "gasLimit": "0x1c9c380",
    "extraData": "0x" + "00" * 32 + "".join(signer[2:] for signer in SIGNERS) + "00" * 65,
    "alloc": {
        SIGNERS[1]: {"balance": "0x152d02c7e14af6800000"},
        "0x4e59b44847b379578588920ca78fbf26c0b4956c": {"balance": "0x0", "nonce": "0x1", "code": "0xfe"},
    },
}


def with_(path: str, value: Any) -> dict[str, Any]:
    """The genesis with another value at a dotted path."""
    changed = deepcopy(GENESIS)
    *folders, name = path.split(".")
    place = changed
    for folder in folders:
        place = place[folder]
    place[name] = value
    return changed


SPELLINGS = {
    "decimal digits": with_("gasLimit", "30000000"),
    "integer": with_("gasLimit", 30000000),
    "upper-case hex": with_("extraData", "0x" + str(GENESIS["extraData"])[2:].upper()),
    "checksummed address": with_(
        "alloc", {("0X" + name[2:].upper()).replace("0X", "0x"): account for name, account in GENESIS["alloc"].items()}
    ),
    "address without 0x": with_("alloc", {name[2:]: account for name, account in GENESIS["alloc"].items()}),
    "defaults written out": {**GENESIS, "nonce": "0x0", "timestamp": 0, "number": "0", "coinbase": "0x" + "00" * 20},
    "null": {**GENESIS, "excessBlobGas": None, "blobGasUsed": None},
    "London's first base fee": {**GENESIS, "baseFeePerGas": 10**9},
    "another case of a name": {**GENESIS, "mixhash": "0x" + "00" * 32},
    "a name that geth passes over": with_("config.eip150Hash", "0x" + "00" * 32),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_spelling_does_not_count(spelling: dict[str, Any]) -> None:
    assert canonical_digest(spelling) == canonical_digest(GENESIS)
    assert differences(spelling, GENESIS) == []


CHANGES = {
    "config.chainId": (4242, "config.chainId: 1337 ≠ 4242"),
    "config.clique.period": (2, "config.clique.period: 5 ≠ 2"),
    "config.londonBlock": (None, "config.londonBlock: 0 ≠ nothing"),
    "config.shanghaiTime": (0, "config.shanghaiTime: nothing ≠ 0"),
    "gasLimit": ("0x1", "gasLimit: 30000000 ≠ 1"),
    "baseFeePerGas": (7, "baseFeePerGas: 1000000000 ≠ 7"),
    f"alloc.{SIGNERS[1]}.balance": ("1", f"alloc.{SIGNERS[1]}.balance: 100000000000000000000000 ≠ 1"),
    "extraData": (
        "0x" + "00" * 32 + SIGNERS[0][2:] + "00" * 65,
        f"extraData.signers: {', '.join(SIGNERS)} ≠ {SIGNERS[0]}",
    ),
}


@pytest.mark.parametrize(("field", "value", "difference"), [(name, *change) for name, change in CHANGES.items()])
def test_a_change_is_named_with_both_values(field: str, value: Any, difference: str) -> None:
    changed = with_(field, value)
    assert canonical_digest(changed) != canonical_digest(GENESIS)
    assert difference in differences(GENESIS, changed)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gasLimit", "many", "gasLimit is 'many'"),
        ("gasLimit", 1.5, "gasLimit is 1.5"),
        ("gasLimit", None, "no gasLimit"),
        ("config", [], "config of the genesis is not a JSON object"),
        ("coinbase", "0x" + "11" * 21, "coinbase has 21 bytes"),
        ("alloc", {"0x12": {}}, "no alloc.0x0000000000000000000000000000000000000012.balance"),
    ],
)
def test_what_geth_would_not_read_is_refused_in_a_sentence(field: str, value: Any, message: str) -> None:
    with pytest.raises(CliqueError, match=message):
        canonical_digest(with_(field, value))


@pytest.mark.parametrize("name", ["as it is", *SPELLINGS])
def test_what_geth_stored_has_the_digest_of_the_file(geth: Path, tmp_path: Path, name: str) -> None:
    genesis = SPELLINGS.get(name, GENESIS)
    file, datadir = tmp_path / "genesis.json", tmp_path / "data"
    file.write_text(json.dumps(genesis))
    subprocess.run(
        [geth, "--datadir", datadir, "init", "--state.scheme", "hash", file], check=True, capture_output=True
    )
    dump = subprocess.run([geth, "--datadir", datadir, "dumpgenesis"], check=True, capture_output=True).stdout
    assert differences(genesis, json.loads(dump)) == []
    assert canonical_digest(json.loads(dump)) == canonical_digest(genesis)
