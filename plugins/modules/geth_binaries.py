#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module geth_binaries."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: geth_binaries
short_description: Build geth and its companions from source, once
version_added: "0.1.0"
description:
  - Builds programs of go-ethereum from its Go module, whose source Go verifies against its checksum database;
    without cgo, and without any path of the building machine in them.
  - Other sources are a commit of a git repository, an archive, and programs that somebody else has built.
  - Patches can be applied to the source. Geth that was built with some names them in C(geth version),
    and says C(modified) to its clients.
  - What was built is kept in a folder of its own, with a C(manifest.json) that has the sha256 of each program.
    It is built again only where version, architecture, programs, flags or patches differ, or where a program is no
    longer what was built.
  - A newer or older Go does not build again what is there.
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  cache_dir:
    description: Folder that holds a folder for each build. It is made where it is missing.
    type: path
    required: true
  version:
    description: Version of go-ethereum. 1.13.15 is the last one with a Clique sealer.
    type: str
    default: 1.13.15
  arch:
    description: Architecture to build for, as Go names it. Any of them can be built on any machine.
    type: str
    choices: [amd64, arm64, arm, "386"]
    required: true
  arm_version:
    description: Version of the ARM architecture, for O(arch=arm) only.
    type: str
    choices: ["6", "7"]
    default: "7"
  programs:
    description: Programs to build, by the names they have in the folder C(cmd) of the source.
    type: list
    elements: str
    default: [geth, bootnode]
  ldflags:
    description: Flags for Go's linker. What a newer Go needs on top of them for this source is added.
    type: str
    default: -s -w
  git:
    description: The repository with the source, instead of the Go module.
    type: dict
    suboptions:
      url:
        description: The repository, as git names it.
        type: str
        required: true
      commit:
        description: The whole name of the commit, 40 hexadecimal digits.
        type: str
        required: true
  archive:
    description: A tar file with the source, instead of the Go module.
    type: dict
    suboptions:
      url: &url
        description: The file, by its path or its URL.
        type: str
        required: true
      sha256: &sha256
        description: What its sha256 has to be, in hex.
        type: str
        required: true
  binaries:
    description: A file for each program, which is taken as it is. Then no Go is needed.
    type: list
    elements: dict
    suboptions:
      name:
        description: The program.
        type: str
        required: true
      url: *url
      sha256: *sha256
  patches:
    description:
      - Unified diffs by their names, with paths from the top of the source, applied in this order.
        One that does not fit the source ends the module.
      - Programs that are built already cannot have any.
    type: dict
    default: {}
  go:
    description:
      - The program go, by its path. Without it go is taken from E(PATH).
      - It is needed only where something has to be built.
    type: path
attributes:
  check_mode:
    support: full
    details: Paths and sums are null until it is built.
  diff_mode:
    support: full
    details: Shows which folder of the cache would be made or made anew.
requirements:
  - Go 1.21 or newer, where something has to be built
  - git, where the source comes from a repository or is patched
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Build geth and bootnode for Raspberry Pis with a 64-bit system
  smartenergy.clique.geth_binaries:
    cache_dir: "{{ playbook_dir }}/build/geth"
    arch: arm64
  register: built

- name: Show where they are
  ansible.builtin.debug:
    var: built.binaries
"""

RETURN = r"""
directory:
  description: Folder with the programs and their manifest.
  type: str
  returned: success
manifest:
  description:
    - Version, target, flags, source, patches with their sha256, Go and sums of what is built.
    - Null in check mode where nothing is.
  type: dict
  returned: success
binaries:
  description: For each program its C(path) and its C(sha256). Both are null in check mode where nothing is built.
  type: dict
  returned: success
  sample: {"geth": {"path": "/cache/1.13.15-linux-arm64-0123456789ab/geth", "sha256": "9f86d081884c7d65…"}}
go_missing:
  description: True where the module failed because there is no Go, or none that is new enough.
  type: bool
  returned: failure
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_binaries import (
    ARCHITECTURES,
    Archive,
    Binaries,
    Checked,
    GitCommit,
    GoModule,
    NoGoError,
    Patch,
    Source,
    Wanted,
    build,
    look,
)


def source(asked: dict[str, Any]) -> Source:
    """Read where the programs come from; raises CliqueError."""
    if asked["git"]:
        return GitCommit(**asked["git"])
    if asked["archive"]:
        return Archive(Checked(**asked["archive"]))
    if asked["binaries"]:
        files = {file["name"]: Checked(file["url"], file["sha256"]) for file in asked["binaries"]}
        lacking = sorted({*asked["programs"]} - files.keys())
        if lacking:
            raise CliqueError(f"binaries has no file for {' and '.join(lacking)} on {asked['arch']}")
        return Binaries(tuple((program, files[program]) for program in sorted(set(asked["programs"]))))
    return GoModule()


def main() -> None:
    checked = {"url": {"type": "str", "required": True}, "sha256": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "cache_dir": {"type": "path", "required": True},
            "version": {"type": "str", "default": "1.13.15"},
            "arch": {"type": "str", "choices": list(ARCHITECTURES), "required": True},
            "arm_version": {"type": "str", "choices": ["6", "7"], "default": "7"},
            "programs": {"type": "list", "elements": "str", "default": ["geth", "bootnode"]},
            "ldflags": {"type": "str", "default": "-s -w"},
            "patches": {"type": "dict", "default": {}},
            "go": {"type": "path"},
            "git": {
                "type": "dict",
                "options": {"url": {"type": "str", "required": True}, "commit": {"type": "str", "required": True}},
            },
            "archive": {"type": "dict", "options": checked},
            "binaries": {
                "type": "list",
                "elements": "dict",
                "options": {"name": {"type": "str", "required": True}, **checked},
            },
        },
        mutually_exclusive=[["git", "archive", "binaries"]],
        supports_check_mode=True,
    )
    asked = module.params
    try:
        wanted = Wanted(
            version=asked["version"],
            arch=asked["arch"],
            arm_version=asked["arm_version"] if asked["arch"] == "arm" else None,
            programs=tuple(sorted(set(asked["programs"]))),
            ldflags=asked["ldflags"],
            source=source(asked),
            patches=tuple(Patch(name, text) for name, text in asked["patches"].items()),
        )
        cache = Path(asked["cache_dir"]).absolute()
        folder = cache / wanted.name
        before = state = look(folder, wanted)
        if before.flaw is not None and not module.check_mode:
            state = build(cache, wanted, asked["go"], os.environ)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error), go_missing=isinstance(error, NoGoError))
    built = None if state.manifest is None else state.manifest["sha256"]
    module.exit_json(
        changed=before.flaw is not None,
        directory=str(folder),
        manifest=state.manifest,
        binaries={
            program: {"path": built and str(folder / program), "sha256": built and built[program]}
            for program in wanted.programs
        },
        diff={"before": {wanted.name: before.flaw or "built"}, "after": {wanted.name: "built"}},
    )


if __name__ == "__main__":
    main()
