# SPDX-License-Identifier: GPL-3.0-or-later
"""A module whose library is not there names it, and where it looked."""

import json
import subprocess
import sys
from typing import Any

import pytest

ACCOUNT = {"keystore": "/k", "password_file": "/p"}
RUN = """
import runpy, sys
from ansible.module_utils.testing import patch_module_args
name, library, arguments = sys.argv[1], sys.argv[2], __import__("json").loads(sys.argv[3])
sys.modules[library] = None  # as if it were not installed
with patch_module_args(arguments):
    runpy.run_module(f"ansible_collections.smartenergy.clique.plugins.modules.{name}", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "library", "called", "arguments"),
    [
        ("contract_compile", "solcx", "py-solc-x", {"sources": [], "artifacts": "/a"}),
        ("contract_call", "web3", "web3", {"ipc": "/i", "abi": [], "function": "f"}),
        ("contract_deploy", "web3", "web3", {"ipc": "/i", "artifact": {}, "deployments_dir": "/d", **ACCOUNT}),
        ("contract_transaction", "web3", "web3", {"ipc": "/i", "abi": [], "function": "f", **ACCOUNT}),
        ("energy_market", "web3", "web3", {"ipc": "/i", "abi": [], **ACCOUNT}),
    ],
)
def test_a_missing_library_is_named(module: str, library: str, called: str, arguments: dict[str, Any]) -> None:
    command = [sys.executable, "-c", RUN, module, library, json.dumps(arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = json.loads(run.stdout)
    assert answer["failed"] is True
    assert answer["msg"].startswith(f"Failed to import the required Python library ({called})")
