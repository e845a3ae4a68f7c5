# SPDX-License-Identifier: GPL-3.0-or-later
"""Where geth and bootnode are."""

import os
from collections.abc import Mapping
from pathlib import Path

from support.modules import run_module
from support.network import CHECKOUT


def built(patches: Mapping[str, str] | None = None) -> Path:
    """The folder of geth and bootnode as they were built for this machine, with these patches by file name."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    answer = run_module(
        "geth_binaries", {"cache_dir": str(CHECKOUT / "build/geth"), "arch": arch, "patches": patches or {}}
    )
    assert not answer.get("failed"), answer
    return Path(answer["binaries"]["geth"]["path"]).parent
