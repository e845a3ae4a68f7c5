# SPDX-License-Identifier: GPL-3.0-or-later
"""What a long-running process is to be, and what has to be done about it. Private to this collection.

A definition is data, and its digest says which one a running process was started with: the process itself carries it
in its environment, so that nothing is forgotten where a run is cut off. plan() decides from what is seen and what is
wanted; a manager (see _supervisor) carries it out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

__all__ = [
    "Definition",
    "Manager",
    "Observed",
    "Outcome",
    "Plan",
    "Process",
    "ServiceError",
    "State",
    "Step",
    "apply",
    "check_directory",
    "check_name",
    "define",
    "plan",
]

OURS = "CLIQUE_SERVICE_"  # what the names of the variables begin with that this collection gives each process

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ServiceError(CliqueError):
    """A process that cannot be what it is asked to be."""


class State(Enum):
    """What a user may want a service to be."""

    STARTED = "started"
    STOPPED = "stopped"
    ABSENT = "absent"


class Step(Enum):
    """What a manager can do about a service; in a plan they stand in the order in which they are done."""

    WRITE = "write"  # its files
    STOP = "stop"  # every process of it, also what nobody supervises any more
    START = "start"  # with the definition that is written, and see that it stays up
    REMOVE = "remove"  # its files
    RELEASE = "release"  # the manager itself, which has nothing left to do


@dataclass(frozen=True)
class Definition:
    """Everything that makes a process what it is; what is not in here never restarts it."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str
    stop_signal: str
    stop_timeout_s: int
    contents: Mapping[str, str | None]  # watched file → sha256; None where check mode cannot know it
    checksums: Mapping[str, str]  # program → sha256
    user: str | None = None
    group: str | None = None
    description: str | None = None
    memory_high_mib: int | None = None  # above it the kernel reclaims memory, and slows the process down for it
    memory_max_mib: int | None = None  # at it the process is killed
    writable: tuple[str, ...] | None = None  # folders and files; None means the service's directory

    @property
    def digest(self) -> str | None:
        """The sha256, as 64 hexadecimal digits, of this as canonical JSON; None while something is unknown."""
        if None in self.contents.values():
            return None
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Process:
    """A process of a service. One that its manager does not know any more is not supervised: nobody restarts it."""

    pid: int
    digest: str | None
    supervised: bool


@dataclass(frozen=True)
class Observed:
    """What there is of a service."""

    process: Process | None
    retried: bool  # it does not run, and its manager keeps trying to start it
    lonely: bool  # the manager runs, and for nothing but this service
    files: Mapping[str, str]  # what the manager's files say, of those that render() names
    own: frozenset[str]  # which of them are about this service only; none where the manager does not know it


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what it means for the process."""

    steps: tuple[Step, ...]
    started: bool = False
    restarted: bool = False
    restart_pending: bool = False


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be, and what there is then; unknown is None."""

    plan: Plan
    running: bool
    pid: int | None
    running_digest: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


class Manager(Protocol):
    """One service in the hands of what supervises it."""

    def render(self, definition: Definition) -> dict[str, str]:
        """Return the text of each file that says this definition. Raises ServiceError for what it cannot say."""

    def observe(self) -> Observed:
        """Look, and change nothing."""

    def require(self) -> None:
        """Raise ServiceError, before anything is changed, where a start cannot work."""

    def write(self, files: Mapping[str, str]) -> None:
        """Write files that render() returned."""

    def stop(self) -> None:
        """End every process of the service with its stop signal, and after its stop timeout by force."""

    def start(self) -> None:
        """Start what the files say and return when it stays up; raises ServiceError with its last words otherwise."""

    def remove(self) -> None:
        """Forget the service. Its logs stay."""

    def release(self) -> None:
        """End the manager itself."""


def check_name(name: str) -> str:
    """Return the name of a service; raises ServiceError where it cannot be the name of a file or of a unit."""
    if not _NAME.fullmatch(name):
        raise ServiceError(
            f"name has to be lower-case letters, digits, '.', '_' and '-', 63 at most, and {name!r} is not"
        )
    return name


def check_directory(directory: Path) -> Path:
    """Return the folder of a service; raises ServiceError where something else stands there."""
    if directory.exists() and not directory.is_dir():
        raise ServiceError(f"{directory} is not a folder: move it away, or choose another directory")
    return directory


