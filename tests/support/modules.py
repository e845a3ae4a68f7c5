# SPDX-License-Identifier: GPL-3.0-or-later
"""Run this collection's modules, a process each as with Ansible, and compare what check mode says with what happens."""

import hashlib
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args

Answer = dict[str, Any]


def run_module(
    name: str, arguments: Mapping[str, Any], *, check: bool = False, before: Callable[[], None] = lambda: None
) -> Answer:
    """Run one module on this machine with diff on and return its answer; before is called first in its process."""
    stdout, stderr = say(name, arguments, check=check, before=before)
    assert stdout.strip(), f"{name} answered nothing:\n{stderr}"
    answer: Answer = json.loads(stdout)
    answer.pop("invocation", None)
    return answer


def say(
    name: str, arguments: Mapping[str, Any], *, check: bool = False, before: Callable[[], None] = lambda: None
) -> tuple[str, str]:
    """Run one module and return all that it printed; before is called first in its process."""
    module = importlib.import_module(f"ansible_collections.smartenergy.clique.plugins.modules.{name}")

    def main() -> None:
        before()
        # Whoever has imported a filter counts as the controller, and a module's warnings would go to its screen.
        _internal.is_controller = False
        with patch_module_args({**arguments, "_ansible_check_mode": check, "_ansible_diff": True}):
            module.main()

    return _in_a_process(main)


def kill_module(name: str, arguments: Mapping[str, Any], where: str, *, after: bool = False) -> None:
    """Run one module in a process that is killed just before, or after, it calls what stands at package.module:name."""
    module = importlib.import_module(f"ansible_collections.smartenergy.clique.plugins.modules.{name}")
    place, _, attribute = where.partition(":")
    owner, _, last = attribute.rpartition(".")
    holder: Any = importlib.import_module(place)
    for step in filter(None, owner.split(".")):
        holder = getattr(holder, step)
    real = getattr(holder, last)

    def deadly(*given: Any, **named: Any) -> None:
        if after:
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    def main() -> None:
        setattr(holder, last, deadly)
        with patch_module_args({**arguments, "_ansible_check_mode": False, "_ansible_diff": True}):
            module.main()

    stdout, _ = _in_a_process(main)
    assert not stdout, f"{name} was not killed: {stdout}"


def _in_a_process(function: Callable[[], None]) -> tuple[str, str]:
    """Call a function in a fork of this process, which spares it the imports, and return what it printed.

    As with Ansible, that is over when nobody can print any more: a service that keeps stdout open shows here.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as errors:
        if (pid := os.fork()) == 0:
            try:
                os.dup2(writing, 1)
                os.close(writing)
                os.dup2(errors.fileno(), 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
                function()
            except SystemExit:
                pass
            except BaseException:  # noqa: BLE001  nothing of the test that was forked may go on here
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as printed:
            stdout = printed.read()
        os.waitpid(pid, 0)
        errors.seek(0)
        return stdout, errors.read()


def tree(root: Path) -> dict[str, str]:
    """Every path below root with its kind, mode and content: two equal trees are byte-identical."""

    def describe(path: Path) -> str:
        if path.is_symlink():
            return f"link {path.readlink()}"
        mode = oct(path.lstat().st_mode)
        return f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else mode

    return {str(path.relative_to(root)): describe(path) for path in sorted(root.rglob("*"))}


def _foretells(predicted: object, real: object) -> bool:
    """Equal, but for what is null in the prediction, at any depth of dictionaries."""
    if isinstance(predicted, dict) and isinstance(real, dict):
        return predicted.keys() == real.keys() and all(_foretells(predicted[key], real[key]) for key in predicted)
    return predicted is None or predicted == real


def assert_check_mode_is_truthful(
    name: str, arguments: Mapping[str, Any], root: Path, *, moving: Collection[str] = ()
) -> tuple[Answer, Answer]:
    """Check mode writes nothing below root and predicts the real run: same changed, same diff, same or null results.

    Moving are results that change with a chain, which goes on between two runs. A third run has to find nothing left to
    do. Returns the real run's answer and the third's.
    """
    before = tree(root)
    predicted = run_module(name, arguments, check=True)
    assert tree(root) == before, f"{name} wrote in check mode"
    real = run_module(name, arguments)
    assert not real.get("failed"), real
    assert not predicted.get("failed"), predicted
    assert predicted["changed"] == real["changed"]
    assert predicted.get("diff") == real.get("diff")
    unlike = {key: (value, real[key]) for key, value in predicted.items() if not _foretells(value, real[key])}
    unlike = {key: values for key, values in unlike.items() if key not in moving}
    assert not unlike, f"{name} predicted what did not come: {unlike}"
    again = run_module(name, arguments)
    assert again["changed"] is False, again
    return real, again


def assert_refused(name: str, arguments: Mapping[str, Any], root: Path, *words: str) -> str:
    """The module fails with one sentence that has these words in it, has no traceback, and leaves root as it was."""
    before = tree(root)
    answer = run_module(name, arguments)
    assert answer.get("failed") is True, answer
    message: str = answer["msg"]
    assert "Traceback" not in message + str(answer.get("exception", ""))
    assert all(word in message for word in words), message
    assert tree(root) == before, f"{name} left something behind: {os.linesep}{message}"
    return message
