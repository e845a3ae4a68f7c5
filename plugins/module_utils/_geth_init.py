# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a geth data directory its genesis, or prove that it has it. Private to this collection."""

from __future__ import annotations

import grp
import json
import pwd
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, give, in_folder, put
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical_digest, differences
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import NodeSilentError, Rpc
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

__all__ = ["Chain", "State", "bring_about", "diff", "observe", "prove_running", "prove_stored", "summary"]

# geth makes a node key in every data directory it opens; the node's own lies elsewhere, so this one is for nothing.
_NO_NODE_KEY = ("--nodekeyhex", "1".zfill(64))
_IN_USE = "already used by another process"
_UNFINISHED = "failed to read genesis: "  # the database is there, block 0 or its config is not
_OTHER_DATABASE = "/geth/lightchaindata"  # where dumpgenesis looks when chaindata is no database
_WROTE = re.compile(r"Successfully wrote genesis state\s+database=chaindata\s+hash=(\w+)\.\.(\w+)")
_ANSWERS_WITHIN_S = 5  # a node that was just started has its lock before its socket
_POLL_S = 0.5
_TIMEOUT_S = 300
_WAY_OUT = "nothing was changed: use the genesis that this network was made with, or another data directory"
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_PANIC = re.compile(r"^panic: (?:fatal: )?(.*?)(?: \[recovered.*)?$", re.MULTILINE)
_VERSION = re.compile(r"geth version ((\d+)\.(\d+)\S*?)(-|\s|$)")
_FIRST_WITHOUT_CLIQUE = (1, 14)
_VERSION_WANTED = "name a geth of version 1.13.15"


@dataclass(frozen=True)
class Chain:
    """What a data directory is to hold. A genesis, hash or program of None is one that check mode cannot know yet."""

    datadir: Path
    genesis: Mapping[str, Any] | None
    genesis_hash: str | None
    geth: Path | None
    ipc: Path
    state_scheme: str = "hash"
    owner: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class State:
    """What was found in a data directory, in which nothing contradicts what is wanted.

    initialised is None where nothing is known without geth; misowned are paths of another owner or group.
    """

    running: bool = False
    initialised: bool | None = False
    misowned: tuple[Path, ...] = ()

    @property
    def is_done(self) -> bool:
        return self.initialised is not False and not self.misowned


def observe(chain: Chain, clock: Clock) -> State:
    """Ask the running node, else the stopped one's database. Raises CliqueError where it holds another chain.

    What is wanted, and a geth that has yet to begin with it, are looked at too.
    """
    if chain.genesis is not None:
        canonical_digest(chain.genesis)
    if chain.genesis_hash is not None and not _HASH.fullmatch(chain.genesis_hash):
        raise CliqueError(f"genesis_hash has to be 0x and 64 hex digits, and {chain.genesis_hash!r} is not")
    state = wait_until(lambda: _look(chain), timeout_s=_ANSWERS_WITHIN_S, clock=clock, poll_s=_POLL_S)
    if state is None:
        raise CliqueError(f"{chain.datadir} is in use by a process that does not answer at {chain.ipc}: stop it first")
    if state.initialised is False and chain.geth is not None and chain.geth.is_file():
        _require_clique(chain.geth)
    return state


def _require_clique(geth: Path) -> None:
    """Raise CliqueError for a geth that would take the genesis, and not start with it."""
    match = _VERSION.match(_run(geth, "--version").stdout)
    if match is None:
        raise CliqueError(f"{geth} does not say which geth it is: {_VERSION_WANTED}")
    if (int(match[2]), int(match[3])) >= _FIRST_WITHOUT_CLIQUE:
        raise CliqueError(f"{geth} is version {match[1]}, and 1.13 is the last one with Clique: {_VERSION_WANTED}")


def _look(chain: Chain) -> State | None:
    """None while another process has the lock and does not answer."""
    if _is_proven_by_ipc(chain):
        return State(running=True, initialised=True)
    try:
        initialised = _is_proven_by_dump(chain)
    except _InUseError:
        return None
    return State(running=False, initialised=initialised, misowned=_misowned(chain))


