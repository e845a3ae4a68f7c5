# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python package and all that it imports, in one archive for another machine. Private to this collection."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, in_folder

__all__ = ["ARCHITECTURES", "Wanted", "bundle", "checksum", "read"]

ARCHITECTURES = ("aarch64", "x86_64")
# In the key of what is built: another number where the same wheels would be put together in another way.
LAYOUT = 1
# Wheels name the oldest glibc that they run on, as 2.x; 2.36 is the one of Debian bookworm.
GLIBC_MINORS = range(5, 37)
SITE_PACKAGES = "site-packages"


@dataclass(frozen=True)
class Wanted:
    """Everything that decides what is in the archive, and nothing of the machine that puts it together."""

    requirements: bytes  # a requirements file with hashes
    package: str
    files: Mapping[str, bytes]  # by their paths in site-packages
    python_version: str  # as in 3.11
    arch: str

    @property
    def wheelhouse(self) -> str:
        """The folder of the wheels: another requirement, Python or architecture has another one."""
        return f"wheels-{self._target}-{_key(self.requirements)}"

    @property
    def name(self) -> str:
        """The archive's name, also changed by each file of the package."""
        files = [f"{path} {hashlib.sha256(content).hexdigest()}" for path, content in sorted(self.files.items())]
        return f"{self._target}-{_key(json.dumps([LAYOUT, self.wheelhouse, self.package, files]).encode())}"

    @property
    def _target(self) -> str:
        return f"cp{self.python_version.replace('.', '')}-{self.arch}"


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def read(requirements: Path, package: Path, *, python_version: str, arch: str) -> Wanted:
    """Read the requirements file and the package's folder; raises CliqueError."""
    if not re.fullmatch(r"\d+\.\d+", python_version):
        raise CliqueError(f"python_version has to be a version like 3.11, and {python_version!r} is none")
    try:
        pins = requirements.read_bytes()
        files = {
            str(path.relative_to(package.parent)): path.read_bytes()
            for path in sorted(package.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }
    except OSError as error:
        raise CliqueError(f"{error.filename} cannot be read: {error.strerror}") from error
    if f"{package.name}/__init__.py" not in files:
        raise CliqueError(f"{package} is not the folder of a Python package: it has no __init__.py")
    return Wanted(pins, package.name, files, python_version, arch)


def bundle(cache: Path, wanted: Wanted, environ: Mapping[str, str]) -> Path:
    """Put the archive into the cache, and the wheels in it first where they are not there yet; return its path.

    Raises CliqueError where a wheel cannot be had or does not fit its hash.
    """
    try:
        with in_folder(cache, mode=0o755), draft_folder(cache) as (scratch, _lock):
            return _bundle(cache, scratch, wanted, environ)
    except OSError as error:
        raise CliqueError(f"{cache} cannot be filled: {reason(error)}") from error


def checksum(archive: Path) -> str | None:
    """The archive's sha256, None where there is no archive; raises CliqueError."""
    try:
        return hashlib.sha256(archive.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CliqueError(f"{archive} cannot be read: {reason(error)}") from error


def _bundle(cache: Path, scratch: Path, wanted: Wanted, environ: Mapping[str, str]) -> Path:
    pins, draft, tree, archive = (scratch / name for name in ("requirements.txt", "draft", "tree", "archive.zip"))
    pins.write_bytes(wanted.requirements)
    target = [*_target_options(wanted), "--require-hashes", "--requirement", str(pins)]
    wheels = cache / wanted.wheelhouse
    if not wheels.is_dir():
        _pip(["download", *target, "--dest", str(draft)], wanted, environ)
        draft.rename(wheels)
    # The wheels are pinned and here, so nothing that pip is configured to has a say in this.
    offline = ["--isolated", "install", "--no-index", "--find-links", str(wheels), "--no-compile"]
    _pip([*offline, *target, "--target", str(tree)], wanted, environ)
    _write_archive(archive, dict(_contents(tree, wanted)))
    return archive.rename(cache / f"{wanted.name}.zip")


def _target_options(wanted: Wanted) -> list[str]:
    platforms = [f"manylinux_2_{minor}_{wanted.arch}" for minor in GLIBC_MINORS] + [f"manylinux2014_{wanted.arch}"]
    # The pins are complete and without markers, which pip would read for the machine that it runs on.
    options = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={wanted.python_version}"]
    return options + [f"--platform={platform}" for platform in platforms]


def _pip(arguments: Sequence[str], wanted: Wanted, environ: Mapping[str, str]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise CliqueError(
            f"{sys.executable} on the controller has no pip, which fetches wheels: `{sys.executable} -m ensurepip`, "
            "or on Debian `apt install python3-pip`"
        )
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries=2", "--quiet"]
    run = subprocess.run([*command, *arguments], env=dict(environ), capture_output=True, text=True, check=False)
    if run.returncode:
        said = " ".join(run.stderr[max(0, run.stderr.find("ERROR:")) :].replace("ERROR: ", "").split())
        raise CliqueError(
            f"the wheels for Python {wanted.python_version} on {wanted.arch} cannot be had ({said}); "
            "go online, or name another package index in PIP_INDEX_URL or a proxy in HTTPS_PROXY"
        )


def _contents(tree: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """What the archive holds, by path: what pip installed without its programs, which are of this machine."""
    for path in tree.rglob("*"):
        if path.is_file() and path.relative_to(tree).parts[0] != "bin":
            yield f"{SITE_PACKAGES}/{path.relative_to(tree)}", path.read_bytes()
    for name, content in wanted.files.items():
        yield f"{SITE_PACKAGES}/{name}", content


def _write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a zip that is the same whenever and by whomever it is written."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    path.chmod(0o644)
