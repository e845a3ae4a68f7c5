#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_service."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_service
short_description: Keep a process running with this definition
version_added: "0.1.0"
description:
  - Says what a long-running process is, starts it, and starts it anew where its definition changes. Nothing else does.
  - The running process carries the digest of the definition that it was started with in its own environment, so a run
    that is cut off at any point is finished by the next one, and no other process is ever touched.
  - A process that ends is started again, for ever and with the same definition.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  name:
    description: Name of the service, unique in its O(directory).
    type: str
    required: true
  state:
    description:
      - V(started) is running with this definition; V(stopped) is not running, its definition is kept;
        V(absent) is neither. Logs are always kept.
      - With O(manager=systemd) what is V(stopped) comes back with the next boot, as any unit that is enabled.
    type: str
    choices: [started, stopped, absent]
    default: started
  manager:
    description:
      - What keeps the process running. V(systemd) is a unit C(clique-<name>.service), started at boot and sandboxed; it
        needs root. V(supervisor) is one supervisord for each O(directory), without root.
    type: str
    choices: [supervisor, systemd]
    default: supervisor
  directory:
    description:
      - The service's folder. It is made, with mode 0700 and for O(user), where it is missing.
      - With V(supervisor) it holds C(supervisord.conf), C(supervisor.sock), C(services/) and C(log/), and its path has
        to be short enough for sockets, 83 bytes at most.
      - With V(systemd) it is what the process may write, see O(writable), and the unit waits for its file system.
    type: path
    required: true
  argv:
    description: The program, by its path, and its arguments. No shell sees them. Needed for O(state=started).
    type: list
    elements: str
  environment:
    description:
      - Variables for the process. It gets these, E(PATH), E(HOME) (which is O(directory)), E(LC_ALL), and what
        supervisor and this collection add, and nothing of the environment that the module runs in.
      - They stand in a file, so they are no place for secrets.
    type: dict
    default: {}
  working_directory:
    description: Folder that the process starts in. Without it, O(directory).
    type: path
  user:
    description: The user whose process it is. Without it, whoever runs the module. Only with O(manager=systemd).
    type: str
  group:
    description: The group of the process. Without it, the user's. Only with O(manager=systemd).
    type: str
  description:
    description: What the unit is called in lists, one line. Of no meaning to supervisor.
    type: str
  memory_high_mib:
    description:
      - MiB of memory above which the process is slowed down and its memory reclaimed. Supervisor has no such limit.
    type: int
  memory_max_mib:
    description: MiB of memory at which the process is killed and started again. Supervisor has no such limit.
    type: int
  writable:
    description:
      - Folders and files that the process may write with O(manager=systemd), to which all others are read-only. They
        have to be there. Without this option, O(directory); an empty list is nothing.
      - Supervisor keeps a process from nothing.
    type: list
    elements: path
  stop_signal:
    description: Signal that asks the process to end.
    type: str
    choices: [INT, TERM, QUIT, HUP, USR1, USR2]
    default: INT
  stop_timeout_s:
    description: Seconds that it may take to end before it is killed.
    type: int
    default: 180
  watch:
    description: Files that the process reads when it starts. Their content belongs to the definition.
    type: list
    elements: path
    default: []
  checksums:
    description:
      - For each program its sha256, 64 hexadecimal digits. One that differs is refused before anything is changed.
      - They belong to the definition. They are not compared in check mode, where a program may yet be installed.
    type: dict
    default: {}
  restart:
    description:
      - Whether a process that runs with another definition, or that nobody supervises any more, is restarted.
      - Where it is not, the service is left wholly alone, its files too, and RV(restart_pending) is true. Should the
        process end in the meantime, it comes back with the definition it had.
    type: bool
    default: true
  supervisord:
    description: The program supervisord. Without it, the one next to the Python that runs the module.
    type: path
attributes:
  check_mode:
    support: full
    details:
      - Nothing has to be there yet. The pid of a process that would be started is null,
        and so is a digest where a watched file is missing.
  diff_mode:
    support: full
    details: Shows the state, the digest of the running process and the files that its manager reads.
requirements:
  - supervisor 4.2 or newer on the node, or systemd 247 or newer as its first process, where something has to be started
notes:
  - A supervisord that was killed leaves its programs running with nobody to restart them. The next run ends such a
    process with its stop signal and starts it anew under a new supervisord.
  - supervisord is started with the first service of its directory, and ends when the last of them is stopped.
  - A program that ends within a second fails the module with its last lines. supervisord goes on trying to start it.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep a node running
  smartenergy.clique.clique_service:
    name: geth
    directory: /home/me/.demo/hosts/sealer1
    argv: [/home/me/.demo/bin/geth, --datadir, /home/me/.demo/hosts/sealer1/geth, --config, peers.toml]
    checksums:
      /home/me/.demo/bin/geth: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03

