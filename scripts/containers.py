# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests in containers need of this machine: a Docker engine, emulation of arm64, and images with systemd.

Whatever is missing is set up where that may be done: as root, on Debian or Ubuntu, unless CLIQUE_SETUP is 0. Images
are kept, as smartenergy-clique-test:<suite>-<architecture>, until what they are made of changes. CLIQUE_TEST_SUITE
names the Debian release, bookworm or trixie.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import debian
from debian import answers, install, run
from environment import CHECKOUT, stop

NAME = "smartenergy-clique-test"
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
SUITE = os.environ.get("CLIQUE_TEST_SUITE", "bookworm")
ENGINE_LOG = CHECKOUT / "build/dockerd.log"
ENGINE_STARTS_WITHIN_S = 60

# A fresh Debian as it is on a Pi, with what the roles ask apt for: the containers reach no package index.
PACKAGES = [
    "ca-certificates",
    "chrony",
    "dbus",
    "iproute2",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
]
# What has nothing to do in a container, or waits there for what never comes.
MASKED = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "getty.target",
    "systemd-firstboot.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
]
DOCKERFILE = f"""\
FROM scratch
ADD rootfs.tar /
RUN systemctl mask {" ".join(MASKED)} \\
 && useradd --create-home --shell /bin/bash pi \\
 && echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/010_pi-nopasswd && chmod 0440 /etc/sudoers.d/010_pi-nopasswd \\
 && rm -f /etc/machine-id && touch /etc/machine-id
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
"""
# Emulation does not pass netlink's families on. The program is this machine's own; all else in the image is emulated.
NATIVE_NFT = """\
COPY native /opt/native
RUN dpkg-divert --local --rename --add /usr/sbin/nft \\
 && printf '#!/bin/sh\\nexec /opt/native/ld.so --library-path /opt/native /opt/native/nft "$@"\\n' > /usr/sbin/nft \\
 && chmod 0755 /usr/sbin/nft
"""
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def say(sentence: str) -> None:
    print(f"containers: {sentence}", flush=True)


def need(what: str, way: str) -> None:
    debian.need("in containers", what, way)


def engine() -> None:
    """Have a Docker engine that answers, and a client to log in to containers with."""
    if shutil.which("ssh") is None:
        need("an SSH client", "install it (on Debian: apt install openssh-client)")
        install("openssh-client")
    if answers("docker", "info"):
        return
    need("a Docker engine", "start one, or install it (on Debian: apt install docker.io) and let your user use it")
    if shutil.which("dockerd") is None or shutil.which("iptables") is None:
        install("docker.io", "iptables")
    if Path("/run/systemd/system").is_dir():
        run("systemctl", "start", "docker")
    else:
        say(f"starting dockerd, which writes to {ENGINE_LOG.relative_to(CHECKOUT)}")
        ENGINE_LOG.parent.mkdir(exist_ok=True)
        for name in ("docker.pid", "docker/containerd/containerd.pid"):
            forget(Path("/var/run") / name)
        with ENGINE_LOG.open("w") as log:
            daemon = shutil.which("dockerd") or "/usr/sbin/dockerd"
            subprocess.Popen([daemon], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end_s = time.monotonic() + ENGINE_STARTS_WITHIN_S
    while not answers("docker", "info"):
        if time.monotonic() > end_s:
            stop(f"the Docker engine does not answer after {ENGINE_STARTS_WITHIN_S} s; look at its log, {ENGINE_LOG}")
        time.sleep(0.5)


def forget(pid_file: Path) -> None:
    """Remove the pid file of a daemon that was killed: its number may be another process's by now."""
    if pid_file.exists():
        name = Path("/proc", pid_file.read_text().strip(), "comm")
        if not name.exists() or name.read_text().strip() not in ("dockerd", "containerd"):
            pid_file.unlink()


def emulation(arch: str) -> None:
    """Have the kernel run programs of this architecture, in containers too, and those that become root as root."""
    machine = {"arm64": "aarch64", "amd64": "x86_64"}[arch]
    handler = BINFMT / f"qemu-{machine}"
    # Without the flag C sudo stays the user who called it. Debian's rule is without.
    if arch == NATIVE or (handler.exists() and re.search("^flags: .*C", handler.read_text(), re.MULTILINE)):
        return
    need(
        f"emulation of {arch} in which sudo works",
        f"install it (on Debian: apt install qemu-user-static), and register it in {BINFMT} with the flag C",
    )
    rule = Path(f"/usr/lib/binfmt.d/qemu-{machine}.conf")
    if not rule.exists():
        install("qemu-user-static")
    if not (BINFMT / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT))
    say(f"registering the emulation of {arch} with the kernel")
    if handler.exists():
        handler.write_text("-1")
    (BINFMT / "register").write_text(f"{rule.read_text().strip()}C")


def recipe(suite: str, arch: str) -> str:
    """The digest of all that decides what an image is."""
    parts = [suite, arch, NATIVE, *PACKAGES, DOCKERFILE, NATIVE_NFT]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def image(suite: str, arch: str) -> str:
    """Have the image, and return its name."""
    tag = f"{NAME}:{suite}-{arch}"
    wanted = recipe(suite, arch)
    look = ["docker", "image", "inspect", "--format", '{{ index .Config.Labels "recipe" }}', tag]
    found = subprocess.run(look, capture_output=True, text=True, check=False)
    if found.returncode == 0 and found.stdout.strip() == wanted:
        return tag
    need(f"the image {tag}", "run `python3 scripts/containers.py` as root on Debian once, and `docker save` it to here")
    missing = {"mmdebstrap": "mmdebstrap", "nft": "nftables", "arch-test": "arch-test"}
    wanting = [package for program, package in missing.items() if shutil.which(program) is None]
    if wanting:
        install(*wanting)
    say(f"making the image {tag} (half a minute, or four where it is emulated) …")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        packages = ",".join(PACKAGES)
        root = str(place / "rootfs.tar")
        run("mmdebstrap", f"--arch={arch}", "--variant=minbase", f"--include={packages}", suite, root)
        emulated = arch != NATIVE
        (place / "Dockerfile").write_text(DOCKERFILE + (NATIVE_NFT if emulated else ""))
        if emulated:
            native_nft(place / "native")
        run("docker", "build", "--platform", f"linux/{arch}", "--label", f"recipe={wanted}", "--tag", tag, scratch)
    return tag


def native_nft(folder: Path) -> None:
    """Copy this machine's nft, the libraries that it needs and what loads them."""
    folder.mkdir()
    nft = shutil.which("nft") or "/usr/sbin/nft"
    shutil.copy(nft, folder / "nft")
    for line in run("ldd", nft).stdout.splitlines():
        words = line.split()
        path = next((word for word in words if word.startswith("/")), None)
        if path:
            shutil.copy(path, folder / ("ld.so" if "ld-linux" in path else Path(path).name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=[], help=f"of the images; else arm64 and {NATIVE}")
    wanted = parser.parse_args().architectures or sorted({"arm64", NATIVE})
    engine()
    for arch in wanted:
        emulation(arch)
        image(SUITE, arch)


if __name__ == "__main__":
    main()
