# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills ansible-playbook at a task, as a power cut on the controller would; see support/interrupted_plays.py."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from ansible.executor.task_result import CallbackTaskResult
from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: dies
type: aggregate
short_description: Kills ansible-playbook at a task
description:
  - A point is "before <task>", or "after <task>", where a host has just told that the task changed something.
  - E(DIES_AT) names the point, and E(DIES_NTH) which time at it is the last.
  - E(DIES_LIST) is a file for the names of all points that were reached.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "dies"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._times: Counter[str] = Counter()
        self._last = os.environ.get("DIES_AT"), int(os.environ.get("DIES_NTH", "1"))
        self._list = Path(os.environ.get("DIES_LIST", os.devnull))

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:  # noqa: ARG002
        self._reach(f"before {task.name}")

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        if result.is_changed():
            self._reach(f"after {result.task.name}")

    def _reach(self, point: str) -> None:
        self._times[point] += 1
        with self._list.open("a") as points:
            points.write(f"{point}\n")
        if (point, self._times[point]) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
