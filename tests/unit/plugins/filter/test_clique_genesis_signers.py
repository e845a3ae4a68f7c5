# SPDX-License-Identifier: GPL-3.0-or-later
"""The signers of a genesis as a play reads them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.smartenergy.clique.plugins.filter.clique_genesis_signers import FilterModule

# Published with the network: the address that sealed Görli's first blocks.
GOERLI_SIGNER = "0xe0a2Bd4258D2768837BAa26A28fE71Dc079f84c7"
SIGNERS = ["0x27b1fdb04752bbc536007a920d24acb045561c26", "0x52908400098527886E0F7030069857D2E4169EE7"]
VANITY, SEAL = "11" * 32, "00" * 65
EXTRA_DATA = "0x" + VANITY + "".join(signer[2:].lower() for signer in SIGNERS) + SEAL


read = FilterModule().filters()["clique_genesis_signers"]


@pytest.mark.parametrize(
    "source",
    [EXTRA_DATA, EXTRA_DATA[2:].upper(), {"extraData": EXTRA_DATA}, {"extradata": EXTRA_DATA, "alloc": {}}],
    ids=["extra data", "without 0x", "genesis", "puppeth's spelling"],
)
def test_signers_are_read_back_in_order(source: Any) -> None:
    assert read(source) == SIGNERS


def test_a_play_has_the_filter_by_its_full_name() -> None:
    message = f"msg={{{{ '{EXTRA_DATA}' | smartenergy.clique.clique_genesis_signers | join(' ') }}}}"
    run = subprocess.run(
        [Path(sys.executable).parent / "ansible", "localhost", "-m", "ansible.builtin.debug", "-a", message],
        cwd=Path(__file__).parents[4],
        check=True,
        capture_output=True,
        text=True,
    )
    assert " ".join(SIGNERS) in run.stdout


def test_goerli_began_with_its_published_signer(geth: Path) -> None:
    dump = subprocess.run([geth, "--goerli", "dumpgenesis"], check=True, capture_output=True).stdout
    assert read(json.loads(dump)) == [GOERLI_SIGNER]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (EXTRA_DATA[:-2], "the extraData has 136 bytes, which is not 32 bytes, 20 for each signer and 65"),
        ("0x", "the extraData has 0 bytes"),
        ("0x" + VANITY + SEAL, "names no signer"),
        ("Respect my authoritah", "the extraData is 'Respect my authoritah' and has to be 0x"),
        (7, "the extraData is 7 and has to be 0x"),
        ({"extraData": None}, "there is no extraData"),
        ({}, "there is no extraData"),
    ],
)
def test_what_has_no_signers_is_refused_in_a_sentence(source: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        read(source)
