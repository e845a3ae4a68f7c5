#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module clique_firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clique_firewall
short_description: Keep what a host lets in, without locking oneself out
version_added: "0.1.0"
description:
  - Keeps a table of nftables' (C(inet smartenergy)) whose input chain drops what no rule lets in, and a systemd unit
    that loads it at boot. Other tables stay as they are.
  - What belongs to an open connection, loopback, ICMP and DHCP are always let in.
  - Changed rules are tried out first (RV(pending)). Unless the module is called again with O(keep) within O(try_s)
    seconds, the host goes back to the rules that it had. Make that call over a new connection; one that is open proves
    nothing.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  rules:
    description: What is let in.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the port is for.
        type: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        required: true
      port:
        description: The port.
        type: int
        required: true
      sources:
        description: IPv4 and IPv6 addresses or networks that reach it; with null everybody, with an empty list nobody.
        type: list
        elements: str
  keep:
    description: Make the rules that are being tried out permanent.
    type: bool
    default: false
  try_s:
    description: Seconds after which rules that nobody kept are taken back.
    type: int
    default: 60
  state:
    description: Whether the table is there.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the rules and the unit.
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Let in SSH, and peers of the network
  smartenergy.clique.clique_firewall: &firewall
    rules:
      - {name: ssh, protocol: tcp, port: 22}
      - {name: p2p, protocol: tcp, port: 30311, sources: [192.0.2.11, 192.0.2.12]}
  register: firewall

- name: Come in anew
  ansible.builtin.meta: reset_connection

- name: Keep the rules that let us in
  smartenergy.clique.clique_firewall:
    <<: *firewall
    keep: true
"""

RETURN = r"""
pending:
  description: Whether the rules are only being tried out.
  type: bool
  returned: success
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._firewall import Firewall, Rule, State


def wanted(asked: list[dict[str, Any]]) -> list[Rule]:
    """Read the option rules; raises CliqueError."""
    return [
        Rule(rule["name"], rule["protocol"], rule["port"], None if rule["sources"] is None else tuple(rule["sources"]))
        for rule in asked
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "rules": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
                    "port": {"type": "int", "required": True},
                    "sources": {"type": "list", "elements": "str"},
                },
            },
            "keep": {"type": "bool", "default": False},
            "try_s": {"type": "int", "default": 60},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    firewall = Firewall()
    absent = asked["state"] == "absent"
    try:
        if asked["try_s"] < 1:
            raise CliqueError(f"try_s has to be at least 1, and {asked['try_s']} is not")  # noqa: TRY301
        rules = wanted(asked["rules"])
        before = firewall.look()
        after = State(None, None, enabled=False, loaded=None) if absent else firewall.plan(rules)
        changed = before != after
        if changed and not module.check_mode:
            if absent:
                firewall.remove()
            elif asked["keep"]:
                firewall.keep(after)
            else:
                firewall.try_out(after, seconds=asked["try_s"])
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=changed,
        pending=changed and not absent and not asked["keep"],
        diff={"before": asdict(before), "after": asdict(after)},
    )


if __name__ == "__main__":
    main()
