# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealer and a gateway on hosts of their own: SSH as a user who may use sudo, systemd, a sandbox that is enforced."""

import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import containers
import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.containers import Host
from support.readings import send_readings

CHECKOUT = Path(__file__).parents[2]
ADDRESSES = {"sealer1": "198.19.41.11", "gateway": "198.19.41.20"}  # of the range that is kept for tests of networks
CONTROLLER = "198.19.41.1"
IPC = "/var/lib/clique/geth/geth.ipc"
# What the bridge makes of a whole slot: pv sells 1 kWh to load, and the rest to the grid.
OFFERS = {"pv": (1.5, 0.1), "load": (-1.0, 0.3), "chp": (0, 0.2), "battery": (0, 0.2), "grid": (0, 0.2)}
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Pis:
    """Two hosts, and the folder that is the controller's part of their network."""

    folder: Path
    hosts: dict[str, Host]

    def play(self, *arguments: str, playbook: str = "site.yml") -> dict[str, int]:
        """Run a playbook, by its name or its whole path, and return how many tasks changed each host.

        A failure shows all that was said.
        """
        done = subprocess.run(
            ["ansible-playbook", "-i", str(self.folder / "hosts.json"), str(Path("playbooks") / playbook), *arguments],
            cwd=CHECKOUT,
            env={**os.environ, "PATH": f"{CHECKOUT / '.venv/bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        changed = dict.fromkeys(self.hosts, 0)
        for host, count, unreachable, failed in RECAP.findall(done.stdout):
            assert (unreachable, failed) == ("0", "0"), done.stdout
            changed[host] += int(count)
        return changed

    def height(self, host: str) -> int:
        """The number of the last block; -1 while nobody answers."""
        said = self.hosts[host].run("/usr/local/bin/geth", "attach", "--exec", "eth.blockNumber", IPC, check=False)
        return int(said) if said.strip().isdigit() else -1

    def assert_grows(self) -> None:
        """Both nodes come to hold a block that was not there yet."""
        for host in self.hosts:
            before = max(self.height(host), 0)

            def grown(host: str = host, before: int = before) -> bool:
                return self.height(host) > before

            grows = wait_until(grown, timeout_s=60, clock=time, poll_s=0.5)
            assert grows, self.hosts[host].run("journalctl", "-u", "clique-geth", "-n", "30", "--no-pager")

    def trades(self) -> dict[str, int]:
        """How many trades the bridge has made, and how many of them are settled."""
        status = self.hosts["gateway"].run("energy-bridge", "status", "--json")
        trades: dict[str, int] = json.loads(status)["trades"]
        return trades

    def assert_settles(self, slot: int) -> None:
        """A data set that is sent to the gateway ends as settled trades."""
        gateway = self.hosts["gateway"]
        secrets = {name: gateway.run("energy-bridge", "secret", name).strip() for name in OFFERS}
        before = self.trades()["settled"]
        answers = send_readings((ADDRESSES["gateway"], 30401), secrets, slot, OFFERS)
        assert {answer["status"] for answer in answers.values()} == {"stored"}
        settled = wait_until(lambda: self.trades()["settled"] == before + 2, timeout_s=60, clock=time, poll_s=0.5)
        assert settled, gateway.run("journalctl", "-u", "clique-bridge", "-n", "30", "--no-pager")


@pytest.fixture(scope="module")
def pis(tmp_path_factory: pytest.TempPathFactory, binaries: dict[str, Path]) -> Iterator[Pis]:
    """Two hosts as they come from the installer: SSH with a key, sudo, nothing of this collection."""
    containers.engine()
    image = containers.image(containers.SUITE, containers.NATIVE)
    folder = tmp_path_factory.mktemp("pis")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    network = f"clique-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["docker", "network", "create", "--subnet=198.19.41.0/24", network], check=True, capture_output=True)
    pis = Pis(folder, {name: Host(f"{network}-{name}") for name in ADDRESSES})
    (folder / "hosts.json").write_text(json.dumps(inventory(folder, binaries["geth"].parents[1])))
    try:
        for name, host in pis.hosts.items():
            host.start(
                image,
                CHECKOUT,
                f"--network={network}",
                f"--ip={ADDRESSES[name]}",
                f"--hostname={name}",
                "--restart=always",
            )
            host.run("install", "--directory", "--owner=pi", "--group=pi", "--mode=0700", "/home/pi/.ssh")
            write = 'printf "%s" "$KEY" > /home/pi/.ssh/authorized_keys && chown pi: /home/pi/.ssh/authorized_keys'
            host.run("sh", "-c", write, environment={"KEY": key.with_suffix(".pub").read_text()})
        yield pis
    finally:
        for host in pis.hosts.values():
            host.remove()
        subprocess.run(["docker", "network", "rm", network], check=True, capture_output=True)


def inventory(folder: Path, cache: Path) -> dict[str, Any]:
    variables = {
        "ansible_user": "pi",
        "ansible_ssh_private_key_file": str(folder / "key"),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "ansible_python_interpreter": "/usr/bin/python3",
        "clique_network_dir": str(folder / "network"),
        "clique_build_cache_directory": str(cache),
        "clique_bridge_sources": [CONTROLLER],
        "clique_clock": "simulated",
        "clique_period_s": 2,
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    hosts = {name: {"ansible_host": address} for name, address in ADDRESSES.items()}
    groups = {"sealers": "sealer1", "bootnodes": "gateway", "gateways": "gateway"}
    children = {group: {"hosts": {name: hosts[name]}} for group, name in groups.items()}
    return {"all": {"vars": variables, "hosts": {"localhost": here}, "children": children}}


def test_it_comes_up_seals_settles_and_stays(pis: Pis) -> None:
    foretold = pis.play("--check", "--diff")
    assert all(foretold.values()), foretold
    assert not (pis.folder / "network").exists()
    assert "clique" not in pis.hosts["sealer1"].run("cat", "/etc/passwd")
    assert all(pis.play("--diff").values())
    pis.assert_grows()
    slot = int(time.time()) // 900
    pis.assert_settles(slot)
    assert pis.play("--diff") == dict.fromkeys(pis.hosts, 0)
    assert pis.play("--check") == dict.fromkeys(pis.hosts, 0)

    # A node that is killed, and hosts that lose their power, come back with nobody's help.
    sealer = pis.hosts["sealer1"]
    sealer.run("pkill", "-KILL", "-x", "geth")
    pis.assert_grows()
    names = [host.name for host in pis.hosts.values()]
    subprocess.run(["docker", "kill", *names], check=True, capture_output=True)
    subprocess.run(["docker", "start", *names], check=True, capture_output=True)
    for host in pis.hosts.values():
        host.wait()
    pis.assert_grows()
    pis.assert_settles(slot + 1)
    for host in pis.hosts.values():
        journal = host.run("journalctl", "--no-pager", "-o", "cat", "-u", "clique-*")
        assert "SIGSYS" not in journal
        assert "status=31/SYS" not in journal


def test_systems_are_brought_up_to_date_and_what_needs_it_is_rebooted(pis: Pis) -> None:
    booted = {name: started_at(host) for name, host in pis.hosts.items()}
    for host in pis.hosts.values():
        host.run("sh", "-c", "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")  # no index is in reach
    pis.hosts["sealer1"].run("touch", "/run/reboot-required")
    pis.play(playbook="os_upgrade.yml")
    assert {name for name, host in pis.hosts.items() if started_at(host) != booted[name]} == {"sealer1"}
    pis.assert_grows()


def started_at(host: Host) -> str:
    return host.run("systemctl", "show", "--property=UserspaceTimestampMonotonic")


def test_a_host_lets_in_what_it_is_for(pis: Pis) -> None:
    sealer, gateway = pis.hosts["sealer1"], pis.hosts["gateway"]
    assert "passwordauthentication no" in sealer.run("/usr/sbin/sshd", "-T")  # the run came in by a key
    assert "passwordauthentication yes" not in gateway.run("/usr/sbin/sshd", "-T")
    assert f"server {ADDRESSES['gateway']} iburst prefer trust" in sealer.run(
        "cat", "/etc/chrony/conf.d/smartenergy.conf"
    )
    assert f"allow {ADDRESSES['sealer1']}" in gateway.run("cat", "/etc/chrony/conf.d/smartenergy.conf")
    rules = gateway.run("nft", "list", "table", "inet", "smartenergy")
    assert f"ip saddr {CONTROLLER} udp dport 30401 accept" in rules
    assert f"ip saddr {{ {ADDRESSES['sealer1']}, {ADDRESSES['gateway']} }} tcp dport 30311 accept" in rules


def test_a_data_disk_is_mounted_and_hides_nothing(pis: Pis) -> None:
    def play(directory: str) -> dict[str, int]:
        disk = {"device": "tmpfs", "directory": directory, "type": "tmpfs"}
        variables = json.dumps({"raspberry_pi_data_disk": disk})
        return pis.play("--limit", "sealer1", "--diff", "-e", variables, playbook="hosts.yml")

    sealer = pis.hosts["sealer1"]
    with pytest.raises(AssertionError, match="/var/lib/clique is not empty: move what it has to the disk first"):
        play("/var/lib/clique")
    assert play("/mnt/usb-disk")["sealer1"] > 0
    assert sealer.run("findmnt", "--noheadings", "--output=FSTYPE,OPTIONS", "/mnt/usb-disk").startswith("tmpfs")
    assert play("/mnt/usb-disk")["sealer1"] == 0
    subprocess.run(["docker", "restart", sealer.name], check=True, capture_output=True)
    sealer.wait()
    assert sealer.run("systemctl", "is-active", r"mnt-usb\x2ddisk.mount").strip() == "active"
    pis.assert_grows()


def test_roles_that_are_absent_leave_a_host_as_it_was_but_for_its_keys(pis: Pis) -> None:
    """The last of these tests: of the sealer nothing is left in the end."""
    roles = ("sealer", "geth_build", "raspberry_pi")
    owner = {"ansible.builtin.include_role": {"name": "smartenergy.clique.clique", "tasks_from": "owner"}}
    play = {
        "hosts": "sealer1",
        "become": True,
        "gather_facts": False,
        "vars": {f"{role}_state": "absent" for role in (*roles, "clique")},
        "roles": [f"smartenergy.clique.{role}" for role in roles],
        "tasks": [owner],
    }
    retire, sealer = pis.folder / "retire.yml", pis.hosts["sealer1"]
    retire.write_text(json.dumps([play]))

    def retired(**variables: bool) -> None:
        words = ("-e", json.dumps(variables))
        foretold = pis.play("--check", *words, playbook=str(retire))
        assert pis.play(*words, playbook=str(retire)) == foretold
        assert foretold["sealer1"] > 0
        assert pis.play(*words, playbook=str(retire))["sealer1"] == 0

    retired()
    assert "clique-" not in sealer.run("systemctl", "list-unit-files", "--no-pager")
    assert "smartenergy" not in sealer.run("nft", "list", "tables")
    assert "passwordauthentication no" not in sealer.run("/usr/sbin/sshd", "-T")
    assert sealer.run("sh", "-c", "find /etc /usr/local -type f | grep -e smartenergy -e /geth$", check=False) == ""
    for secret in ("node.key", "password", "geth/keystore"):
        sealer.run("test", "-e", f"/var/lib/clique/{secret}")
    retired(sealer_remove_data=True, clique_remove_data=True)
    assert sealer.run("sh", "-c", "ls /var/lib/clique; getent passwd clique", check=False) == ""
