#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module python_environment."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: python_environment
short_description: Keep a Python environment that was bundled elsewhere, and a command that runs its package
version_added: "0.1.0"
description:
  - Makes a virtual environment of an archive from M(smartenergy.clique.python_bundle). It needs neither pip nor
    C(ensurepip) nor a package index on this machine, only its Python.
  - Each environment has a folder of its own, named after what is in it, which comes into being whole or not at all, and
    only after everything in it has been imported once. What runs in an older one is not disturbed.
  - The environment that the command ran before is kept; all older ones are removed.
  - The environment belongs to who runs this module, and everybody may read it.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  directory:
    description: Folder that holds a folder for each environment. It is made where it is missing.
    type: path
    required: true
  state:
    description:
      - With V(absent) every environment in O(directory) is removed, and O(command) where it runs one of them.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - Name of the environment, which has to tell its content. One that is there under this name is believed.
      - Needed for O(state=present).
    type: str
  package:
    description: Package to run, as in C(python -m). Needed for O(state=present).
    type: str
  imports:
    description: Modules that have to be importable, and are compiled by that.
    type: list
    elements: str
    default: []
  command:
    description: Path of a link that runs the package. Its folder is made where it is missing.
    type: path
    required: true
  archive:
    description:
      - Archive on this machine, needed where the environment is missing. It is removed once that stands.
      - Needed for O(state=present).
    type: path
  sha256:
    description: The archive's sha256; may be null in check mode.
    type: str
  python_version:
    description:
      - Version of Python that the archive is for, as in V(3.11); that of this machine has to be the same.
      - Needed for O(state=present).
    type: str
attributes:
  check_mode:
    support: full
    details: Needs no archive.
  diff_mode:
    support: full
    details: Shows which environments are there, and what the command is a link to.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep the bridge's environment
  smartenergy.clique.python_environment:
    directory: /opt/energy-bridge
    name: "{{ bundle.name }}"
    package: energy_bridge
    imports: [energy_bridge.service]
    command: /usr/local/bin/energy-bridge
    archive: /opt/energy-bridge.zip
    sha256: "{{ bundle.sha256 }}"
    python_version: "3.11"

- name: Remove it
  smartenergy.clique.python_environment:
    directory: /opt/energy-bridge
    command: /usr/local/bin/energy-bridge
    state: absent
"""

RETURN = r"""
python:
  description: The environment's Python; null with O(state=absent).
  type: str
  returned: success
  sample: /opt/energy-bridge/cp311-aarch64-0123456789ab/bin/python
present:
  description: Whether what is wanted was so already.
  type: bool
  returned: success
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._python_environment import (
    State,
    Wanted,
    look,
    look_for_any,
    make,
    plan,
    remove,
    require,
)

NEEDED = ["name", "package", "archive", "python_version"]


def have(asked: dict[str, Any], directory: Path, command: Path, *, check: bool) -> tuple[State, State, str | None]:
    """Have the environment and its command, or say what that changes, and where its Python is; raises CliqueError."""
    wanted = Wanted(directory, asked["name"], asked["package"], tuple(asked["imports"]), command)
    before = look(wanted)
    after = plan(before, wanted)
    if before != after:
        require(asked["python_version"], wanted.name)
        if not check:
            make(wanted, after, archive=Path(asked["archive"]), sha256=asked["sha256"])
    return before, after, str(wanted.python)


def take_away(directory: Path, command: Path, *, check: bool) -> tuple[State, State, str | None]:
    """Remove every environment and the command, or say what that changes; raises CliqueError."""
    before, after = look_for_any(directory, command), State(frozenset(), None)
    if before != after and not check:
        remove(before, directory, command)
    return before, after, None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str"},
            "package": {"type": "str"},
            "imports": {"type": "list", "elements": "str", "default": []},
            "command": {"type": "path", "required": True},
            "archive": {"type": "path"},
            "sha256": {"type": "str"},
            "python_version": {"type": "str"},
        },
        required_if=[("state", "present", NEEDED)],
        supports_check_mode=True,
    )
    asked = module.params
    directory, command = Path(asked["directory"]).absolute(), Path(asked["command"]).absolute()
    try:
        if asked["state"] == "present":
            before, after, python = have(asked, directory, command, check=module.check_mode)
        else:
            before, after, python = take_away(directory, command, check=module.check_mode)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=before != after,
        python=python,
        present=before == after,
        diff={"before": shown(before), "after": shown(after)},
    )


def shown(state: State) -> dict[str, object]:
    return {"environments": sorted(state.environments), "command": state.command}


if __name__ == "__main__":
    main()
