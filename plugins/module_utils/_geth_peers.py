# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's static peers: in a file for its next start, and told to it while it runs. Private to this collection."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Call, NodeSilentError, Rpc

__all__ = ["Plan", "checked_enodes", "parse", "plan", "render", "tell"]

_ENODE = re.compile(r"enode://[0-9a-f]{128}@[^\s@/?]+:\d+(\?discport=\d+)?")
_HEADING = "# Written by smartenergy.clique.geth_peers, which tells a running node of changes, too.\n"


@dataclass(frozen=True)
class Plan:
    """The file's text before (None: there is none) and after (None: not known yet), and who comes and goes."""

    before: str | None
    after: str | None
    added: tuple[str, ...] | None
    removed: tuple[str, ...] | None

    @property
    def changed(self) -> bool:
        return self.after is None or self.before != self.after

    @property
    def is_news(self) -> bool:
        """Whether a running node, which knows the former peers, has to be told something."""
        return bool(self.added or self.removed)


def plan(file: Path, enodes: Sequence[str] | None) -> Plan:
    """Compare the file with the wanted peers; None is a list that check mode cannot know yet.

    Raises CliqueError for an enode that is none, or a file that is not this module's.
    """
    try:
        before = file.read_text()
    except FileNotFoundError:
        before = None
    except (OSError, ValueError) as error:
        raise CliqueError(f"{file} cannot be read: {reason(error, 'text')}") from error
    former = parse(before, file) if before else ()
    if enodes is None:
        return Plan(before=before, after=None, added=None, removed=None)
    wanted = sorted({*checked_enodes(enodes)})
    return Plan(
        before=before,
        after=render(wanted),
        added=tuple(enode for enode in wanted if enode not in former),
        removed=tuple(enode for enode in former if enode not in wanted),
    )


def checked_enodes(enodes: Sequence[str]) -> Sequence[str]:
    """The same enodes; raises CliqueError where one of them is none."""
    for enode in enodes:
        if not _ENODE.fullmatch(enode):
            raise CliqueError(f"{enode!r} is no enode: it has to be enode://, 128 hex digits, @IP:PORT")
    return enodes


def render(enodes: Sequence[str]) -> str:
    """The text of a file for geth's --config that holds the static peers and nothing else."""
    lines = "".join(f"  {json.dumps(enode)},\n" for enode in enodes)
    return f"{_HEADING}[Node.P2P]\nStaticNodes = [\n{lines}]\n"


def parse(text: str, file: Path) -> tuple[str, ...]:
    """The static peers in such a text."""
    try:
        enodes = tuple(tomllib.loads(text)["Node"]["P2P"]["StaticNodes"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        enodes = (None,)
    if not all(isinstance(enode, str) for enode in enodes):
        raise CliqueError(f"{file} is not a file of static peers: move it away")
    return enodes


def tell(rpc: Rpc, news: Plan) -> bool:
    """Tell a running node who went and who came; False where none runs. Telling it again does no harm."""
    removals = [Call("admin_removePeer", (enode,)) for enode in news.removed or ()]
    additions = [Call("admin_addPeer", (enode,)) for enode in news.added or ()]
    try:
        rpc.batch([*removals, *additions])
    except NodeSilentError:
        return False
    return True
