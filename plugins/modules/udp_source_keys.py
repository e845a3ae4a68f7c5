#!/usr/bin/python
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
  - A secret is 32 random bytes, made on the host that uses it. None is ever shown, replaced or removed.
  - A source needs its secret, and only its own, to sign what it sends.
extends_documentation_fragment:
  - smartenergy.clique.owner
options:
  path:
    description:
      - JSON file with an object of source names and secrets in hex digits.
      - It is made, with mode 0600, where it is missing, and so is its folder, with mode 0700.
    type: path
    required: true
  sources:
    description: Names of the sources. Others that the file has stay in it.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: full
    description: Shows which sources have a secret; never a secret.
author:
  - The smartenergy.clique authors
"""

EXAMPLES = r"""
- name: Keep a secret for each source
  smartenergy.clique.udp_source_keys:
    path: /var/lib/clique/bridge/source-keys.json
    sources: [load, pv, chp, battery, grid]
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
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._udp_source_keys import add_missing, read_keys


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "sources": {"type": "list", "elements": "str", "required": True},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    path = Path(asked["path"])
    try:
        keys = read_keys(path)
        before, after = sorted(keys), sorted({*keys, *asked["sources"]})
        if before != after and not module.check_mode:
            add_missing(path, keys, asked["sources"], owner=asked["owner"], group=asked["group"])
    except CliqueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=before != after, sources=after, diff={"before": {"sources": before}, "after": {"sources": after}}
    )


if __name__ == "__main__":
    main()
