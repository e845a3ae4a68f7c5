# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of small real programs, for tests of clique_service under any of its managers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import environment_of, pids
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from ansible_collections.smartenergy.clique.plugins.modules.clique_service import ARGUMENT_SPEC, ensure

from support.modules import Answer

MANAGER = os.environ.get("CLIQUE_TEST_MANAGER", "supervisor")
WAITS = "import signal; signal.pause()"
SAYS_BYE = (
    "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(print('bye', flush=True))); signal.pause()"
)
IGNORES_SIGINT = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"


def a_place(tmp_path: Path) -> Iterator[Path]:
    """A node directory that is not there yet; afterwards nothing of this test runs any more."""
    if MANAGER == "systemd":  # what earlier tests said is not this one's
        subprocess.run(["journalctl", "--rotate", "--vacuum-size=1"], capture_output=True, check=True)
    yield tmp_path / "node"
    if MANAGER == "systemd":
        for unit in Path("/etc/systemd/system").glob("clique-*.service"):
            run({**stopped(tmp_path / "node", unit.stem.removeprefix("clique-")), "state": "absent"})
        return
    for services in (False, True):  # supervisord first, so that it starts nothing again
        for pid in pids():
            environment = environment_of(pid)
            ours = environment.get("CLIQUE_SERVICE_DIRECTORY", "").startswith(f"{tmp_path}/")
            if ours and ("CLIQUE_SERVICE_NAME" in environment) is services:
                os.kill(pid, signal.SIGKILL)


def service(directory: Path, program: str = WAITS, *, name: str = "one", **others: Any) -> Answer:
    argv = [sys.executable, "-c", program]
    return {"name": name, "manager": MANAGER, "directory": str(directory), "argv": argv, **others}


def stopped(directory: Path, name: str = "one", state: str = "stopped") -> Answer:
    return {"name": name, "manager": MANAGER, "directory": str(directory), "state": state}


def run(asked: Answer, *, check: bool = False) -> Answer:
    """What the module does and answers, without a Python of its own; some tests start the module itself."""
    return ensure({key: option.get("default") for key, option in ARGUMENT_SPEC.items()} | asked, check=check)


def alive(pid: int) -> bool:
    return bool(environment_of(pid))  # a process that has ended and is not reaped yet has none


def wait_for(condition: Callable[[], Any]) -> Any:
    answer = wait_until(condition, timeout_s=20, clock=time)
    assert answer, "it did not come true"
    return answer


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid))


def said(directory: Path, name: str = "one") -> str:
    """All that the processes of a service have written."""
    if MANAGER == "systemd":
        command = ["journalctl", "--sync"], ["journalctl", "_TRANSPORT=stdout", "-u", f"clique-{name}", "-o", "cat"]
        return [subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in command][-1]
    return (directory / f"log/{name}.log").read_text()
