# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions, their digests, and what is done about the difference between what is and what should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._service import (
    Definition,
    Observed,
    Plan,
    Process,
    State,
    Step,
    apply,
    define,
    plan,
)

WRITE, STOP, START, REMOVE, RELEASE = Step
GETH = Definition(
    name="geth",
    argv=("/bin/geth", "--mine"),
    environment={"A": "1", "B": "2"},
    working_directory="/",
    stop_signal="INT",
    stop_timeout_s=180,
    contents={"/etc/peers.toml": "1" * 64},
    checksums={"/bin/geth": "2" * 64},
)
FILES = {"shared": "s", "own": "new"}
NOTHING = Observed(process=None, retried=False, lonely=False, files={}, own=frozenset())
WRITTEN = replace(NOTHING, files=FILES, own=frozenset({"own"}))
OLD_FILES = replace(WRITTEN, files={"shared": "s", "own": "old"})
SAME = Process(7, "wanted", supervised=True)
OTHER = Process(7, "other", supervised=True)
STRAY = Process(7, "wanted", supervised=False)


def test_the_digest_is_of_the_content_and_not_of_its_order() -> None:
    assert GETH.digest == replace(GETH, environment={"B": "2", "A": "1"}).digest
    # A fixed value: a changed one would restart every sealer of every network.
    assert GETH.digest == "5456e6699336876760959a0aad982961ae83262fc697275173099d8e6f57b611"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "geth2"},
        {"argv": ("/bin/geth",)},
        {"argv": ("/bin/geth --mine",)},
        {"environment": {"A": "1"}},
        {"working_directory": "/tmp"},  # noqa: S108
        {"stop_signal": "TERM"},
        {"stop_timeout_s": 10},
        {"contents": {"/etc/peers.toml": "3" * 64}},
        {"checksums": {}},
    ],
)
def test_everything_belongs_to_the_digest(changes: dict[str, Any]) -> None:
    assert replace(GETH, **changes).digest not in (None, GETH.digest)


def test_what_is_not_known_has_no_digest() -> None:
    assert replace(GETH, contents={"/etc/peers.toml": None}).digest is None


@pytest.mark.parametrize(
    ("observed", "restart", "expected"),
    [
        (NOTHING, True, Plan((WRITE, START), started=True)),
        (NOTHING, False, Plan((WRITE, START), started=True)),
        (WRITTEN, True, Plan((START,), started=True)),
        (OLD_FILES, True, Plan((WRITE, START), started=True)),
        (replace(WRITTEN, retried=True), False, Plan((START,), started=True)),
        (replace(WRITTEN, process=SAME), True, Plan(())),
        (replace(WRITTEN, process=SAME), False, Plan(())),
        (replace(OLD_FILES, process=SAME), False, Plan((WRITE,))),
        (replace(OLD_FILES, process=OTHER), True, Plan((WRITE, STOP, START), restarted=True)),
        (replace(WRITTEN, process=OTHER), True, Plan((STOP, START), restarted=True)),
        (replace(OLD_FILES, process=OTHER), False, Plan((), restart_pending=True)),
        (replace(WRITTEN, process=STRAY), True, Plan((STOP, START), restarted=True)),
        (replace(WRITTEN, process=STRAY), False, Plan((), restart_pending=True)),
        (replace(NOTHING, process=STRAY), True, Plan((WRITE, STOP, START), restarted=True)),
    ],
)
def test_how_it_comes_to_run(observed: Observed, restart: bool, expected: Plan) -> None:
    assert plan(observed, state=State.STARTED, digest="wanted", files=FILES, restart=restart) == expected