def define(name: str, options: Mapping[str, Any], *, directory: Path, check: bool) -> Definition:
    """Read a definition from the module's options, and watched files and checksums from the disk.

    In check mode programs and watched files need not be there yet, and programs may still be others.
    Raises ServiceError for what cannot be started.
    """
    argv = tuple(options["argv"] or ())
    environment = {key: str(value) for key, value in (options["environment"] or {}).items()}
    checksums = {path: str(digest).lower() for path, digest in (options["checksums"] or {}).items()}
    if not argv or not argv[0].startswith("/"):
        raise ServiceError(f"argv of {name} has to begin with the path of a program, from / on")
    for key in environment:
        if not _VARIABLE.fullmatch(key) or key.startswith(OURS):
            raise ServiceError(f"environment of {name} cannot have a variable {key!r}: give it another name")
    for word in (*argv, *environment.values()):
        if not word.isprintable():
            raise ServiceError(f"argv and environment of {name} have to be one printable line each, not {word!r}")
    for path, digest in checksums.items():
        if not _SHA256.fullmatch(digest):
            raise ServiceError(f"checksums of {name} has no sha256 for {path}, which is 64 hexadecimal digits")
    _check_limits(name, options)
    if not check:
        _verify(name, argv[0], checksums)
    return Definition(
        name=name,
        argv=argv,
        environment=environment,
        working_directory=options["working_directory"] or str(directory),
        stop_signal=options["stop_signal"],
        stop_timeout_s=options["stop_timeout_s"],
        contents={path: _content(name, Path(path), check=check) for path in options["watch"] or ()},
        checksums=checksums,
        user=options["user"],
        group=options["group"],
        description=options["description"],
        memory_high_mib=options["memory_high_mib"],
        memory_max_mib=options["memory_max_mib"],
        writable=None if options["writable"] is None else tuple(options["writable"]),
    )


def _check_limits(name: str, options: Mapping[str, Any]) -> None:
    for account in (options["user"], options["group"]):
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise ServiceError(f"{name} cannot belong to {account!r}, which is no name of a user or a group")
    for key in ("stop_timeout_s", "memory_high_mib", "memory_max_mib"):
        if options[key] is not None and options[key] < 1:
            raise ServiceError(f"{key} of {name} has to be at least 1")


def _verify(name: str, program: str, checksums: Mapping[str, str]) -> None:
    if not (os.access(program, os.X_OK) and Path(program).is_file()):
        raise ServiceError(f"{name} is not started: {program} is not a program that can be run; install it first")
    for path, wanted in checksums.items():
        actual = _sha256(name, Path(path))
        if actual != wanted:
            raise ServiceError(
                f"{name} is not started: the sha256 of {path} is {actual} and has to be {wanted}; install the right one"
            )


def _content(name: str, path: Path, *, check: bool) -> str | None:
    return None if check and not path.exists() else _sha256(name, path)


def _sha256(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ServiceError(f"{name} is not started: {path} cannot be read: {error.strerror}") from error


def plan(observed: Observed, *, state: State, digest: str | None, files: Mapping[str, str], restart: bool) -> Plan:
    """Decide what to do; files are those that say the wanted definition, which has this digest (None: not known yet).

    What runs with another definition, or unsupervised, is either restarted or left wholly alone: its files too, so that
    whatever its manager starts by itself in the meantime is still the old definition.
    """
    process = observed.process
    if state is not State.STARTED:
        stop = (Step.STOP,) if process or observed.retried else ()
        remove = (Step.REMOVE,) if state is State.ABSENT and observed.own else ()
        return Plan((*stop, *remove, *((Step.RELEASE,) if observed.lonely else ())))
    write = () if observed.files == files else (Step.WRITE,)
    if process is None:
        return Plan((*write, Step.START), started=True)
    if process.supervised and process.digest == digest:
        return Plan(write)
    if not restart:
        return Plan((), restart_pending=True)
    return Plan((*write, Step.STOP, Step.START), restarted=True)


def apply(manager: Manager, definition: Definition | None, *, state: State, restart: bool, check: bool) -> Outcome:
    """Look, decide, do (not in check mode), and look again. The definition is needed for a service that is started."""
    digest = definition.digest if definition else None
    files = manager.render(definition) if definition else {}
    observed = manager.observe()
    decided = plan(observed, state=state, digest=digest, files=files, restart=restart)
    after = _foresee(observed, decided, files, digest)
    if decided.steps and not check:
        _carry_out(manager, decided, files)
    touched = {Step.STOP, Step.START} & set(decided.steps)
    process = observed.process if not touched else None if check else manager.observe().process
    return Outcome(
        plan=decided,
        running=after["state"] == "running",
        pid=process.pid if process else None,
        running_digest=after["running_digest"],
        before=_describe(observed.process, observed.files, known=bool(observed.own)),
        after=after,
    )


def _carry_out(manager: Manager, decided: Plan, files: Mapping[str, str]) -> None:
    if Step.START in decided.steps:
        manager.require()
    does = {
        Step.WRITE: lambda: manager.write(files),
        Step.STOP: manager.stop,
        Step.START: manager.start,
        Step.REMOVE: manager.remove,
        Step.RELEASE: manager.release,
    }
    for step in decided.steps:
        does[step]()


def _foresee(observed: Observed, decided: Plan, files: Mapping[str, str], digest: str | None) -> dict[str, Any]:
    """What the service will be once the plan is carried out, in the words of a diff."""
    process, written, known = observed.process, observed.files, bool(observed.own)
    if Step.WRITE in decided.steps:
        written, known = files, True
    if Step.REMOVE in decided.steps:
        written, known = {name: text for name, text in written.items() if name not in observed.own}, False
    if Step.STOP in decided.steps:
        process = None
    if Step.START in decided.steps:
        process = Process(pid=0, digest=digest, supervised=True)
    return _describe(process, written, known=known)


def _describe(process: Process | None, files: Mapping[str, str], *, known: bool) -> dict[str, Any]:
    return {
        "state": "running" if process else "stopped" if known else "absent",
        "running_digest": process and process.digest,
        "files": {name: text.splitlines() for name, text in sorted(files.items())},
    }