def bring_about(chain: Chain, state: State) -> None:
    """Initialise what is not, finish what was begun, and hand everything to its owner."""
    if chain.genesis is None or chain.genesis_hash is None:
        raise CliqueError("there is no genesis to initialise the node with: make it first, with clique_genesis")
    if chain.geth is None or not chain.geth.is_file():
        raise CliqueError(f"there is no geth at {chain.geth}: build and install it first")
    _ids(chain)  # an unknown owner is refused before anything is made
    if state.initialised:
        misowned: tuple[Path, ...] = state.misowned
    else:
        with in_folder(chain.datadir, mode=0o700, owner=chain.owner, group=chain.group):
            _initialise(chain, chain.geth)
        misowned = _misowned(chain)
    for path in misowned:
        give(path, owner=chain.owner, group=chain.group)


def summary(chain: Chain, state: State) -> dict[str, Any]:
    """What the module returns: the same before and after, for what is not there yet is going to be."""
    known = chain.genesis is not None and state.initialised is not None
    return {
        "genesis_hash": chain.genesis_hash if known else None,
        "digest": canonical_digest(chain.genesis) if known and chain.genesis is not None else None,
        "running": state.running,
    }


def diff(chain: Chain, state: State) -> dict[str, dict[str, Any]]:
    """What changes, as Ansible shows it."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    if state.initialised is False:
        before["genesis_hash"], after["genesis_hash"] = None, chain.genesis_hash
    if state.misowned:
        before["paths_of_another_owner"], after["paths_of_another_owner"] = len(state.misowned), 0
    return {"before": before, "after": after}


def prove_stored(chain: Chain, stored: Mapping[str, Any]) -> None:
    """Raise CliqueError naming what differs, unless the stored genesis has the wanted one's digest."""
    if chain.genesis is None:
        raise CliqueError(f"{chain.datadir} already holds a chain, and there is no genesis to compare it with")
    if canonical_digest(stored) != canonical_digest(chain.genesis):
        raise _drift(chain, stored)


def prove_running(chain: Chain, block_0_hash: str, config: Mapping[str, Any]) -> None:
    """Raise CliqueError naming what differs, unless a running node has the wanted block 0 and chain config.

    The config is compared by itself, for chain id, period and epoch are not in the hash.
    """
    if chain.genesis is None:
        raise CliqueError(f"{chain.datadir} already holds a chain, and there is no genesis to compare it with")
    wanted_hash = chain.genesis_hash or ""
    if block_0_hash.lower() != wanted_hash.lower():
        raise CliqueError(
            f"the node in {chain.datadir} runs another chain: its genesis hash is {block_0_hash}, not {wanted_hash}; "
            + _WAY_OUT
        )
    running = {**chain.genesis, "config": config}
    if canonical_digest(running) != canonical_digest(chain.genesis):
        raise _drift(chain, running)


def _drift(chain: Chain, found: Mapping[str, Any]) -> CliqueError:
    fields = "; ".join(differences(found, chain.genesis or {}))
    return CliqueError(f"{chain.datadir} was initialised with another genesis (there ≠ wanted): {fields}; {_WAY_OUT}")


class _InUseError(Exception):
    """Another process has the data directory's lock."""


def _is_proven_by_ipc(chain: Chain) -> bool:
    if not chain.ipc.is_socket():
        return False
    rpc = Rpc(str(chain.ipc))
    try:
        block_0 = rpc.call("eth_getHeaderByNumber", "0x0")
        node = rpc.call("admin_nodeInfo")
    except NodeSilentError:
        return False
    prove_running(chain, block_0["hash"], node["protocols"]["eth"]["config"])
    return True


