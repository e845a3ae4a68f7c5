#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_files."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_files
short_description: Keep a host's own settings, in one step
version_added: "0.1.0"
description:
  - Writes files, has the programs that read them do so, enables units and gives the host its name.
  - All in one execution, because each costs a Raspberry Pi a second.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  files:
    description: Files that belong to root and that everybody may read, with mode 0644.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file. Its folder is made where it is missing.
        type: path
        required: true
      content:
        description: All that is in it. With null the file is removed.
        type: str
      validate:
        description: A command that fails while a wrong file is in place. Then what was there is put back.
        type: list
        elements: str
        default: []
      apply:
        description: A command for when the file has changed. One that several files have runs once, after all.
        type: list
        elements: str
        default: []
  enabled:
    description: Units that systemd starts at boot.
    type: list
    elements: str
    default: []
  disabled:
    description:
      - Units that do not start at boot, and are stopped before files are removed. One that is not there is none.
    type: list
    elements: str
    default: []
  hostname:
    description: The host's name. Null leaves it as it is.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the files, the units and the name.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep logs small
  smartenergy.clique.host_files:
    files:
      - path: /etc/systemd/journald.conf.d/small.conf
        content: |
          [Journal]
          SystemMaxUse=200M
        apply: [systemctl, restart, systemd-journald]
"""

RETURN = r"""
files:
  description: The files that were written or removed.
  type: list
  elements: str
  returned: success
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._host_files import File, Wanted, apply, look, plan


def wanted(asked: dict[str, Any]) -> Wanted:
    """Read the module's options."""
    files = tuple(
        File(file["path"], file["content"], tuple(file["validate"]), tuple(file["apply"])) for file in asked["files"]
    )
    return Wanted(files, tuple(asked["enabled"]), asked["hostname"], tuple(asked["disabled"]))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "validate": {"type": "list", "elements": "str", "default": []},
                    "apply": {"type": "list", "elements": "str", "default": []},
                },
            },
            "enabled": {"type": "list", "elements": "str", "default": []},
            "disabled": {"type": "list", "elements": "str", "default": []},
            "hostname": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wants = wanted(module.params)
    try:
        before, after = look(wants), plan(wants)
        if before != after and not module.check_mode:
            apply(wants, before)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    written = [path for path, content in after.files.items() if before.files[path] != content]
    shown = {
        name: {key: value for key, value in asdict(state).items() if value}
        for name, state in (("before", before), ("after", after))
    }
    module.exit_json(changed=before != after, files=written, diff=shown)


if __name__ == "__main__":
    main()
