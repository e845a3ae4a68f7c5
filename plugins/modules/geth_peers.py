#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A geth node's static peers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: geth_peers
short_description: A geth node's static peers
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Writes the static peers of a node to a TOML file for C(geth --config), and tells a running node who came and went,
    so that no node has to restart for it. The node is told first - what is cut off in between is told again.
  - Needs nothing but Python's standard library.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.owner
options:
  file:
    description: The TOML file. It is wholly this module's.
    type: path
    required: true
  enodes:
    description: All static peers. May be null in check mode only.
    type: list
    elements: str
  ipc:
    description: The node's Unix socket. Where nobody answers only the file is written.
    type: path
attributes:
  check_mode:
    details: Writes and tells nothing.
    support: full
  diff_mode:
    details: Shows the file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Know the other sealers
  smartenergy.clique.geth_peers:
    file: /var/lib/clique/peers.toml
    enodes: "{{ enodes_of_the_others }}"
    ipc: /var/lib/clique/geth/geth.ipc
    owner: clique
"""

RETURN = r"""
added:
  description: Peers that came. Null where check mode cannot know them.
  type: list
  elements: str
  returned: always
removed:
  description: Peers that went. Null where check mode cannot know them.
  type: list
  elements: str
  returned: always
told:
  description: Whether a running node was told. Null in check mode.
  type: bool
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._files import write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_peers import plan, tell
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import Rpc


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "enodes": {"type": "list", "elements": "str"},
            "ipc": {"type": "path"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given = module.params
    file = Path(given["file"])
    told = None
    try:
        if given["enodes"] is None and not module.check_mode:
            raise CliqueError("there are no enodes to write: give a list, which may be empty")  # noqa: TRY301
        wanted = plan(file, given["enodes"])
        if not module.check_mode:
            told = bool(given["ipc"] and wanted.is_news and tell(Rpc(given["ipc"]), wanted))
            if wanted.changed and wanted.after is not None:
                write_atomic(file, wanted.after.encode(), mode=0o644, owner=given["owner"], group=given["group"])
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=wanted.changed,
        added=wanted.added,
        removed=wanted.removed,
        told=told,
        diff={"before": wanted.before or "", "after": wanted.after or ""},
    )


if __name__ == "__main__":
    main()
