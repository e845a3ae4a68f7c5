#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_preflight."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_preflight
short_description: Say what stands in the way of a node on this machine
version_added: "0.1.0"
description:
  - Looks at ports, paths and Python, changes nothing, and fails with a sentence for each thing that is in the way.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  directory:
    description: The node's directory, which need not exist. It has to leave room for the paths of sockets.
    type: path
    required: true
  ports:
    description:
      - Ports that the node listens on. One that a foreign process holds is in the way.
      - Processes of the services below O(own_directory), see M(smartenergy.clique.clique_service), may hold them.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port.
        type: int
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        required: true
      address:
        description:
          - The IP address it is wanted on; C(0.0.0.0) or C(::) for all.
          - Without it, the address in C(default_ipv4) of RV(ansible_facts), and all where there is none.
        type: str
  own_directory:
    description: Folder whose services are ours. Without it, O(directory).
    type: path
  python:
    description: The oldest Python that will do.
    type: str
  memory_mib:
    description: The least memory that will do, in MiB; swap does not count.
    type: int
  disk_mib:
    description: What has to be free, in MiB, where O(directory) is or will be.
    type: int
  userspace_bits:
    description: The word size of the system that will do. Its kernel may have another one.
    type: int
    choices: [32, 64]
  systemd:
    description: Whether systemd has to be what booted.
    type: bool
    default: false
  node_key:
    description: A key of which RV(key_fingerprint) is returned.
    type: path
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
- name: Can this host carry a node?
  smartenergy.clique.clique_preflight:
    directory: /var/lib/clique
    ports:
      - {port: 30311, protocol: tcp, address: 192.0.2.11}
      - {port: 30311, protocol: udp, address: 192.0.2.11}
    python: "3.11"
"""

RETURN = r"""
ansible_facts:
  description:
    - C(architecture), C(memtotal_mb), C(python_version), C(userspace_bits) and of C(default_ipv4) the C(address), where
      there is one, as M(ansible.builtin.setup) has them, so that nobody need ask again.
  type: dict
  returned: always
key_fingerprint:
  description: The same on two hosts only if the key is; the key does not follow from it. Null where there is no key.
  type: str
  returned: always
problems:
  description: Everything that is in the way, a sentence each.
  type: list
  elements: str
  returned: always
  sample: ["TCP port 30311 on 192.0.2.11 is held by process 712 (/usr/bin/foo): end it or choose other ports."]
"""

import os
import platform
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import (
    USERSPACE_BITS,
    Port,
    Requirements,
    fingerprint,
    memory_mib,
    own_address,
    problems,
)

LAST_PORT = 65535
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - to look for others there, and not to listen


def requirements(asked: dict[str, Any], own: str | None) -> Requirements:
    """Read the module's options; own is this host's address. Raises CliqueError for no version or no address."""
    if asked["python"] and not re.fullmatch(r"\d+(\.\d+){1,2}", asked["python"]):
        raise CliqueError(f"python has to be a version like 3.11, and {asked['python']!r} is none")
    ports = [{**port, "address": port["address"] or own or ALL_ADDRESSES} for port in asked["ports"]]
    for port in ports:
        try:
            ip_address(port["address"])
        except ValueError as error:
            raise CliqueError(f"address has to be an IPv4 or IPv6 address, and {port['address']!r} is none") from error
        if not 1 <= port["port"] <= LAST_PORT:
            raise CliqueError(f"port has to be between 1 and {LAST_PORT}, and {port['port']} is not")
    return Requirements(
        directory=Path(asked["directory"]).resolve(),
        ports=tuple(Port(**port) for port in ports),
        own_directory=Path(asked["own_directory"]) if asked["own_directory"] else None,
        python=tuple(map(int, asked["python"].split("."))) if asked["python"] else None,
        **{name: asked[name] for name in ("memory_mib", "disk_mib", "userspace_bits", "systemd")},
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "ports": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "port": {"type": "int", "required": True},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
                    "address": {"type": "str"},
                },
            },
            "own_directory": {"type": "path"},
            "python": {"type": "str"},
            "memory_mib": {"type": "int"},
            "disk_mib": {"type": "int"},
            "userspace_bits": {"type": "int", "choices": [32, 64]},
            "systemd": {"type": "bool", "default": False},
            "node_key": {"type": "path", "no_log": False},  # a path, and not the key
        },
        supports_check_mode=True,
    )
    own = own_address()
    try:
        found = problems(requirements(module.params, own))
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    key = module.params["node_key"]
    facts = {
        "architecture": os.uname().machine,
        "memtotal_mb": memory_mib(),
        "python_version": platform.python_version(),
        "userspace_bits": str(USERSPACE_BITS),
        **({"default_ipv4": {"address": own}} if own else {}),
    }
    known = {"problems": found, "key_fingerprint": fingerprint(Path(key)) if key else None, "ansible_facts": facts}
    if found:
        module.fail_json(msg=" ".join(found), **known)
    module.exit_json(changed=False, **known)


if __name__ == "__main__":
    main()
