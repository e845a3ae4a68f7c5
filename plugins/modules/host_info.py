#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module host_info."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_info
short_description: Tell what a host is, and how this connection came to it
version_added: "0.1.0"
description:
  - Tells what has to be known before a host's SSH, firewall and memory are looked after.
  - Needs root for what concerns SSH and passwords.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  packages:
    description: Debian packages to look for.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    details: Changes nothing in any mode.
  diff_mode:
    support: N/A
    details: Changes nothing.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: What is this host?
  smartenergy.clique.host_info:
  register: host
"""

RETURN = r"""
model:
  description: The board, as its firmware names it; null on what is no such board.
  type: str
  returned: success
  sample: Raspberry Pi 4 Model B Rev 1.4
container:
  description: Whether it is a container.
  type: bool
  returned: success
ssh_port:
  description: The port of the host's SSH that this connection came in by; null where it did not come by SSH.
  type: int
  returned: success
ssh_by_key:
  description: Whether sshd logged that a key let this connection in.
  type: bool
  returned: success
password_login:
  description: Whether sshd takes passwords.
  type: bool
  returned: success
stock_password:
  description: Whether the user C(pi) has the password that every Raspberry Pi once had.
  type: bool
  returned: success
missing_packages:
  description: Those of O(packages) that are not installed.
  type: list
  elements: str
  returned: success
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._host_info import look


def main() -> None:
    module = AnsibleModule(
        argument_spec={"packages": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    module.exit_json(changed=False, **asdict(look(module.params["packages"])))


if __name__ == "__main__":
    main()
