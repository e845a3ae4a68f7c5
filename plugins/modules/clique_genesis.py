#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_genesis."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_genesis
short_description: Make the genesis of a Clique network, once
version_added: "0.1.0"
description:
  - Writes the genesis file of a private Ethereum network that is sealed by Clique proof of authority,
    and computes the hash of its first block before any node has started.
  - A genesis file that is there is never written again. Where it is not what is asked for, the module fails and names
    each field that differs.
  - Forks are on up to London, from the first block on; what came later does not work with Clique.
options:
  path:
    description: The genesis file. Its folder is made where it is missing.
    type: path
    required: true
  network:
    description:
      - The record that M(smartenergy.clique.clique_network) keeps of the network.
      - Where it exists and the genesis file is lost, only the genesis on record is made again.
    type: path
  chain_id:
    description: Chain id, which is the network id as well.
    type: int
    default: 1337
  period_s:
    description: Seconds from one block to the next.
    type: int
    default: 5
  epoch:
    description: Number of blocks after which pending votes are dropped.
    type: int
    default: 30000
  gas_limit:
    description: Gas limit of a block. Give the sealers the same one as their target, else it drifts.
    type: int
    default: 30000000
  base_fee_wei:
    description: Base fee per gas of the first block, in wei. Later ones never fall below 7.
    type: int
    default: 7
  signers:
    description:
      - Addresses that may seal, in any order.
      - Left out or empty, they are the ones that the genesis file or the network's record has.
        A new network needs at least one.
      - In check mode an address may be null where it is not known yet.
    type: list
    elements: raw
  prefunded:
    description:
      - Addresses that own something from the start, each with its balance in wei, best as a string.
      - Left out, they are the ones that the genesis file has; in a new one, nobody.
    type: dict
  timestamp:
    description:
      - Time of the first block, the genesis, in seconds since the epoch. The block after it is due a period later,
        so with a time that lies some seconds ahead every sealer can be connected before anybody seals.
      - Left out, it is the one that the genesis file has; in a new one, 0.
    type: int
  vanity:
    description: Up to 32 bytes in front of the signers, as text or as 0x and hex digits.
    type: str
    default: ""
  create2_proxy:
    description:
      - Whether the well-known deployment proxy stands at 0x4e59b44847b379578588920cA78FbF26c0B4956C,
        which makes the address of a contract depend on its code alone.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode. While a signer's address is null, what depends on it is null, too.
  diff_mode:
    support: full
    description: Shows the file before and after.
requirements:
  - rlp
  - trie
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Make the genesis of a network with two sealers
  smartenergy.clique.clique_genesis:
    path: "{{ inventory_dir }}/network/genesis.json"
    chain_id: 1337
    period_s: 5
    signers:
      - "0x52908400098527886E0F7030069857D2E4169EE7"
      - "0x8617E340B3D01FA5F11F306F4090FD50E238070D"
    prefunded:
      "0x52908400098527886E0F7030069857D2E4169EE7": "1000000000000000000000"
"""

RETURN = r"""
path:
  description: The genesis file.
  type: str
  returned: success
genesis:
  description: Content of the genesis file.
  type: dict
  returned: success
genesis_hash:
  description: Hash of the first block, as every node will report it.
  type: str
  returned: success
  sample: "0xbf7e331f7f7c1dd2e05159666b3bf8bc7a8a3a9eb1d518969eab529dd9b88c1a"
digest:
  description: Sha256 of the canonical genesis, which covers chain id and period, unlike the hash.
  type: str
  returned: success
signers:
  description: Checksummed addresses that may seal, in the order of the genesis.
  type: list
  elements: str
  returned: success
extra_data:
  description: The genesis' extra data, with vanity and signers in it.
  type: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _genesis, _network
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._files import make_directory, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical_digest


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "network": {"type": "path"},
            "chain_id": {"type": "int", "default": 1337},
            "period_s": {"type": "int", "default": 5},
            "epoch": {"type": "int", "default": 30000},
            "gas_limit": {"type": "int", "default": 30_000_000},
            "base_fee_wei": {"type": "int", "default": 7},
            "signers": {"type": "list", "elements": "raw"},
            "prefunded": {"type": "dict"},
            "timestamp": {"type": "int"},
            "vanity": {"type": "str", "default": ""},
            "create2_proxy": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if _genesis.LIBRARY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("rlp and trie"), exception=_genesis.LIBRARY_ERROR)
    asked = module.params
    path = Path(asked["path"])
    choice = _genesis.Choice(
        signers=tuple(asked["signers"]) if asked["signers"] else None,
        **{name: value for name, value in asked.items() if name not in ("path", "network", "signers")},
    )
    try:
        existing = _genesis.read(path)
        record = _network.read(Path(asked["network"])) if asked["network"] else None
        genesis = _genesis.decide(choice, existing, record, path, may_be_unknown=module.check_mode)
        if existing is None and genesis is not None and not module.check_mode:
            make_directory(path.parent, mode=0o755)
            write_atomic(path, _genesis.as_file(genesis).encode(), mode=0o644)
        result = {
            "genesis": genesis,
            "genesis_hash": genesis and _genesis.genesis_hash(genesis),
            "digest": genesis and canonical_digest(genesis),
            "signers": genesis and _genesis.signers(genesis),
            "extra_data": genesis and genesis["extraData"],
        }
    except CliqueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=existing is None,
        path=str(path),
        **result,
        diff={"before": existing and _genesis.as_file(existing), "after": genesis and _genesis.as_file(genesis)},
    )


if __name__ == "__main__":
    main()
