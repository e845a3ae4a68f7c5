#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A geth data directory that holds this genesis and no other."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: geth_init
short_description: A geth data directory that holds this genesis and no other
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Initialises a geth data directory with a genesis, and finishes an initialisation that was cut off.
  - Of a directory that holds a chain already it proves that it is this one, with its chain config (chain id, period,
    epoch, forks), which the genesis hash does not cover. Asks the running node over its Unix socket, else the database.
  - Refuses another chain, naming each field that differs. Never changes a genesis.
  - Needs nothing but Python's standard library and geth.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.owner
options:
  datadir:
    description: The data directory (C(geth --datadir)).
    type: path
    required: true
  genesis:
    description: The content of genesis.json. May be null in check mode only.
    type: dict
  genesis_hash:
    description: Its hash, as M(smartenergy.clique.clique_genesis) returns it. May be null in check mode only.
    type: str
  geth:
    description: Path of the geth program. May be null in check mode only.
    type: path
  ipc:
    description: The node's Unix socket. By default geth.ipc in the data directory.
    type: path
  state_scheme:
    description: How the state is stored; the node has to be started with the same.
    type: str
    choices: [hash, path]
    default: hash
attributes:
  check_mode:
    details: Predicts the same result, without geth where it is not there yet.
    support: full
  diff_mode:
    details: Shows the genesis hash before and after.
    support: full
"""

EXAMPLES = r"""
- name: Begin the chain
  smartenergy.clique.geth_init:
    datadir: /var/lib/clique/geth
    genesis: "{{ genesis_result.genesis }}"
    genesis_hash: "{{ genesis_result.hash }}"
    geth: /usr/local/bin/geth
    owner: clique
"""

RETURN = r"""
genesis_hash:
  description: Hash of block 0. Null where check mode cannot know it.
  type: str
  returned: always
digest:
  description: Sha256 of the canonical genesis. Null where check mode cannot know it.
  type: str
  returned: always
running:
  description: Whether a node runs on this data directory.
  type: bool
  returned: always
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_init import (
    Chain,
    bring_about,
    diff,
    observe,
    summary,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "datadir": {"type": "path", "required": True},
            "genesis": {"type": "dict"},
            "genesis_hash": {"type": "str"},
            "geth": {"type": "path"},
            "ipc": {"type": "path"},
            "state_scheme": {"type": "str", "choices": ["hash", "path"], "default": "hash"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    datadir = Path(given["datadir"])
    chain = Chain(
        datadir=datadir,
        genesis=given["genesis"],
        genesis_hash=given["genesis_hash"],
        geth=Path(given["geth"]) if given["geth"] else None,
        ipc=Path(given["ipc"]) if given["ipc"] else datadir / "geth.ipc",
        state_scheme=given["state_scheme"],
        owner=given["owner"],
        group=given["group"],
    )
    try:
        state = observe(chain, time)
        if not state.is_done and not module.check_mode:
            bring_about(chain, state)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(changed=not state.is_done, diff=diff(chain, state), **summary(chain, state))


if __name__ == "__main__":
    main()
