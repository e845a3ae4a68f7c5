#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module udp_source_keys."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: udp_source_keys
short_description: Keep a secret for each source of UDP readings
version_added: "0.1.0"
description:
  - Makes the secrets that are missing from the file with which the energy bridge authenticates its sources.
  - A secret is 32 random bytes, made on the host that uses it. None is ever shown. None is replaced or removed unless
    O(rotate) or O(retire) asks for it.
  - A source needs its secret, and only its own, to sign what it sends.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.owner
options:
  path:
    description:
      - JSON file with an object of source names and secrets in hex digits. Where a source has more than one, they are a
        list. The first is the one to use, and the bridge takes the others too.
      - It is made, with mode 0600, where it is missing, and so is its folder, with mode 0700.
    type: path
    required: true
  sources:
    description: Names of the sources. Others that the file has stay in it.
    type: list
    elements: str
    default: []
  rotate:
    description:
      - Names of sources that get a new secret. What they have stays valid until it is retired.
      - Every run with it makes another one. Put it into a playbook of its own.
    type: list
    elements: str
    default: []
  retire:
    description:
      - Names of sources of whose secrets only the first stays valid.
      - A source that is in O(rotate) too has a new secret and no other at once, as after a theft.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows how many secrets each source has and which of them are new; never a secret.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep a secret for each source
  smartenergy.clique.udp_source_keys:
    path: /var/lib/clique/bridge/source-keys.json
    sources: [load, pv, chp, battery, grid]
    owner: clique
    group: clique

- name: Give pv a new secret, and take the former too until it is retired
  smartenergy.clique.udp_source_keys:
    path: /var/lib/clique/bridge/source-keys.json
    rotate: [pv]
    owner: clique
    group: clique
"""

RETURN = r"""
sources:
  description: Names of all sources that have a secret, sorted.
  type: list
  elements: str
  returned: success
  sample: [battery, chp, grid, load, pv]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._udp_source_keys import (
    plan_keys,
    read_keys,
    show_plan,
    write_keys,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            **{name: {"type": "list", "elements": "str", "default": []} for name in ("sources", "rotate", "retire")},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    path = Path(asked["path"])
    try:
        keys = read_keys(path)
        plan = plan_keys(keys, sources=asked["sources"], rotate=asked["rotate"], retire=asked["retire"])
        changed = plan != keys
        if changed and not module.check_mode:
            write_keys(path, plan, owner=asked["owner"], group=asked["group"])
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    diff = {"before": show_plan(keys, keys), "after": show_plan(keys, plan)}
    module.exit_json(changed=changed, sources=sorted(plan), diff=diff)


if __name__ == "__main__":
    main()
