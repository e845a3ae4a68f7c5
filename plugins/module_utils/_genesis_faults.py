# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a genesis as the beginning of a Clique network. Private to this collection.

Geth finds some of it at init, some when the first block is sealed, and some never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import BLOCK_FORKS, canonical
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_extra_data import signers

__all__ = ["faults", "warnings"]

# A genesis without these may still have what comes after them.
OPTIONAL_FORKS = {"daoFork", "muirGlacier", "arrowGlacier", "grayGlacier", "mergeNetsplit"}
BEYOND_LONDON = {
    "shanghaiTime": "Shanghai",
    "cancunTime": "Cancun",
    "pragueTime": "Prague",
    "verkleTime": "Verkle",
    "terminalTotalDifficulty": "the end of its proof of authority",
    "terminalTotalDifficultyPassed": "the end of its proof of authority",
}
# Every sealer may need a while until it is connected; nobody waits for an hour on purpose.
EARLY_S = 3600


def signer_faults(genesis: Mapping[str, Any]) -> Iterator[str]:
    try:
        found = signers(genesis)
    except CliqueError as error:
        yield str(error)
        return
    for before, after in pairwise(found):
        if before.lower() == after.lower():
            yield f"the signer {after} is named twice in extraData"
        elif before.lower() > after.lower():
            yield f"the signers in extraData are not in ascending order: {after} stands behind {before}"


def fork_faults(config: Mapping[str, Any]) -> Iterator[str]:
    missing = last = None
    for name in BLOCK_FORKS:
        block = config.get(f"{name}Block")
        if block is None:
            missing = missing if name in OPTIONAL_FORKS else missing or name
            continue
        if missing:
            yield f"the fork {name} is on from block {block}, and {missing}, which comes before it, is not on at all"
            missing = None
        elif last and config[f"{last}Block"] > block:
            yield f"the fork {name} is on from block {block}, before {last}, which is on from {config[f'{last}Block']}"
        last = name
    for name, what in BEYOND_LONDON.items():
        if name in config:
            yield f"config.{name} is set, which is {what}, and Clique ends with London"


def faults(genesis: Mapping[str, Any]) -> list[str]:
    """Everything that keeps a genesis from being the beginning of a Clique network, a clause each."""
    form = canonical(genesis)
    found = list(signer_faults(genesis))
    if "clique" not in form["config"]:
        found.append("it has no config.clique")
    if "chainId" not in form["config"]:
        found.append("it has no config.chainId")
    if form["number"] != 0:
        found.append(f"its number is {form['number']}, and a genesis is block 0")
    return found + list(fork_faults(form["config"]))


def warnings(genesis: Mapping[str, Any], now_s: float) -> list[str]:
    """What a genesis is allowed to be and is seldom meant to be, a sentence each; now_s is seconds since the epoch."""
    form = canonical(genesis)
    found = []
    if form["config"].get("clique", {}).get("period") == 0:
        found.append("The period of this network is 0: a block is sealed for a transaction, and never without one.")
    if form["timestamp"] > now_s + EARLY_S:
        try:
            when = datetime.fromtimestamp(form["timestamp"], UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            when = f"{form['timestamp']} s since 1970"
        found.append(f"The genesis' timestamp lies in the future: nobody seals a block before {when}.")
    return found
