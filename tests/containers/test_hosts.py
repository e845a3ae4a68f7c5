# SPDX-License-Identifier: GPL-3.0-or-later
"""The care of a host: its firewall, and what a boot makes of its settings."""

import subprocess
import time
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until
from support.containers import Host
from support.modules import Answer

SSH = {"name": "SSH", "protocol": "tcp", "port": 22, "sources": None}
P2P = {"name": "p2p", "protocol": "udp", "port": 30311, "sources": ["192.0.2.11", "2001:db8::/64"]}
LIST = ("nft", "--stateless", "list", "table", "inet", "smartenergy")


def firewall(host: Host, *rules: dict[str, Any], check: bool = False, **others: Any) -> Answer:
    answer = host.module("clique_firewall", {"rules": list(rules), **others}, check=check)
    assert not answer.get("failed"), answer
    return answer


def test_rules_that_nobody_keeps_are_taken_back(host: Host) -> None:
    foretold = firewall(host, SSH, check=True)
    assert host.run(*LIST, check=False) == ""
    tried = firewall(host, SSH, try_s=60)
    assert (tried["changed"], tried["pending"], tried["diff"]) == (True, True, foretold["diff"])
    kept = firewall(host, SSH, keep=True)
    assert (kept["changed"], kept["pending"]) == (True, False)
    assert firewall(host, SSH)["changed"] is False
    before = host.run(*LIST)
    assert "policy drop" in before

    assert firewall(host, SSH, P2P, try_s=2)["pending"] is True
    assert wait_until(lambda: host.run(*LIST) == before, timeout_s=30, clock=time, poll_s=0.2)
    late = host.module("clique_firewall", {"rules": [SSH, P2P], "keep": True})
    assert "nobody came through the new one in time" in late["msg"]
    assert firewall(host, SSH)["changed"] is False


def test_other_tables_stay_and_a_restart_of_theirs_does_not_open_the_host(host: Host) -> None:
    host.run("nft", "add", "table", "ip", "somebodys")
    for keep in (False, True):
        firewall(host, SSH, P2P, keep=keep)
    rules = host.run(*LIST)
    assert "ip saddr 192.0.2.11 udp dport 30311 accept" in rules
    assert "ip6 saddr 2001:db8::/64 udp dport 30311 accept" in rules
    assert "somebodys" in host.run("nft", "list", "tables")
    host.run("systemctl", "restart", "nftables.service")  # begins with a flush of everything
    assert host.run(*LIST) == rules
    host.run("systemctl", "reload", "nftables.service")
    assert host.run(*LIST) == rules
    assert firewall(host, SSH, P2P)["changed"] is False

    host.run("nft", "delete", "table", "inet", "smartenergy")
    assert firewall(host, SSH, P2P)["pending"] is True
    firewall(host, SSH, P2P, keep=True)
    subprocess.run(["docker", "restart", host.name], check=True, capture_output=True)
    host.wait()
    assert host.run(*LIST) == rules
    assert firewall(host, SSH, P2P)["changed"] is False

    assert firewall(host, state="absent")["changed"] is True
    assert host.run(*LIST, check=False) == ""
    assert "clique-firewall" not in host.run("systemctl", "list-unit-files", "--no-pager")
    assert firewall(host, state="absent")["changed"] is False


def test_what_nft_would_not_take_is_refused(host: Host) -> None:
    answer = host.module("clique_firewall", {"rules": [{**P2P, "sources": ["pi.local"]}]})
    assert "'pi.local' is neither an address nor a network" in answer["msg"]


def test_a_host_has_its_name_and_its_units(host: Host) -> None:
    timer = "[Timer]\nOnBootSec=1h\n[Install]\nWantedBy=timers.target\n"
    service = "[Service]\nExecStart=/bin/true\n"
    wanted = {
        "hostname": "sealer9",
        "files": [
            {"path": "/etc/systemd/system/look.service", "content": service},
            {"path": "/etc/systemd/system/look.timer", "content": timer, "apply": ["systemctl", "start", "look.timer"]},
        ],
        "enabled": ["look.timer"],
    }
    foretold = host.module("host_files", wanted, check=True)
    answer = host.module("host_files", wanted)
    assert (answer["changed"], answer["diff"]) == (True, foretold["diff"])
    assert host.run("hostname").strip() == "sealer9"
    assert host.run("getent", "hosts", "sealer9") != ""
    assert host.run("systemctl", "is-active", "look.timer").strip() == "active"
    assert host.module("host_files", wanted)["changed"] is False

    files = [{"path": f"/etc/systemd/system/look.{kind}", "content": None} for kind in ("service", "timer")]
    gone = {"files": files, "disabled": ["look.timer"]}
    foretold = host.module("host_files", gone, check=True)
    assert host.run("systemctl", "is-active", "look.timer").strip() == "active"
    answer = host.module("host_files", gone)
    assert (answer["changed"], answer["diff"]) == (True, foretold["diff"])
    assert "look." not in host.run("systemctl", "list-unit-files", "--no-pager")
    assert host.module("host_files", gone)["changed"] is False


def test_the_password_that_everybody_knows_is_noticed(host: Host) -> None:
    assert host.module("host_info", {})["stock_password"] is False
    host.run("sh", "-c", "echo pi:raspberry | chpasswd")
    assert host.module("host_info", {})["stock_password"] is True
    host.run("sh", "-c", "echo pi:another | chpasswd")
    looked = host.module("host_info", {"packages": ["chrony", "no-such-package"]})
    assert (looked["stock_password"], looked["container"], looked["ssh_port"]) == (False, True, None)
    assert looked["missing_packages"] == ["no-such-package"]
