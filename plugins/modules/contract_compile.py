#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Solidity sources, compiled to artefacts."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: contract_compile
short_description: Compile Solidity sources to artefacts
version_added: "0.1.0"
author:
  - The smartenergy.clique authors (!UNKNOWN)
description:
  - Compiles Solidity sources through py-solc-x.
  - Writes one Truffle-style JSON artefact for each contract that can be deployed, with the places of its libraries and
    immutables, as M(smartenergy.clique.contract_deploy) needs them.
  - The code is reproducible. The same sources, compiler version and settings give the same bytes on every machine.
requirements:
  - py-solc-x
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  sources:
    description:
      - The source files. They are compiled together, and can import each other by name, as in C(import "./Other.sol").
    type: list
    elements: path
    required: true
  import_paths:
    description:
      - Directories in which other imports are looked for, such as C(node_modules) for
        C(import "@openzeppelin/contracts/access/Ownable.sol"). What is imported from there makes no artefact.
    type: list
    elements: path
    default: []
  artifacts:
    description: The directory of the artefacts; each is called after its contract, with C(.json) behind it.
    type: path
    required: true
  solc:
    description:
      - The compiler, by its path or by its name in E(PATH).
      - Any program will do that answers C(--version) and C(--standard-json) as solc does.
    type: str
    default: solc
  evm_version:
    description: The version of the virtual machine. A Clique chain on geth 1.13 ends at london.
    type: str
    default: london
  optimizer_runs:
    description: How often a piece of code is expected to run. More makes calls cheaper and the code longer.
    type: int
    default: 10000
  via_ir:
    description: Compile through the compiler's intermediate language.
    type: bool
    default: false
attributes:
  check_mode:
    details: Compiles and compares, and writes nothing.
    support: full
  diff_mode:
    details: Shows the text of each artefact that changes.
    support: full
"""

EXAMPLES = r"""
- name: Compile a contract of our own
  smartenergy.clique.contract_compile:
    sources:
      - "{{ playbook_dir }}/contracts/Tariff.sol"
    import_paths:
      - "{{ playbook_dir }}/node_modules"
    artifacts: "{{ playbook_dir }}/contracts/artifacts"
    solc: /usr/local/bin/solc
  delegate_to: localhost
"""

RETURN = r"""
artifacts:
  description: The paths of the artefacts, by the name of the contract.
  type: dict
  returned: success
  sample: {Tariff: /home/me/contracts/artifacts/Tariff.json}
compiler:
  description: The version of the compiler.
  type: str
  returned: success
  sample: 0.8.37+commit.f401782d
remarks:
  description: What the compiler warned of.
  type: list
  elements: str
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.smartenergy.clique.plugins.module_utils import _contract_compile as backend
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "list", "elements": "path", "required": True},
            "import_paths": {"type": "list", "elements": "path", "default": []},
            "artifacts": {"type": "path", "required": True},
            "solc": {"type": "str", "default": "solc"},
            "evm_version": {"type": "str", "default": "london"},
            "optimizer_runs": {"type": "int", "default": 10000},
            "via_ir": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if backend.MISSING:
        module.fail_json(msg=missing_required_lib("py-solc-x"), exception=backend.MISSING)
    given = module.params
    directory = Path(given["artifacts"])
    settings = backend.Settings(given["evm_version"], given["optimizer_runs"], given["via_ir"])
    try:
        compiled = backend.compile_sources(
            [Path(source) for source in given["sources"]],
            solc=given["solc"],
            settings=settings,
            import_paths=[Path(place) for place in given["import_paths"]],
        )
        different = backend.differences(compiled.artifacts, directory)
        if different and not module.check_mode:
            backend.write(compiled.artifacts, list(different), directory)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=bool(different),
        diff=[
            {
                "before_header": str(directory / name),
                "after_header": str(directory / name),
                "before": before or "",
                "after": compiled.artifacts[name],
            }
            for name, before in different.items()
        ],
        artifacts={name.removesuffix(".json"): str(directory / name) for name in compiled.artifacts},
        compiler=compiled.compiler,
        remarks=compiled.remarks,
    )


if __name__ == "__main__":
    main()
