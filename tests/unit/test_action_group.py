# SPDX-License-Identifier: GPL-3.0-or-later
"""A play says once, for the whole action group, which node to ask."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from support.chain import ARTIFACT, Chain

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    group/smartenergy.clique.clique: {ONE: "{{ place }}", timeout_s: 60}
  tasks:
    - smartenergy.clique.clique_info:
        wait_for: {head: 2}
      register: node

    - smartenergy.clique.contract_deploy:
        artifact_file: "{{ artifact }}"
        arguments: ["{{ admin }}", 900, 3600, 7200, false]
        salt: "{{ salt }}"
        keystore: "{{ keystore }}"
        password_file: "{{ password_file }}"
        deployments_dir: "{{ folder }}/deployments"
      register: market

    - smartenergy.clique.energy_market:
        address: "{{ market.address }}"
        abi: "{{ (lookup('file', artifact) | from_json).abi }}"
        keystore: "{{ keystore }}"
        password_file: "{{ password_file }}"
        operator: "{{ operator }}"
        meter: "{{ meter }}"
      check_mode: true
      register: energy_market

    - smartenergy.clique.clique_info:
        ONE: "{{ omit }}"
        OTHER: "{{ other_place }}"
      register: elsewhere

    - ansible.builtin.assert:
        that:
          - elsewhere.genesis_hash == node.genesis_hash
          - node.running and node.head.number >= 2
          - market is changed and market.block > 0
          - energy_market is changed and energy_market.message is not defined
"""


@pytest.mark.parametrize(("one", "other"), [("ipc", "rpc_url"), ("rpc_url", "ipc")])
def test_a_play_says_once_which_node_to_ask(chain: Chain, tmp_path: Path, one: str, other: str) -> None:
    (tmp_path / "play.yml").write_text(PLAY.replace("ONE", one).replace("OTHER", other))
    places = {"ipc": str(chain.node.ipc), "rpc_url": chain.url}
    variables = {
        "ansible_python_interpreter": sys.executable,
        "place": places[one],
        "other_place": places[other],
        "artifact": str(ARTIFACT),
        "admin": chain.admin.address,
        "salt": {"ipc": "0xac71", "rpc_url": "0xac72"}[one],
        "keystore": str(chain.keystore),
        "password_file": str(chain.password_file),
        "folder": str(tmp_path),
        "operator": Account.create().address,
        "meter": Account.create().address,
    }
    run = subprocess.run(
        [BIN / "ansible-playbook", "-i", "localhost,", "-e", json.dumps(variables), tmp_path / "play.yml"],
        cwd=CHECKOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
