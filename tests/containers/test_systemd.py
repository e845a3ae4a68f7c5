# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as units of a real systemd."""

import subprocess
import time
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.containers import PLACE, Host

CHECKOUT = f"{PLACE}/ansible_collections/smartenergy/clique"


def test_what_holds_for_every_manager_holds_for_systemd(host: Host) -> None:
    """The unit tests of clique_service, with the container's Python and systemd."""
    tests = f"{CHECKOUT}/tests/unit/plugins/modules"
    said = host.run(
        *("python3", "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"),
        *(f"--rootdir={tests}", f"--confcutdir={tests}", "--basetemp=/var/lib/test", "-c", "/dev/null"),
        f"{tests}/test_clique_service.py",
        environment={"CLIQUE_TEST_MANAGER": "systemd"},
    )
    print(said)
    assert " passed" in said
    assert "skipped" not in said


def test_a_unit_starts_at_boot_and_whatever_disables_it_is_undone(host: Host) -> None:
    asked = {
        "name": "sleeper",
        "manager": "systemd",
        "directory": "/var/lib/sleeper",
        "argv": ["/usr/bin/sleep", "infinity"],
        "description": "100% asleep",
    }
    first = host.module("clique_service", asked)
    assert (first["started"], first["log"]) == (True, "journalctl -u clique-sleeper.service")
    assert host.run("systemctl", "is-enabled", "clique-sleeper").strip() == "enabled"
    host.run("systemctl", "disable", "clique-sleeper")
    again = host.module("clique_service", asked)
    assert (again["changed"], again["restarted"], again["pid"]) == (True, False, first["pid"])
    assert host.run("systemctl", "is-enabled", "clique-sleeper").strip() == "enabled"
    assert host.module("clique_service", asked)["changed"] is False
    other = host.module("clique_service", {**asked, "directory": "/var/lib/other"})
    assert "is of another folder than /var/lib/other" in other["msg"]
    gone = host.module("clique_service", {**asked, "state": "absent"})
    assert (gone["changed"], gone["running"]) == (True, False)
    assert "clique-sleeper" not in host.run("systemctl", "list-unit-files", "--no-pager")


def test_a_folder_that_is_made_is_the_users_and_no_other_can_be_written(host: Host) -> None:
    tries = "touch here && ! touch /var/lib/there && exec sleep infinity"
    asked = {
        "name": "writer",
        "manager": "systemd",
        "directory": "/var/lib/writer",
        "user": "pi",
        "argv": ["/bin/sh", "-c", tries],
    }
    answer = host.module("clique_service", asked)
    assert answer.get("running") is True, answer
    assert host.run("stat", "--format=%U %a", "/var/lib/writer", "/var/lib/writer/here") == "pi 700\npi 600\n"
    again = host.module("clique_service", asked)
    assert (again["changed"], again["pid"]) == (False, answer["pid"])
    host.module("clique_service", {**asked, "state": "absent"})


def test_a_folder_that_the_sandbox_hides_is_refused(host: Host) -> None:
    asked = {"name": "one", "manager": "systemd", "directory": "/home/pi/clique", "argv": ["/usr/bin/sleep", "1"]}
    assert "cannot be sandboxed in /home/pi/clique" in host.module("clique_service", asked)["msg"]


def test_geth_and_bootnode_run_in_a_tight_sandbox(host: Host, binaries: dict[str, Path]) -> None:
    for name, program in binaries.items():
        subprocess.run(["docker", "cp", str(program), f"{host.name}:/usr/local/bin/{name}"], check=True)
    host.run("useradd", "--system", "--home-dir", "/var/lib/clique", "--shell", "/usr/sbin/nologin", "clique")
    host.run("install", "--directory", "--owner=clique", "--group=clique", "--mode=0700", "/var/lib/clique")
    unit = {"manager": "systemd", "directory": "/var/lib/clique", "user": "clique", "group": "clique"}
    ipc = "/var/lib/clique/geth/geth.ipc"
    geth = ["/usr/local/bin/geth", "--datadir=/var/lib/clique/geth", f"--ipcpath={ipc}", "--networkid=1337"]
    services = {
        "geth": [*geth, "--bootnodes="],
        "bootnode": ["/usr/local/bin/bootnode", f"-nodekeyhex={'1' * 64}", "-addr=127.0.0.1:30310"],
    }
    for name, argv in services.items():
        answer = host.module("clique_service", {**unit, "name": name, "argv": argv, "memory_high_mib": 500})
        assert answer.get("started") is True, answer
        # Above 2.0 the command fails.
        said = host.run("systemd-analyze", "security", "--no-pager", "--threshold=20", f"clique-{name}.service")
        print(said.splitlines()[-1])
    attach = ["runuser", "-u", "clique", "--", "/usr/local/bin/geth", "attach", "--exec", "net.version", ipc]
    assert wait_until(lambda: "1337" in host.run(*attach, check=False), timeout_s=60, clock=time, poll_s=0.5)
    journal = host.run("journalctl", "--no-pager", "-o", "cat", "-u", "clique-geth", "-u", "clique-bootnode")
    assert not [line for line in journal.splitlines() if "SYS" in line or "not permitted" in line], journal
    for name in services:
        stopped = host.module("clique_service", {**unit, "name": name, "state": "absent"})
        assert (stopped["changed"], stopped["running"]) == (True, False)
    assert "Blockchain stopped" in host.run("journalctl", "--no-pager", "-o", "cat", "-u", "clique-geth")
