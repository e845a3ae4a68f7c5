# SPDX-License-Identifier: GPL-3.0-or-later
"""The checkout as a collection: its tarball, and that it works in place."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# Tracked by git and not in the tarball: what only a checkout needs, and galaxy.yml, which becomes MANIFEST.json.
NOT_SHIPPED = {".ci/run", ".gitignore", "galaxy.yml"}
# Made by the build.
MADE = {"MANIFEST.json", "FILES.json"}


def test_tarball_holds_what_git_tracks(tmp_path: Path) -> None:
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", "--output-path", tmp_path, CHECKOUT],
        check=True,
        capture_output=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "ANSIBLE_HOME": str(tmp_path)},
    )
    (tarball,) = tmp_path.glob("smartenergy-clique-*.tar.gz")
    with tarfile.open(tarball) as archive:
        shipped = {member.name for member in archive.getmembers() if not member.isdir()}
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tracked = {name for name in listing.splitlines() if (CHECKOUT / name).exists()}
    assert shipped - MADE == tracked - NOT_SHIPPED


@pytest.mark.parametrize(("kind", "folder"), [("module", "modules"), ("filter", "filter")])
def test_plugins_are_found_by_their_full_name_in_place(kind: str, folder: str) -> None:
    run = subprocess.run(
        [BIN / "ansible-doc", "--type", kind, "--list", "--json", "smartenergy.clique"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    plugins = {path.stem for path in (CHECKOUT / "plugins" / folder).glob("*.py")}
    listed = json.loads(run.stdout)
    assert set(listed) == {f"smartenergy.clique.{plugin}" for plugin in plugins}
    assert all(listed.values()), "a plugin has no short description"
