#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module python_bundle."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: python_bundle
short_description: Keep a Python package and all that it imports in one archive, for another machine
version_added: "0.1.0"
description:
  - Fetches the wheels that a requirements file pins, for the architecture and the Python of the machine that is to
    have them, and puts what is in them into one archive, together with a package from a folder.
  - M(smartenergy.clique.python_environment) makes an environment of it, on a machine that needs neither pip nor a
    package index.
  - Wheels and archive are kept in a cache. Nothing is fetched again before the requirements change, so that a change
    of the package needs no network.
  - Which index, mirror, proxy and certificates to use is what pip is told by its configuration and by its environment
    (E(PIP_INDEX_URL), E(HTTPS_PROXY)).
extends_documentation_fragment:
  - smartenergy.clique.attributes
options:
  cache_dir:
    description: Folder for the wheels and the archives. It is made where it is missing.
    type: path
    required: true
  requirements:
    description: Requirements file with every dependency, each with its version and hashes and without a marker.
    type: path
    required: true
  package:
    description: Folder of a package in pure Python that is to be importable there, too.
    type: path
    required: true
  arch:
    description: Architecture of that machine, as C(uname -m) names it.
    type: str
    choices: [aarch64, x86_64]
    required: true
  python_version:
    description: Version of its Python, a CPython, as in V(3.11).
    type: str
    required: true
  index_url:
    description: Package index to fetch from, instead of the one that pip is told to use.
    type: str
attributes:
  check_mode:
    support: full
    details: The archive's path and sum are null until it is there.
  diff_mode:
    support: full
    details: Shows which archive would be made.
requirements:
  - pip
author:
  - The smartenergy.clique authors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Have the bridge in an archive for a Raspberry Pi
  smartenergy.clique.python_bundle:
    cache_dir: ~/.cache/smartenergy.clique/python
    requirements: files/requirements.txt
    package: files/energy_bridge/src/energy_bridge
    arch: aarch64
    python_version: "3.11"
  delegate_to: localhost
  register: bundle
"""

RETURN = r"""
name:
  description: Name of what is in the archive. Whatever changes its content changes this name.
  type: str
  returned: success
  sample: cp311-aarch64-0123456789ab
archive:
  description: Path of the archive; null in check mode where there is none.
  type: str
  returned: success
sha256:
  description: Its sha256; null in check mode where there is none.
  type: str
  returned: success
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, sentence
from ansible_collections.smartenergy.clique.plugins.module_utils._python_bundle import (
    ARCHITECTURES,
    bundle,
    checksum,
    read,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cache_dir": {"type": "path", "required": True},
            "requirements": {"type": "path", "required": True},
            "package": {"type": "path", "required": True},
            "arch": {"type": "str", "choices": list(ARCHITECTURES), "required": True},
            "python_version": {"type": "str", "required": True},
            # An index may have its password in its URL.
            "index_url": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    environ = {**os.environ, "PIP_INDEX_URL": asked["index_url"]} if asked["index_url"] else dict(os.environ)
    try:
        wanted = read(
            Path(asked["requirements"]),
            Path(asked["package"]),
            python_version=asked["python_version"],
            arch=asked["arch"],
        )
        archive = Path(asked["cache_dir"]).absolute() / f"{wanted.name}.zip"
        there = checksum(archive)
        if there is None and not module.check_mode:
            bundle(archive.parent, wanted, environ)
        known = checksum(archive)
    except (CliqueError, OSError) as error:
        module.fail_json(msg=sentence(error))
    module.exit_json(
        changed=there is None,
        name=wanted.name,
        archive=str(archive) if known else None,
        sha256=known,
        diff={"before": {"archive": str(archive) if there else None}, "after": {"archive": str(archive)}},
    )


if __name__ == "__main__":
    main()