@pytest.mark.parametrize(
    ("observed", "stopped", "absent"),
    [
        (NOTHING, (), ()),
        (WRITTEN, (), (REMOVE,)),
        (replace(WRITTEN, process=OTHER), (STOP,), (STOP, REMOVE)),
        (replace(WRITTEN, process=SAME, lonely=True), (STOP, RELEASE), (STOP, REMOVE, RELEASE)),
        (replace(WRITTEN, retried=True, lonely=True), (STOP, RELEASE), (STOP, REMOVE, RELEASE)),
        (replace(WRITTEN, lonely=True), (RELEASE,), (REMOVE, RELEASE)),
        (replace(NOTHING, process=STRAY), (STOP,), (STOP,)),
    ],
)
@pytest.mark.parametrize("restart", [True, False])
def test_how_it_comes_to_rest(
    observed: Observed, stopped: tuple[Step, ...], absent: tuple[Step, ...], restart: bool
) -> None:
    for state, steps in ((State.STOPPED, stopped), (State.ABSENT, absent)):
        assert plan(observed, state=state, digest=None, files={}, restart=restart) == Plan(steps)


class CutOffError(Exception):
    """The run ends here."""


@dataclass
class Machine:
    """A manager that keeps its service in memory and may be cut off after so many steps."""

    seen: Observed
    steps_left: int = 99
    done: list[str] = field(default_factory=list)

    def _step(self, name: str, seen: Observed) -> None:
        if self.steps_left == 0:
            raise CutOffError
        self.steps_left -= 1
        self.done.append(name)
        self.seen = seen

    def render(self, definition: Definition) -> dict[str, str]:
        return {"own": str(definition.digest)}

    def observe(self) -> Observed:
        return self.seen

    def require(self) -> None:
        pass

    def write(self, files: Mapping[str, str]) -> None:
        self._step("write", replace(self.seen, files=files, own=frozenset({"own"})))

    def stop(self) -> None:
        self._step("stop", replace(self.seen, process=None, retried=False))

    def start(self) -> None:
        process = Process(len(self.done) + 100, self.seen.files["own"], supervised=True)
        self._step("start", replace(self.seen, process=process, lonely=True))

    def remove(self) -> None:
        self._step("remove", replace(self.seen, files={}, own=frozenset()))

    def release(self) -> None:
        self._step("release", replace(self.seen, lonely=False))


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("start", [NOTHING, OLD_FILES, replace(OLD_FILES, process=OTHER, lonely=True)])
def test_whatever_was_cut_off_is_finished_by_the_next_run(start: Observed, steps: int, state: State) -> None:
    definition = GETH if state is State.STARTED else None
    machine = Machine(start, steps)
    try:
        apply(machine, definition, state=state, restart=True, check=False)
    except CutOffError:
        machine.steps_left = 99
        apply(machine, definition, state=state, restart=True, check=False)
    end = machine.seen
    assert (end.process and end.process.digest) == (definition and definition.digest)
    assert bool(end.files) == (state is State.STARTED or (state is State.STOPPED and bool(start.files)))
    assert end.lonely is (state is State.STARTED)
    assert apply(machine, definition, state=state, restart=True, check=False).plan == Plan(())


def test_check_mode_only_looks() -> None:
    machine = Machine(replace(OLD_FILES, process=OTHER), steps_left=0)
    foretold = apply(machine, GETH, state=State.STARTED, restart=True, check=True)
    assert (foretold.running, foretold.pid, foretold.running_digest) == (True, None, GETH.digest)
    assert machine.done == []


def options(**others: Any) -> dict[str, Any]:
    return {
        "argv": ["/bin/sh"],
        "environment": None,
        "working_directory": None,
        "stop_signal": "INT",
        "stop_timeout_s": 180,
        "user": None,
        "group": None,
        "description": None,
        "memory_high_mib": None,
        "memory_max_mib": None,
        "writable": [],
        "watch": None,
        "checksums": None,
        **others,
    }


def test_a_definition_is_made_of_what_is_on_the_disk(tmp_path: Path) -> None:
    watched = tmp_path / "file"
    watched.write_bytes(b"")
    asked = options(environment={"N": 1}, watch=[str(watched)])
    definition = define("one", asked, directory=tmp_path, check=False)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (definition.contents, definition.environment) == ({str(watched): empty}, {"N": "1"})
    assert definition.working_directory == str(tmp_path)
    assert define("one", asked, directory=tmp_path, check=True) == definition
