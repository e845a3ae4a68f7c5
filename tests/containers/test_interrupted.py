# SPDX-License-Identifier: GPL-3.0-or-later
"""Units in the middle of something: a run that was cut off, a stop that is under way, an account that is missing."""

from support.containers import Host

WAITS = ["/usr/bin/sleep", "infinity"]
ENDS_SLOWLY = ["/bin/sh", "-c", "trap 'sleep 6; exit' INT; echo ready; while :; do sleep 0.1; done"]


def service(name: str, **others: object) -> dict[str, object]:
    return {"name": name, "manager": "systemd", "directory": f"/var/lib/{name}", "argv": WAITS, **others}


def test_a_unit_that_systemd_has_not_read_yet_is_what_starts(host: Host) -> None:
    """The unit is written as by a run that was cut off before it told systemd so."""
    host.module("clique_service", service("cut", environment={"A": "1"}))
    wanted = service("cut", environment={"A": "2"})
    unit = host.module("clique_service", wanted, check=True)["diff"]["after"]["files"]["clique-cut.service"]
    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    host.run("python3", "-c", write, "/etc/systemd/system/clique-cut.service", "\n".join(unit) + "\n")
    finished = host.module("clique_service", wanted)
    assert finished["restarted"] is True
    assert "\0A=2\0" in "\0" + host.run("cat", f"/proc/{finished['pid']}/environ")
    assert host.module("clique_service", wanted)["changed"] is False
    host.module("clique_service", {**wanted, "state": "absent"})


def test_what_is_about_to_end_is_started_anew(host: Host) -> None:
    asked = service("slow", argv=ENDS_SLOWLY)
    host.module("clique_service", asked)
    host.run("systemctl", "stop", "--no-block", "clique-slow")
    answer = host.module("clique_service", asked)
    assert (answer["started"], answer["changed"]) == (True, True)
    assert host.run("systemctl", "is-active", "clique-slow").strip() == "active"
    host.module("clique_service", {**asked, "state": "absent"})


def test_a_user_who_is_not_there_is_named_before_anything_is_written(host: Host) -> None:
    for account in ({"user": "nobody-yet"}, {"group": "nobody-yet"}):
        answer = host.module("clique_service", service("early", **account))
        assert answer["failed"] is True
        assert "early is not started: " in answer["msg"]
        assert "nobody-yet" in answer["msg"]
        assert "clique-early" not in host.run("systemctl", "list-unit-files", "--no-pager")
        assert host.module("clique_service", service("early", **account), check=True)["started"] is True
