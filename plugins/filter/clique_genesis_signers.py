# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter clique_genesis_signers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: clique_genesis_signers
short_description: Read the signers back from a Clique genesis
version_added: "0.1.0"
description:
  - Gives the addresses that may seal, as the extra data of a Clique genesis names them.
    A checkpoint block names them, too.
  - What is none of Clique's extra data is an error, as is one without a signer.
positional: _input
options:
  _input:
    description:
      - The extra data, as 0x and hex digits, or a genesis or a block that has one under C(extraData) or C(extradata).
    type: raw
    required: true
author:
  - The smartenergy.clique authors
seealso:
  - plugin: smartenergy.clique.clique_genesis
    plugin_type: module
"""

EXAMPLES = r"""
- name: Say who may seal in a network of another's making
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'genesis.json') | from_json | smartenergy.clique.clique_genesis_signers }}"

- name: The same, from the extra data alone
  ansible.builtin.debug:
    msg: "{{ made.extra_data | smartenergy.clique.clique_genesis_signers }}"
"""

RETURN = r"""
_value:
  description: Checksummed addresses in the order in which they stand there.
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.smartenergy.clique.plugins.module_utils import _genesis_extra_data
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError


def clique_genesis_signers(source: Any) -> list[str]:
    try:
        return _genesis_extra_data.signers(source)
    except CliqueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[[Any], list[str]]]:
        return {"clique_genesis_signers": clique_genesis_signers}
