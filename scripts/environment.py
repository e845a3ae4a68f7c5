# SPDX-License-Identifier: GPL-3.0-or-later
"""Make or renew .venv: the controller's Python environment, with this checkout in it as smartenergy.clique.

It runs on whatever python3 is found, so it parses on old ones too and uses the standard library only.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, BEYOND = (3, 11), (3, 14)
UNREACHABLE = re.compile(
    r"ConnectTimeoutError|Connection(Refused|Reset)?Error|Failed to establish|Max retries exceeded|NameResolutionError"
    r"|ProxyError|ReadTimeoutError|SSLError|No matching distribution found"
)

CHECKOUT = Path(__file__).absolute().parent.parent
VENV = CHECKOUT / ".venv"
STAMP = VENV / "smartenergy-environment"
BRIDGE = CHECKOUT / "roles/udp_bridge/files/energy_bridge"


def stop(sentence: str) -> None:
    sys.exit(f"smartenergy: {sentence}")


def check_machine() -> None:
    """Say in one sentence why this machine cannot carry the environment, before anything is written."""
    version = ".".join(map(str, sys.version_info[:2]))
    if not OLDEST <= sys.version_info[:2] < BEYOND:
        stop(
            f"{sys.executable} is Python {version}, and 3.11, 3.12 or 3.13 is needed; "
            "name one like this: make PYTHON=python3.11 demo"
        )
    try:
        import ensurepip  # noqa: F401, PLC0415
        import venv  # noqa: F401, PLC0415
    except ImportError:
        stop(
            f"{sys.executable} lacks ensurepip and cannot make a virtual environment; "
            f"on Debian this brings it: apt install python{version}-venv"
        )


def fingerprint(requirements: "list[Path]") -> str:
    """Tell by the text of the locks, the interpreter and the place whether the environment is up to date."""
    digest = hashlib.sha256(f"{Path(sys.executable).resolve()} {sys.version} {CHECKOUT}".encode())
    for path in [*requirements, BRIDGE / "pyproject.toml", Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def install(arguments: "list[str]") -> None:
    """Run the environment's pip; where the package index cannot be reached, say so and leave nothing half-made."""
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--no-compile", "--retries", "2", *arguments]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode == 0:
        return
    if not STAMP.exists():
        shutil.rmtree(VENV)
    sys.stderr.write(run.stderr)
    if UNREACHABLE.search(run.stderr):
        stop(
            "the Python package index cannot be reached or lacks a pinned package (above); go online, "
            "or name a mirror in PIP_INDEX_URL or a proxy in HTTPS_PROXY, and run the same again"
        )
    stop("pip could not install the pinned packages; its own words are above")


def compile_packages() -> None:
    """Compile what was installed, on all processors, where pip takes one; some packages have files of other Pythons."""
    command = [str(VENV / "bin/python"), "-m", "compileall", "-qq", "-j", "0", str(VENV / "lib")]
    subprocess.run(command, check=False)


def link_collection() -> None:
    """Let Ansible and Python find this checkout as ansible_collections.smartenergy.clique."""
    link = VENV / "collections/ansible_collections/smartenergy/clique"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(CHECKOUT)
    (site_packages,) = VENV.glob("lib/python3*/site-packages")
    (site_packages / "smartenergy.pth").write_text(f"{VENV / 'collections'}\n")


def make(groups: "list[str]") -> None:
    """Bring .venv to what the locks of these groups say; instant where it is so already."""
    requirements = [CHECKOUT / f"requirements{suffix}.txt" for suffix in ["", *(f"-{group}" for group in groups)]]
    base, wanted = fingerprint(requirements[:1]), fingerprint(requirements)
    stamps = set(STAMP.read_text().split()) if STAMP.exists() else set()
    if wanted in stamps:
        return
    if base not in stamps:
        stamps.clear()
    print("environment: installing the pinned Python packages into .venv …", flush=True)
    if not stamps:
        import venv  # noqa: PLC0415

        venv.create(VENV, clear=True, with_pip=True)
    install(["--require-hashes", *(word for path in requirements for word in ("--requirement", str(path)))])
    install(["--no-deps", "--no-build-isolation", "--editable", str(BRIDGE)])
    compile_packages()
    link_collection()
    STAMP.write_text("\n".join(sorted({*stamps, base, wanted})) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", help="dependency groups beside the base, e.g. test")
    arguments = parser.parse_args()
    check_machine()
    make(arguments.groups)


if __name__ == "__main__":
    main()
