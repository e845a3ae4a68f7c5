# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a node, with real sockets in the way."""

import json
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils import _preflight
from support.modules import assert_refused, run_module, tree

HOLD = "import socket, sys; s = socket.socket(type=socket.SOCK_STREAM); s.bind(('127.0.0.1', 0)); s.listen();"
HOLD += "print(s.getsockname()[1], flush=True); sys.stdin.read()"


@contextmanager
def a_process_with_a_port(**environment: str) -> Iterator[tuple[int, int]]:
    """Another process that listens on a TCP port of 127.0.0.1: its pid and the port."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def asked(directory: Path, *ports: tuple[int, str, str], **others: Any) -> dict[str, Any]:
    wanted = [{"port": port, "protocol": protocol, "address": address} for port, protocol, address in ports]
    return {"directory": str(directory), "ports": wanted, **others}


def own_address() -> dict[str, str] | None:
    """What the routing table says, as the kernel's own program shows it."""
    said = subprocess.run(["ip", "-json", "route", "get", "8.8.8.8"], capture_output=True, check=False).stdout
    return {"address": json.loads(said)[0]["prefsrc"]} if said else None


@pytest.mark.parametrize("check", [True, False])
def test_a_machine_that_will_do(tmp_path: Path, check: bool) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: in nobody's way once it is closed
        port = free.getsockname()[1]
    before = tree(tmp_path)
    wants = asked(tmp_path / "a/b", (port, "tcp", "127.0.0.1"), python="3.11")
    answer = run_module("clique_preflight", wants, check=check)
    assert (answer["changed"], answer["problems"]) == (False, [])
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    assert answer["ansible_facts"].pop("default_ipv4", None) == own_address()
    assert answer["ansible_facts"] == {
        "architecture": os.uname().machine,
        "memtotal_mb": memory_mib,
        "python_version": platform.python_version(),
        "userspace_bits": str(8 * struct.calcsize("P")),
    }
    assert tree(tmp_path) == before


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])  # noqa: S104
def test_a_foreign_tcp_port_is_named_with_its_process(tmp_path: Path, address: str) -> None:
    with a_process_with_a_port() as (pid, port):
        message = assert_refused("clique_preflight", asked(tmp_path, (port, "tcp", address)), tmp_path)
    assert message == (
        f"TCP port {port} on {address} is held by process {pid} ({sys.executable}): end it or choose other ports."
    )


@pytest.mark.parametrize("other", ["127.0.0.2", "::1"])
def test_the_same_port_on_another_address_is_free(tmp_path: Path, other: str) -> None:
    with a_process_with_a_port() as (_, port):
        answer = run_module("clique_preflight", asked(tmp_path, (port, "tcp", other), (port, "udp", "127.0.0.1")))
    assert answer["problems"] == []


@pytest.mark.parametrize(
    ("family", "bound", "wanted"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),  # noqa: S104
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_udp_and_ipv6(tmp_path: Path, family: socket.AddressFamily, bound: str, wanted: str) -> None:
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as udp:
        try:
            udp.bind((bound, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = udp.getsockname()[1]
        words = (f"UDP port {port} on {wanted} is held by process {os.getpid()}",)
        assert_refused("clique_preflight", asked(tmp_path, (port, "udp", wanted)), tmp_path, *words)


def test_our_own_services_may_hold_our_ports(tmp_path: Path) -> None:
    ours = tmp_path / "h/s1"
    with a_process_with_a_port(CLIQUE_SERVICE_DIRECTORY=str(ours)) as (pid, port):
        wanted = (port, "tcp", "127.0.0.1")
        assert run_module("clique_preflight", asked(ours, wanted))["problems"] == []
        siblings = asked(tmp_path / "h/s2", wanted, own_directory=str(tmp_path / "h"))
        assert run_module("clique_preflight", siblings)["problems"] == []
        assert_refused("clique_preflight", asked(tmp_path / "h/s", wanted), tmp_path, f"process {pid} ")


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 90)
    needs = asked(long, python="99.1")
    answer = run_module("clique_preflight", needs)
    assert answer["failed"] is True
    assert [problem.split()[0] for problem in answer["problems"]] == ["Python", "The"]
    assert "99.1 or newer is needed; install one" in answer["msg"]
    assert (
        f"{long} has {len(str(long))} bytes and leaves no room for the sockets in it, 83 is the most" in answer["msg"]
    )


def test_a_machine_that_is_too_small_is_told_what_is_needed(tmp_path: Path) -> None:
    too_much = 2**40
    sentences = {
        "memory_mib": f"and {too_much} MiB are needed: use a larger model",
        "disk_mib": f"MiB are free for {tmp_path / 'a/b'}, and {too_much} MiB are needed: make room",
    }
    for option, sentence in sentences.items():
        assert_refused("clique_preflight", asked(tmp_path / "a/b", **{option: too_much}), tmp_path, sentence)
        assert run_module("clique_preflight", asked(tmp_path / "a/b", **{option: 1}))["problems"] == []


def test_a_32_bit_system_is_not_a_64_bit_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_preflight, "USERSPACE_BITS", 32)
    needs = _preflight.Requirements(Path("/x"), userspace_bits=64)
    (problem,) = _preflight.problems(needs)
    assert "write its card anew with the 64-bit Raspberry Pi OS" in problem
    assert _preflight.problems(_preflight.Requirements(Path("/x"), userspace_bits=32)) == []


def test_equal_keys_are_told_without_telling_them(tmp_path: Path) -> None:
    keys = {"one": "ab" * 32, "same": "AB" * 32 + "\n", "other": "cd" * 32}
    for name, key in keys.items():
        (tmp_path / name).write_text(key)
    answers = {
        name: run_module("clique_preflight", asked(tmp_path, node_key=str(tmp_path / name)))["key_fingerprint"]
        for name in (*keys, "missing")
    }
    assert answers["one"] == answers["same"] != answers["other"]
    assert answers["missing"] is None
    assert not [answer for answer in answers.values() if answer and "abab" in answer]


def test_the_longest_path_has_room(tmp_path: Path) -> None:
    top = str(tmp_path) + "/"
    assert run_module("clique_preflight", {"directory": top + "d" * (83 - len(top))})["problems"] == []
    assert run_module("clique_preflight", {"directory": top + "d" * (84 - len(top))})["failed"] is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"python": "three"}, "python has to be a version like 3.11, and 'three' is none"),
        ({"ports": [{"port": 1, "protocol": "tcp", "address": "pi"}]}, "address has to be an IPv4 or IPv6 address"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    assert_refused("clique_preflight", {"directory": str(tmp_path), **options}, tmp_path, words)


def test_the_backend_needs_no_collection() -> None:
    backend = Path(__file__).parents[4] / "plugins/module_utils"
    by_path = "import sys; sys.path.insert(0, sys.argv[1]); from _preflight import *; from pathlib import Path;"
    by_path += "print(problems(Requirements(Path('/x'))))"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", by_path, str(backend)], capture_output=True, text=True, check=False
    )
    assert run.stdout == "[]\n", run.stderr
