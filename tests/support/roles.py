# SPDX-License-Identifier: GPL-3.0-or-later
"""Play one role on a few local hosts, as a user's own playbook would, and read what it hands on."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parent.parent.parent
VENV = CHECKOUT / ".venv"
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=\d+\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """What a play said; changed and failed count tasks for each host, results has what the role handed on."""

    output: str
    changed: dict[str, int]
    failed: dict[str, int]
    results: dict[str, Any]


def play_role(
    role: str,
    folder: Path,
    variables: Mapping[str, Any],
    *arguments: str,
    hosts: Sequence[str] = ("one", "two"),
    path: str | None = None,
    tasks_from: str = "main",
) -> Played:
    """Play a role of this collection in a folder; path replaces PATH, without the environment's own folder in front."""
    folder.mkdir(exist_ok=True)
    handed_on = folder / "results.json"
    handed_on.unlink(missing_ok=True)
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory = {"all": {"vars": local, "hosts": dict.fromkeys(hosts)}}
    include = {"name": f"smartenergy.clique.{role}", "tasks_from": tasks_from}
    results = f"ansible_play_hosts | map('extract', hostvars, '{role}_result')"
    hand_on = {"content": f"{{{{ dict(ansible_play_hosts | zip({results})) | to_json }}}}", "dest": str(handed_on)}
    # Written in check mode too, and not counted: it is the test that wants to know.
    aside = {"check_mode": False, "changed_when": False, "diff": False, "run_once": True}
    tasks = [
        {"ansible.builtin.include_role": include, "vars": dict(variables)},
        {"ansible.builtin.copy": hand_on, **aside},
    ]
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    run = subprocess.run(
        [VENV / "bin/ansible-playbook", "-i", folder / "hosts.json", *arguments, folder / "play.yml"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PATH": f"{VENV / 'bin'}:{path or os.environ['PATH']}",
            "ANSIBLE_HOME": str(folder / "home"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    recap = RECAP.findall(output)
    return Played(
        output,
        {host: int(changed) for host, changed, _ in recap},
        {host: int(failed) for host, _, failed in recap},
        json.loads(handed_on.read_text()) if handed_on.exists() else {},
    )
