# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of wrong values, and the place where each is tried out.

A table is a YAML file, named after a module or a role:

    good:                     # arguments that would do, of which a row replaces some
      path: <root>/file
    rows:
      what is wrong:          # in words
        with: {path: ...}     # what replaces good arguments
        files: {a/b: text}    # what there is before: text, null for a folder, {mode: ..., text: ...}
        as: unprivileged      # by somebody whom permissions bind, which root is not
        disk: full            # or read-only: of the folder <root>
        path: <root>/bin      # the only folder in which programs are found
        etc: etc              # a folder of <root> that stands in the place of /etc
        entry: identity       # the entry point of a role
        says: ...             # all that is said; an ellipsis stands for what nobody can know
        check: nothing        # where check mode cannot know it, and foretells something else than a failure

Words in angle brackets stand for what there is only while the tests run.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.disk import enter, instead, small_disk

DISK_SIZE = "128k"
# What permissions do not bind, from linux/capability.h and linux/prctl.h.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP, CAPABILITY_VERSION = 24, 0x20080522
_NAME = re.compile(r"<([a-z]+(?:_[a-z]+)*)>")
_TWO_SENTENCES = re.compile(r"[.?!] [A-Z]")
_PYTHON = re.compile(r"Traceback|\[Errno|Error\(|object at 0x")


@dataclass(frozen=True)
class Row:
    """One wrong value, and the one sentence that it gives."""

    subject: str  # the module or role
    what: str
    given: Mapping[str, Any]
    says: str
    files: Mapping[str, Any] = field(default_factory=dict)
    unprivileged: bool = False
    disk: str | None = None
    path: str | None = None
    etc: str | None = None
    entry: str = "main"
    fails_in_check_mode: bool = True

    @property
    def names(self) -> set[str]:
        """The words in angle brackets that it has."""
        return set(_NAME.findall(str([self.given, self.says, self.files])))


def table(file: Path) -> list[Row]:
    """The rows of a table."""
    content = yaml.safe_load(file.read_text())
    rows = []
    for what, row in content["rows"].items():
        strange = row.keys() - {"with", "files", "as", "disk", "path", "etc", "entry", "says", "check"}
        assert not strange, (file, what, strange)
        assert (row.get("as"), row.get("check")) in {(a, c) for a in (None, "unprivileged") for c in (None, "nothing")}
        given = {**content["good"], **row.get("with", {})}
        given = {name: value for name, value in given.items() if value is not None}  # as with omit
        rows.append(
            Row(
                subject=file.stem,
                what=what,
                given=given,
                says=row["says"],
                files={**content.get("files", {}), **row.get("files", {})},
                unprivileged="as" in row,
                disk=row.get("disk"),
                path=row.get("path"),
                etc=row.get("etc"),
                entry=row.get("entry", content.get("entry", "main")),
                fails_in_check_mode="check" not in row,
            )
        )
    return rows


def tables(folder: Path) -> dict[str, list[Row]]:
    """All tables of a folder by what they are about."""
    return {file.stem: table(file) for file in sorted(folder.glob("*.yml"))}


def filled(value: Any, names: Mapping[str, Any]) -> Any:
    """A value with what the words in angle brackets stand for; one that is a value's all may stand for anything."""
    if isinstance(value, dict):
        return {filled(key, names): filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, names) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _NAME.fullmatch(value)
    return names[whole[1]] if whole else _NAME.sub(lambda match: str(names[match[1]]), value)


def arrange(root: Path, files: Mapping[str, Any]) -> None:
    """Put files and folders there; modes last, for they may forbid it."""
    modes = {}
    for name, content in files.items():
        path = root / name
        if isinstance(content, dict):
            modes[path] = content["mode"]
            content = content.get("text")  # noqa: PLW2901
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    for path, mode in modes.items():
        path.chmod(int(str(mode), 8))


@dataclass(frozen=True)
class Scene:
    """Where a row is tried out: the folder as it is seen from outside, and how a process gets there."""

    seen: Path
    prepare: Callable[[], None]


@contextmanager
def scene(row: Row, root: Path, files: Mapping[str, Any]) -> Iterator[Scene]:
    """Arrange what a row needs; root is the folder as its process sees it."""
    if row.disk is None:
        root.mkdir()
        arrange(root, files)
        yield Scene(root, lambda: bound(row, root))
        return
    with small_disk(root, DISK_SIZE) as disk:
        arrange(disk.seen, files)
        if row.disk == "full":
            disk.fill()
        else:
            disk.remount("ro")

        def prepare() -> None:
            enter(disk.mounts)
            bound(row, root)

        yield Scene(disk.seen, prepare)


def bound(row: Row, root: Path) -> None:
    """Let permissions bind this process and what it starts, where the row wants it, and what it sees be the row's."""
    if row.path is not None:
        os.environ["PATH"] = filled(row.path, {"root": root})
    if row.etc is not None:
        instead(root / row.etc, Path("/etc"))
    if not row.unprivileged or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    dropped = (1 << CAP_DAC_OVERRIDE) | (1 << CAP_DAC_READ_SEARCH)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; of the lower 32 capabilities, then of the upper
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for place in range(3):
        sets[place] &= ~dropped
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def assert_said(message: str, says: str) -> None:
    """A message is the one that is written down, and one sentence for people."""
    pattern = ".+".join(map(re.escape, says.split("…")))
    assert re.fullmatch(pattern, message), f"\n{message}\n is not\n{says}"
    own_words = re.sub(r"\(.*\)", "()", message)  # what it quotes of another program may be longer
    assert not _TWO_SENTENCES.search(own_words), message
    assert not _PYTHON.search(message), message
    assert message == message.strip(), message