- name: Keep a node running as a unit, with its data as the only thing it may write
  smartenergy.clique.clique_service:
    name: geth
    manager: systemd
    directory: /var/lib/clique
    user: clique
    memory_high_mib: 600
    argv: [/usr/local/bin/geth, --datadir, /var/lib/clique/geth]

- name: Write down a new definition only where that interrupts nobody
  smartenergy.clique.clique_service:
    name: geth
    directory: /home/me/.demo/hosts/sealer1
    argv: [/home/me/.demo/bin/geth, --datadir, /home/me/.demo/hosts/sealer1/geth, --mine]
    restart: false
  register: service

- name: Stop it and keep its data
  smartenergy.clique.clique_service:
    name: geth
    directory: /home/me/.demo/hosts/sealer1
    state: stopped
"""

RETURN = r"""
running:
  description: Whether the process runs.
  type: bool
  returned: success
pid:
  description: Its process id. Null where it does not run, and in check mode where it would be started.
  type: int
  returned: success
started:
  description: Whether it did not run before and was started.
  type: bool
  returned: success
restarted:
  description: Whether it ran and was stopped and started anew.
  type: bool
  returned: success
restart_pending:
  description:
    - Whether it runs with another definition, or unsupervised, and was left alone because of O(restart=false).
      Nothing was written then; the next run without O(restart=false) starts it anew.
  type: bool
  returned: success
definition_digest:
  description: The sha256 of the definition that is asked for. Null without one, or where check mode cannot know it.
  type: str
  returned: success
running_digest:
  description: The sha256 of the definition that the process was started with. Null where it does not run.
  type: str
  returned: success
log:
  description:
    - Where what the process writes to its standard output and standard error is. With systemd, the command to see it.
  type: str
  returned: success
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._service import (
    State,
    apply,
    check_directory,
    check_name,
    define,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._supervisor import Supervisor, default_supervisord
from ansible_collections.smartenergy.clique.plugins.module_utils._systemd import Systemd

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "manager": {"type": "str", "choices": ["supervisor", "systemd"], "default": "supervisor"},
    "directory": {"type": "path", "required": True},
    "argv": {"type": "list", "elements": "str"},
    "environment": {"type": "dict", "default": {}},
    "working_directory": {"type": "path"},
    "user": {"type": "str"},
    "group": {"type": "str"},
    "description": {"type": "str"},
    "memory_high_mib": {"type": "int"},
    "memory_max_mib": {"type": "int"},
    "writable": {"type": "list", "elements": "path"},
    "stop_signal": {"type": "str", "choices": ["INT", "TERM", "QUIT", "HUP", "USR1", "USR2"], "default": "INT"},
    "stop_timeout_s": {"type": "int", "default": 180},
    "watch": {"type": "list", "elements": "path", "default": []},
    "checksums": {"type": "dict", "default": {}},
    "restart": {"type": "bool", "default": True},
    "supervisord": {"type": "path"},
}


def _manager(asked: Mapping[str, Any], directory: Path, name: str) -> Supervisor | Systemd:
    if asked["manager"] == "systemd":
        return Systemd(directory, name, time, asked["user"], asked["group"])
    supervisord = Path(asked["supervisord"]) if asked["supervisord"] else default_supervisord()
    return Supervisor(directory, name, supervisord, time)


def ensure(asked: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Make the service what is asked for, or in check mode say what that would do; raises CliqueError."""
    state = State(asked["state"])
    directory = check_directory(Path(os.path.realpath(asked["directory"])))
    manager = _manager(asked, directory, check_name(asked["name"]))
    definition = define(asked["name"], asked, directory=directory, check=check) if state is State.STARTED else None
    with manager.alone():
        outcome = apply(manager, definition, state=state, restart=asked["restart"], check=check)
    return {
        "changed": bool(outcome.plan.steps),
        "running": outcome.running,
        "pid": outcome.pid,
        "started": outcome.plan.started,
        "restarted": outcome.plan.restarted,
        "restart_pending": outcome.plan.restart_pending,
        "definition_digest": definition and definition.digest,
        "running_digest": outcome.running_digest,
        "log": str(manager.log),
        "diff": {"before": outcome.before, "after": outcome.after},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, required_if=[("state", "started", ["argv"])], supports_check_mode=True
    )
    try:
        result = ensure(module.params, check=module.check_mode)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
