#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module geth_account."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: geth_account
short_description: Keep accounts in keystores of geth, each with a password of its own
version_added: "0.1.0"
description:
  - Makes what is missing of each account, a folder, a password or the account itself, and tells the address.
  - A password is 32 random bytes, made on the node that uses it. Neither it nor a key is ever shown or replaced.
  - A keystore that holds more than one account, or one whose password is gone, is refused.
  - An interrupted run is finished by the next one.
extends_documentation_fragment:
  - smartenergy.clique.attributes
  - smartenergy.clique.owner
options:
  accounts:
    description: The accounts, each in a keystore of its own.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What to call the account in the result.
        type: str
        required: true
      keystore:
        description: Folder of its key file. It is made, with mode 0700, where it is missing.
        type: path
        required: true
      password_file:
        description: File with its password. It is made, with mode 0600, where it is missing.
        type: path
        required: true
  geth:
    description: The program geth, by its path. It is needed only where an account has to be made.
    type: path
    required: true
  lightkdf:
    description:
      - Encrypt with less memory and time. The password is random and long enough not to need more.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    details: The address of an account that would be made is null.
  diff_mode:
    support: full
    details: Shows which accounts are there; never a secret.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Keep the account that this node seals with
  smartenergy.clique.geth_account:
    accounts:
      - name: sealer
        keystore: /var/lib/clique/geth/keystore
        password_file: /var/lib/clique/password
    geth: /usr/local/bin/geth
    owner: clique
    group: clique
  register: kept

- name: Show its address
  ansible.builtin.debug:
    var: kept.addresses.sealer
"""

RETURN = r"""
addresses:
  description: The address of each account by its name, as EIP-55 writes it. Null in check mode where there is none yet.
  type: dict
  returned: success
  sample: {"sealer": "0x9B8bdA6d0704cB640e93B3448db56F54eA7e5F7c"}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_account import accounts_from, look, make


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "accounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "keystore": {"type": "path", "required": True},
                    "password_file": {"type": "path", "required": True, "no_log": False},
                },
            },
            "geth": {"type": "path", "required": True},
            "lightkdf": {"type": "bool", "default": True},
            "owner": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        seen = {account: look(account) for account in accounts_from(asked["accounts"])}
        addresses = {account.name: there.address for account, there in seen.items()}
        missing = [account for account in seen if addresses[account.name] is None]
        if not module.check_mode:
            making = {"geth": Path(asked["geth"]), **{key: asked[key] for key in ("lightkdf", "owner", "group")}}
            addresses |= {account.name: make(account, seen[account], **making) for account in missing}
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=bool(missing),
        addresses=addresses,
        diff={
            "before": {account.name: "absent" if account in missing else "present" for account in seen},
            "after": {account.name: "present" for account in seen},
        },
    )


if __name__ == "__main__":
    main()