def _is_proven_by_dump(chain: Chain) -> bool | None:
    if chain.datadir.exists() and not chain.datadir.is_dir():
        raise CliqueError(f"{chain.datadir} is not a directory")
    # Without this file a pebble database was never made, and geth would leave traces just by looking.
    if not (chain.datadir / "geth/chaindata/CURRENT").exists():
        return False
    if chain.geth is None or not chain.geth.is_file():
        return None
    dump = _run_on(chain.datadir, chain.geth, "dumpgenesis")
    if _IN_USE in dump.stderr:
        raise _InUseError
    if _UNFINISHED in dump.stderr:
        return False
    if dump.returncode or _OTHER_DATABASE in dump.stderr:
        raise CliqueError(f"geth cannot read the chain in {chain.datadir}: {_last_words(dump.stderr)}")
    prove_stored(chain, json.loads(dump.stdout))
    return True


def _initialise(chain: Chain, geth: Path) -> None:
    instance = chain.datadir / "geth"
    # geth makes the keystore wherever it looks, as whoever runs it.
    with in_folder(chain.datadir / "keystore", mode=0o700, owner=chain.owner, group=chain.group):
        if instance.exists():  # geth has begun there, and goes on by itself
            _write_genesis(chain, geth, chain.datadir)
            return
        # What a geth that is cut off has begun, it cannot always open again: a whole database takes its place at once.
        with draft_folder(chain.datadir) as (draft, lock):
            _write_genesis(chain, geth, draft, lock)
            for made in (draft / "geth").iterdir():
                made.rename(draft / made.name)
            for empty in ("geth", "keystore"):
                (draft / empty).rmdir()
            put(draft, instance)


def _write_genesis(chain: Chain, geth: Path, datadir: Path, lock: int | None = None) -> None:
    # Through standard input: no file of ours can be left behind, whenever this is cut off.
    arguments = ("--state.scheme", chain.state_scheme, "init", "/dev/stdin")
    init = _run_on(datadir, geth, *arguments, stdin=json.dumps(chain.genesis), lock=lock)
    if init.returncode:
        raise CliqueError(f"geth could not initialise {chain.datadir}: {_last_words(init.stderr)}")
    wrote, genesis_hash = _WROTE.search(init.stderr), chain.genesis_hash or ""
    if not wrote or not (genesis_hash[2:].startswith(wrote[1]) and genesis_hash.endswith(wrote[2])):
        shown = "..".join(wrote.groups()) if wrote else "nothing"
        raise CliqueError(
            f"geth initialised {chain.datadir} with hash {shown} where {genesis_hash} was expected: "
            "give the hash of this very genesis, as clique_genesis returns it"
            + ("" if lock is not None else ", and remove that directory")
        )


def _run_on(
    datadir: Path, geth: Path, *arguments: str, stdin: str = "", lock: int | None = None
) -> subprocess.CompletedProcess[str]:
    return _run(geth, "--datadir", str(datadir), *_NO_NODE_KEY, *arguments, stdin=stdin, lock=lock)


def _run(geth: Path, *arguments: str, stdin: str = "", lock: int | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(geth), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            pass_fds=[] if lock is None else [lock],
        )
    except OSError as error:
        raise CliqueError(f"{geth} does not run: {reason(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise CliqueError(f"{geth} does not end within {_TIMEOUT_S} s") from error


def _last_words(log: str) -> str:
    if panic := _PANIC.search(log):
        return panic[1]
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("INFO")]
    return lines[-1].strip().removeprefix("Fatal: ") if lines else "it says nothing"


def _ids(chain: Chain) -> tuple[int | None, int | None]:
    try:
        uid = None if chain.owner is None else pwd.getpwnam(chain.owner).pw_uid
        gid = None if chain.group is None else grp.getgrnam(chain.group).gr_gid
    except KeyError as error:
        raise CliqueError(f"{chain.datadir} cannot be given to an owner: {error.args[0]}") from error
    return uid, gid


def _misowned(chain: Chain) -> tuple[Path, ...]:
    try:
        uid, gid = _ids(chain)
    except CliqueError:  # check mode, before the user exists
        return ()
    if (uid is None and gid is None) or not chain.datadir.is_dir():
        return ()
    found = [(path, path.lstat()) for path in (chain.datadir, *sorted(chain.datadir.rglob("*")))]
    return tuple(
        path
        for path, stat in found
        if stat.st_uid != (stat.st_uid if uid is None else uid) or stat.st_gid != (stat.st_gid if gid is None else gid)
    )
