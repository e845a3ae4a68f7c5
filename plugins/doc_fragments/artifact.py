# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is told of a contract."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that reads an artefact."""

    DOCUMENTATION = r"""
options:
  artifact:
    description:
      - The artefact of the contract, as M(smartenergy.clique.contract_compile), Truffle, Hardhat or Foundry write one,
        or solc's standard JSON output. Which of them it is shows in its content.
    type: dict
  artifact_file:
    description: A JSON file with the artefact, where the module runs.
    type: path
  contract:
    description: Which contract is meant, as C(Name) or C(file:Name), where the artefact has several.
    type: str
"""
