# SPDX-License-Identifier: GPL-3.0-or-later
"""The computed hash is geth's own, and the genesis is one that geth takes."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import (
    CREATE2_PROXY,
    Choice,
    build,
    choice_of,
    valid,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical_digest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_hash import genesis_hash
from eth_hash.auto import keccak

SEALERS = ("0x52908400098527886E0F7030069857D2E4169EE7", "0x27b1fdb04752bbc536007a920d24acb045561c26")
GOERLI_HASH = "0xbf7e331f7f7c1dd2e05159666b3bf8bc7a8a3a9eb1d518969eab529dd9b88c1a"
# Rinkeby as puppeth made it: one wei for each of 256 addresses, and a faucet. Its hash says that nothing is missing.
RINKEBY_HASH = "0x6341fd3daf94b748c72ced5a5b26028f2474f5f00d824504e4fa37a75767e177"
RINKEBY_SIGNERS = (
    "42eb768f2244c8811c63729a21a3569731535f06",
    "7ffc57839b00206d1ad20c69a1981b489f772031",
    "b279182d99e65703f0076e4812653aab85fca0f0",
)
RINKEBY: dict[str, Any] = {
    "config": {"chainId": 4, "homesteadBlock": 1, "eip150Block": 2, "clique": {"period": 15, "epoch": 30000}},
    "nonce": "0x0",
    "timestamp": "0x58ee40ba",
    "extraData": "0x" + b"Respect my authoritah ~E.Cartman".hex() + "".join(RINKEBY_SIGNERS) + "00" * 65,
    "gasLimit": "0x47b760",
    "difficulty": "0x1",
    "alloc": {
        **{f"{number:040x}": {"balance": "0x1"} for number in range(256)},
        "31b98d14007bdee637298086988a0bbd31184523": {"balance": hex(2**249)},
    },
}
PROXY_CODE_HASH = "0x2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989"
CHOICE = Choice(
    chain_id=1337,
    period_s=5,
    epoch=30000,
    gas_limit=30_000_000,
    base_fee_wei=7,
    signers=SEALERS,
    prefunded={SEALERS[0]: "1000000000000000000000000", SEALERS[1]: 1},
    vanity="",
    create2_proxy=True,
)
EVERYTHING = replace(
    CHOICE,
    vanity="0x0102",
    timestamp=1_700_000_000,
    nonce=2**64 - 1,
    epoch=900,
    forks={"muirGlacier": 0, "berlin": "0", "arrowGlacier": 9},
    precompile_dust=True,
    prefunded={
        SEALERS[0]: {"balance": "0x10", "nonce": 7},
        "0x" + "00" * 19 + "01": 5,
        "0x" + "77" * 20: {
            "balance": 0,
            "code": "0x600160005500",
            "storage": {"0x00": "0x2a", "0x" + "ff" * 32: "0x" + "aa" * 32},
        },
    },
)


def hash_by_geth(geth: Path, folder: Path, genesis: dict[str, Any]) -> str:
    """What geth itself says after init, asked at its console."""
    file, datadir = folder / "genesis.json", folder / "data"
    file.write_text(json.dumps(genesis))
    node = [str(geth), "--datadir", str(datadir), "--state.scheme", "hash"]
    subprocess.run([*node, "init", str(file)], check=True, capture_output=True)
    options = ["--nodiscover", "--maxpeers", "0", "--port", "0", "--authrpc.port", "0", "--ipcdisable", "--cache", "16"]
    console = subprocess.run(
        [*node, *options, "--exec", "eth.getBlock(0).hash", "console"], check=True, capture_output=True, text=True
    )
    found = re.search(r"0x[0-9a-f]{64}", console.stdout)
    assert found, console.stderr
    return found[0]


@pytest.mark.parametrize(
    "choice",
    [
        CHOICE,
        replace(CHOICE, vanity="SmartEnergy", base_fee_wei=10**9, create2_proxy=False),
        EVERYTHING,
        replace(CHOICE, forks={"berlin": 3, "london": 3}, base_fee_wei=None),
        replace(CHOICE, prefunded={SEALERS[0]: 0, "0x" + "00" * 19 + "01": "0xff"}, gas_limit=2**53 + 1),
    ],
    ids=["default", "vanity", "everything", "London later", "empty account"],
)
def test_geth_computes_the_same_hash(geth: Path, tmp_path: Path, choice: Choice) -> None:
    genesis = build(valid(choice))
    assert hash_by_geth(geth, tmp_path, genesis) == genesis_hash(genesis)


def test_accounts_with_code_and_storage_have_geths_hash(geth: Path, tmp_path: Path) -> None:
    genesis = build(valid(CHOICE))
    storage = {"0x01": "0x02", "0x00": "0x00", "0x" + "ff" * 32: "0x" + "aa" * 32}
    genesis["alloc"]["0x" + "77" * 20] = {"balance": "0x7", "code": "0x6001", "nonce": "0x5", "storage": storage}
    assert hash_by_geth(geth, tmp_path, genesis) == genesis_hash(genesis)


def test_goerli_has_its_published_hash(geth: Path) -> None:
    dump = subprocess.run([geth, "--goerli", "dumpgenesis"], check=True, capture_output=True).stdout
    assert genesis_hash(json.loads(dump)) == GOERLI_HASH


def test_puppeths_spelling_of_goerli_is_goerli(geth: Path) -> None:
    dump = json.loads(subprocess.run([geth, "--goerli", "dumpgenesis"], check=True, capture_output=True).stdout)
    spelled = {name: value for name, value in dump.items() if name != "extraData"}
    spelled |= {"extradata": dump["extraData"].upper().replace("X", "x"), "gasUsed": "0x0", "baseFeePerGas": None}
    spelled |= {name: str(int(dump[name], 16)) for name in ("gasLimit", "difficulty", "timestamp")}
    spelled["alloc"] = {"0x" + name.removeprefix("0x"): account for name, account in dump["alloc"].items()}
    assert genesis_hash(spelled) == GOERLI_HASH
    assert canonical_digest(spelled) == canonical_digest(dump)


def test_rinkeby_has_its_published_hash() -> None:
    assert genesis_hash(RINKEBY) == RINKEBY_HASH


def test_no_gas_limit_is_geths_own(geth: Path, tmp_path: Path) -> None:
    genesis = {**build(valid(CHOICE)), "gasLimit": "0x0"}
    assert hash_by_geth(geth, tmp_path, genesis) == genesis_hash(genesis)


def test_shanghai_is_beyond_clique() -> None:
    genesis = build(valid(CHOICE))
    genesis["config"]["shanghaiTime"] = 0
    with pytest.raises(CliqueError, match="Clique ends with London"):
        genesis_hash(genesis)


def test_signers_are_sorted_behind_the_vanity() -> None:
    genesis = build(valid(replace(CHOICE, vanity="SmartEnergy")))
    raw = bytes.fromhex(genesis["extraData"][2:])
    assert raw[:32] == b"SmartEnergy".ljust(32, b"\0")
    assert raw[32:-65].hex() == SEALERS[1][2:].lower() + SEALERS[0][2:].lower()
    assert raw[-65:] == bytes(65)


def test_dust_is_one_wei_for_each_of_256_addresses_as_in_rinkeby() -> None:
    alloc = build(valid(replace(CHOICE, precompile_dust=True, prefunded={}, create2_proxy=False)))["alloc"]
    faucet = set(RINKEBY["alloc"]) - {key[2:] for key in alloc}
    assert faucet == {"31b98d14007bdee637298086988a0bbd31184523"}
    assert {key: RINKEBY["alloc"][key[2:]] for key in alloc} == alloc


def test_a_later_london_leaves_the_first_block_without_a_base_fee() -> None:
    genesis = build(valid(replace(CHOICE, forks={"berlin": None, "london": None}, base_fee_wei=None)))
    assert {"berlinBlock", "londonBlock"} & set(genesis["config"]) == set()
    assert "baseFeePerGas" not in genesis


def test_a_genesis_is_read_back_as_its_choice() -> None:
    genesis = build(valid(EVERYTHING))
    assert build(choice_of(genesis)) == genesis


def test_the_proxy_has_the_code_that_all_chains_know() -> None:
    alloc = build(valid(CHOICE))["alloc"]
    assert "0x" + keccak(bytes.fromhex(alloc[CREATE2_PROXY]["code"][2:])).hex() == PROXY_CODE_HASH


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signers": (SEALERS[0], SEALERS[0].lower())}, "named twice"),
        ({"signers": ("0x1234",)}, "is not an address"),
        ({"signers": (None,)}, "is not an address"),
        ({"signers": ("0x52908400098527886e0F7030069857D2E4169EE7",)}, "wrong checksum"),
        ({"signers": None}, "at least one signer"),
        ({"prefunded": {SEALERS[0]: 1, SEALERS[0].lower(): 2}}, "named twice"),
        ({"prefunded": {SEALERS[0]: 1e24}}, "whole number"),
        ({"prefunded": {SEALERS[0]: -1}}, "balance is -1 and has to be a whole number from 0 on"),
        ({"prefunded": {SEALERS[0]: 2**256}}, "more than 256 bits"),
        ({"prefunded": {SEALERS[0]: {"nonce": 1}}}, "has no alloc.*balance"),
        ({"prefunded": {SEALERS[0]: {"balance": 1, "wei": 1}}}, "has wei: it can have balance"),
        ({"prefunded": {SEALERS[0]: {"balance": 1, "code": "0x1"}}}, "code is '0x1' and has to be 0x and pairs"),
        ({"prefunded": {SEALERS[0]: {"balance": 1, "storage": {"0x00": 1}}}}, "storage is 1 and has to be 0x"),
        ({"prefunded": {CREATE2_PROXY: {"balance": 1, "code": "0xfe"}}}, "turn the proxy off"),
        ({"forks": {"shanghai": 0}}, "there is no fork shanghai: the forks are homestead"),
        ({"forks": {"london": "soon"}}, "block of the fork london is 'soon'"),
        ({"nonce": 2**64}, "less than 2\\^64"),
        ({"vanity": "x" * 33}, "33 bytes"),
        ({"vanity": "0xnothing"}, "not hex"),
        ({"period_s": -1}, "period_s is -1 and has to be at least 0"),
        ({"gas_limit": 1}, "gas_limit is 1"),
        ({"chain_id": 0}, "chain_id is 0"),
    ],
)
def test_a_bad_choice_is_refused_in_a_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CliqueError, match=message):
        build(valid(replace(CHOICE, **change)))
