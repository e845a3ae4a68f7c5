# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that is a host: systemd is its first process."""

import json
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until

from support.modules import Answer

# What systemd needs in a container beside what Docker gives anyway, and what root may do on any host: see other users'
# processes. Not --privileged.
RUN = [
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run",
    "--tmpfs=/tmp",
]
PLACE = "/opt/test"
MODULE = """
import json, os, runpy
from ansible.module_utils.testing import patch_module_args
module = "ansible_collections.smartenergy.clique.plugins.modules." + os.environ["MODULE"]
with patch_module_args(json.loads(os.environ["ARGUMENTS"])):
    runpy.run_module(module, run_name="__main__")
"""


@dataclass(frozen=True)
class Host:
    """A container by its name, with this checkout and Ansible's module library below /opt/test."""

    name: str

    def start(self, image: str, checkout: Path, *options: str) -> None:
        """Start it from an image, with further options of docker run, and wait until its systemd has."""
        site = sysconfig.get_path("purelib")
        mounts = {site: f"{PLACE}/site", str(checkout): f"{PLACE}/ansible_collections/smartenergy/clique"}
        volumes = [f"--volume={here}:{there}:ro" for here, there in mounts.items()]
        subprocess.run(
            ["docker", "run", "--detach", "--name", self.name, *RUN, *volumes, *options, image],
            check=True,
            capture_output=True,
        )
        self.wait()

    def wait(self) -> None:
        """Wait until its systemd has come up."""
        up = wait_until(
            lambda: self.run("systemctl", "is-system-running", check=False).strip() == "running",
            timeout_s=60,
            clock=time,
            poll_s=0.5,
        )
        assert up, self.run("systemctl", "--failed", "--no-pager", check=False)

    def remove(self) -> None:
        """Take it away, with all that is in it."""
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], check=True, capture_output=True)

    def run(self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        """Run a command as root and return what it printed; with check, a failure shows all it said."""
        paths = ":".join([PLACE, f"{PLACE}/ansible_collections/smartenergy/clique/tests", f"{PLACE}/site"])
        variables = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        words = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        done = subprocess.run(
            ["docker", "exec", *words, self.name, *command], capture_output=True, text=True, check=False
        )
        assert not (check and done.returncode), f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def module(self, name: str, arguments: Mapping[str, object], *, check: bool = False) -> Answer:
        """Run one module of this collection there and return what it answered."""
        given = json.dumps({**arguments, "_ansible_check_mode": check, "_ansible_diff": True})
        said = self.run("python3", "-c", MODULE, check=False, environment={"ARGUMENTS": given, "MODULE": name})
        answer: Answer = json.loads(said)
        return answer
