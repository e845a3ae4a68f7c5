#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_network."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_network
short_description: Keep the record of a Clique network's genesis and hosts
version_added: "0.1.0"
description:
  - Writes what everybody may know of a network, so that a play for some of its hosts finds the others there.
    It has no secret in it.
  - Hosts that are named are added or brought up to date; hosts on record that are not named stay, unless they are to be
    forgotten.
  - The module fails, and writes nothing, where the record is of a network with another genesis, where a host has
    another node key or address than the one on record, and where two hosts have the same key, address or endpoint.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  path:
    description: The record, a JSON file. Its folder is made where it is missing.
    type: path
    required: true
  genesis:
    description:
      - The network's genesis, as M(smartenergy.clique.clique_genesis) returns it.
      - In check mode what is not known yet may be null; else all of it is needed.
    type: dict
    required: true
    suboptions:
      hash:
        description: Hash of the first block.
        type: str
      digest:
        description: Digest of the genesis file.
        type: str
      chain_id:
        description: Chain id.
        type: int
      period_s:
        description: Seconds from one block to the next.
        type: int
      signers:
        description: Addresses that may seal from the first block on.
        type: list
        elements: str
  hosts:
    description:
      - Hosts by name, each with C(role), C(roles), C(node_public_key), C(enode), C(ip) and C(port),
        and where it has them C(address) of its sealing account and C(bootnode_enode).
      - In check mode a C(node_public_key) may be null where it is not known yet.
    type: dict
    required: true
  forget:
    description:
      - Hosts that are in the network no more. Their entries are taken out before O(hosts) are put in, so that a host of
        the same name may come with other keys.
      - A sealer's address is what it can be voted out by - forget it afterwards.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    details: While a key or the genesis is null, the record after the change is null, too.
  diff_mode:
    support: full
    details: Shows the file before and after.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Put a sealer on record
  smartenergy.clique.clique_network:
    path: "{{ inventory_dir }}/network/network.json"
    genesis:
      hash: "{{ genesis_result.hash }}"
      digest: "{{ genesis_result.digest }}"
      chain_id: 1337
      period_s: 5
      signers: "{{ genesis_result.signers }}"
    hosts:
      sealer1:
        role: sealer
        roles: [sealer]
        address: "0x52908400098527886E0F7030069857D2E4169EE7"
        node_public_key: "{{ node_public_key }}"
        enode: "enode://{{ node_public_key }}@192.0.2.11:30311"
        ip: 192.0.2.11
        port: 30311
"""

RETURN = r"""
network:
  description: The record's content. Null in check mode where it cannot be known yet.
  type: dict
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils import _network
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "genesis": {
                "type": "dict",
                "required": True,
                # Null is what check mode knows of a genesis that is not made yet: none is required here.
                "options": {
                    "hash": {"type": "str"},
                    "digest": {"type": "str"},
                    "chain_id": {"type": "int"},
                    "period_s": {"type": "int"},
                    "signers": {"type": "list", "elements": "str"},
                },
            },
            "hosts": {"type": "dict", "required": True},
            "forget": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    asked = module.params
    path = Path(asked["path"])
    try:
        recorded = _network.read(path)
        if _network.unknown(asked["genesis"], asked["hosts"]) and module.check_mode:
            network = None
        else:
            network = _network.merge(recorded, asked["genesis"], asked["hosts"], path, asked["forget"])
        if network is not None and network != recorded and not module.check_mode:
            with in_folder(path.parent, mode=0o755):
                write_atomic(path, _network.as_file(network).encode(), mode=0o644)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=network is None or network != recorded,
        network=network,
        diff={"before": recorded and _network.as_file(recorded), "after": network and _network.as_file(network)},
    )


if __name__ == "__main__":
    main()
