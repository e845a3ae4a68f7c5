#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module geth_node_key."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: geth_node_key
short_description: Keep the key by which a node is known to its peers
version_added: "0.1.0"
description:
  - Makes a node key where there is none, and tells the public key, the node id and the enode that belong to it.
  - A key that is there is never replaced, and the private key is never shown.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.owner
options:
  path:
    description: The key file. It is made, with mode 0600, where it is missing; so is its folder, with mode 0700.
    type: path
    required: true
  bootnode:
    description: The program bootnode of go-ethereum, by its path. It makes keys and derives what is public of them.
    type: path
    required: true
  ip:
    description: The IPv4 or IPv6 address at which peers reach the node.
    type: str
    required: true
  port:
    description: The TCP port at which peers reach the node; V(0) for a bootnode, which has none.
    type: int
    required: true
  discovery_port:
    description: The UDP port of the node's discovery. Without it, the same as O(port).
    type: int
attributes:
  check_mode:
    support: full
    details: What depends on a key that would be made is null.
  diff_mode:
    support: full
    details: Shows whether the key is there; never a secret.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep the node key of a sealer
  smartenergy.clique.geth_node_key:
    path: /var/lib/clique/node.key
    bootnode: /usr/local/bin/bootnode
    ip: 192.0.2.11
    port: 30311
    owner: clique
    group: clique

- name: Keep the node key of a bootnode
  smartenergy.clique.geth_node_key:
    path: /var/lib/clique/boot.key
    bootnode: /usr/local/bin/bootnode
    ip: 192.0.2.15
    port: 0
    discovery_port: 30310
"""

RETURN = r"""
node_public_key:
  description: The public key, 128 hexadecimal digits. Null in check mode where it cannot be known yet.
  type: str
  returned: success
node_id:
  description: Keccak-256 of the public key, 64 hexadecimal digits. Null as above.
  type: str
  returned: success
enode:
  description: The URL by which peers know this node. Null as above.
  type: str
  returned: success
  sample: enode://5a12a4d3…56d22@192.0.2.15:0?discport=30310
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._node_key import (
    Endpoint,
    enode,
    has_key,
    make,
    node_id,
    public_key,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "bootnode": {"type": "path", "required": True},
            "ip": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "discovery_port": {"type": "int"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    path, bootnode = Path(asked["path"]), Path(asked["bootnode"])
    discovery_port = asked["port"] if asked["discovery_port"] is None else asked["discovery_port"]
    known = None
    try:
        endpoint = Endpoint(asked["ip"], asked["port"], discovery_port)
        there = has_key(path)
        if not there and not module.check_mode:
            make(path, bootnode=bootnode, owner=asked["owner"], group=asked["group"])
        if not module.check_mode or (there and bootnode.exists()):
            known = public_key(path, bootnode=bootnode)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=not there,
        node_public_key=known,
        node_id=known and node_id(known),
        enode=known and enode(known, endpoint),
        diff={"before": {str(path): "present" if there else "absent"}, "after": {str(path): "present"}},
    )


if __name__ == "__main__":
    main()
