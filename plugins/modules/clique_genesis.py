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
  - What makes no Clique network is refused, each fault by its name. A period of 0 is warned about, as is a timestamp
    more than an hour ahead.
extends_documentation_fragment:
  - smartenergy.clique.attributes
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
  source:
    description:
      - A genesis to adopt, as the path of its file or as a dictionary.
        Puppeth exports and what C(geth dumpgenesis) prints are read, with numbers in hex or decimal.
      - Where O(path) has no file yet, it is written there, in this collection's own spelling and with the same hash.
        A file that is there has to be the same genesis.
      - The other options describe what it has to have; what is left out may be anything.
        O(prefunded) then names some of its accounts, or all.
    type: raw
  chain_id:
    description:
      - Chain id, which is the network id as well.
      - Left out, it is the one of O(source), or else 1337.
    type: int
  period_s:
    description:
      - Seconds from one block to the next; with 0, a block is sealed for a transaction and never without one.
      - Left out, it is the one of O(source), or else 5.
    type: int
  epoch:
    description:
      - Number of blocks after which pending votes are dropped.
      - Left out, it is the one of O(source), or else 30000.
    type: int
  gas_limit:
    description:
      - Gas limit of a block. Give the sealers the same one as their target, else it drifts.
      - Left out, it is the one of O(source), or else 30000000.
    type: int
  base_fee_wei:
    description:
      - Base fee per gas of the first block, in wei. Later ones never fall below 7.
      - Left out, it is the one of O(source), or else 7 where London is on from block 0.
    type: int
  signers:
    description:
      - Addresses that may seal, in any order.
      - Left out or empty, they are the ones that the genesis file, O(source) or the network's record has.
        A new network needs at least one.
      - In check mode an address may be null where it is not known yet.
    type: list
    elements: raw
  prefunded:
    description:
      - Addresses that own something from the start, each with its balance in wei, best as a string, or with a
        dictionary of C(balance) and, where wanted, C(nonce), C(code) and C(storage).
      - Code, and the slots and words of storage, are 0x and hex digits in quotation marks.
      - Left out, they are the ones that the genesis file or O(source) has; in a new one, nobody.
    type: dict
  timestamp:
    description:
      - Time of the first block, the genesis, in seconds since the epoch. The block after it is due a period later,
        so with a time that lies some seconds ahead every sealer can be connected before anybody seals.
      - Left out, it is the one that the genesis file or O(source) has; in a new one, 0.
    type: int
  vanity:
    description:
      - Up to 32 bytes in front of the signers, as text or as 0x and hex digits.
      - Left out, they are the ones of O(source), or else zeros.
    type: str
  create2_proxy:
    description:
      - Whether the well-known deployment proxy stands at 0x4e59b44847b379578588920cA78FbF26c0B4956C,
        which makes the address of a contract depend on its code alone.
      - Left out, it does if it does in O(source), and without a source it does.
    type: bool
  precompile_dust:
    description:
      - Whether each of the 256 addresses from 0x00 to 0xff that is not in O(prefunded) owns 1 wei, as puppeth had it.
      - Left out, it is as the genesis file or O(source) has it; in a new one, they own nothing.
    type: bool
  forks:
    description:
      - The block from which each fork is on, by geth's name for the fork, such as C(berlin) or C(muirGlacier).
        Null is never.
      - Of the forks left out, those from C(homestead) to C(london) are on from block 0.
        With O(source), they are as they are there.
      - Only with C(london) at 0 has a new genesis a base fee, unless O(base_fee_wei) is given.
    type: dict
  nonce:
    description:
      - Nonce of the first block. Clique makes nothing of it.
      - Left out, it is the one of O(source), or else 0.
    type: int
attributes:
  check_mode:
    support: full
    details: While a signer's address is null, what depends on it is null, too.
  diff_mode:
    support: full
    details: Shows the file before and after.
requirements:
  - rlp
  - trie
seealso:
  - plugin: smartenergy.clique.clique_genesis_signers
    plugin_type: filter
    description: Reads the signers of any Clique genesis.
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

- name: Make the genesis of a network that turns London on later, with a contract that is there from the start
  smartenergy.clique.clique_genesis:
    path: "{{ inventory_dir }}/network/genesis.json"
    signers:
      - "0x52908400098527886E0F7030069857D2E4169EE7"
    forks:
      london: 1000
    precompile_dust: true
    prefunded:
      "0x7777777777777777777777777777777777777777":
        balance: "0"
        code: "0x600160005500"
        storage:
          "0x00": "0x2a"

- name: Adopt the genesis that puppeth made, if it is the one with chain id 4242
  smartenergy.clique.clique_genesis:
    path: "{{ inventory_dir }}/network/genesis.json"
    source: "{{ inventory_dir }}/puppeth/harmony.json"
    chain_id: 4242
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
chain_id:
  description: Chain id of the genesis.
  type: int
  returned: success
period_s:
  description: Seconds from one block to the next.
  type: int
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

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import (
    _genesis,
    _genesis_extra_data,
    _genesis_hash,
    _network,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_choice import (
    DEFAULTS,
    Choice,
    choice_of,
    filled,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_digest import canonical, canonical_digest
from ansible_collections.smartenergy.clique.plugins.module_utils._genesis_faults import warnings


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "network": {"type": "path"},
            "source": {"type": "raw"},
            "chain_id": {"type": "int"},
            "period_s": {"type": "int"},
            "epoch": {"type": "int"},
            "gas_limit": {"type": "int"},
            "base_fee_wei": {"type": "int"},
            "signers": {"type": "list", "elements": "raw"},
            "prefunded": {"type": "dict"},
            "timestamp": {"type": "int"},
            "vanity": {"type": "str"},
            "create2_proxy": {"type": "bool"},
            "precompile_dust": {"type": "bool"},
            "forks": {"type": "dict"},
            "nonce": {"type": "int"},
        },
        supports_check_mode=True,
    )
    if _genesis_hash.LIBRARY_ERROR is not None:
        module.fail_json(msg=missing_required_lib("rlp and trie"), exception=_genesis_hash.LIBRARY_ERROR)
    asked = module.params
    path = Path(asked["path"])
    choice = Choice(
        signers=tuple(asked["signers"]) if asked["signers"] else None,
        **{name: value for name, value in asked.items() if name not in ("path", "network", "source", "signers")},
    )
    try:
        existing = _genesis.read(path)
        record = _network.read(Path(asked["network"])) if asked["network"] else None
        source = None if asked["source"] is None else _genesis.read_source(asked["source"])
        genesis = _genesis.decide(choice, existing, source, record, path, may_be_unknown=module.check_mode)
        if existing is None and genesis is not None and not module.check_mode:
            with in_folder(path.parent, mode=0o755):
                write_atomic(path, _genesis.as_file(genesis).encode(), mode=0o644)
        known = choice_of(genesis) if genesis else filled(choice, DEFAULTS)
        result = {
            "chain_id": known.chain_id,
            "period_s": known.period_s,
            "genesis": genesis,
            "genesis_hash": genesis and _genesis_hash.genesis_hash(genesis),
            "digest": genesis and canonical_digest(genesis),
            "signers": genesis and _genesis_extra_data.signers(genesis),
            "extra_data": genesis and canonical(genesis)["extraData"],
        }
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    for warning in warnings(genesis, time.time()) if genesis else []:
        module.warn(warning)
    module.exit_json(
        changed=existing is None,
        path=str(path),
        **result,
        diff={"before": existing and _genesis.as_file(existing), "after": genesis and _genesis.as_file(genesis)},
    )


if __name__ == "__main__":
    main()
