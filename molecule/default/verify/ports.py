# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports of a host another container reaches: what arrives is counted behind the host's firewall.

From outside, a UDP port that drops looks like one that listens and is silent. So a listener of the machine's own kind
joins the host's network, and sees every packet that the firewall lets through, whether a program waits for it or not.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from hosts import Host, at_once, docker

# A host, a kind (tcp, udp, tcp6, udp6), and a number.
Port = tuple[str, str, int]
# A raw socket gets a copy of what has passed the firewall, over IPv4 with its header. It reads until stdin is closed.
LISTENER = """
import json, select, socket, struct, sys
kinds = {socket.socket(family, socket.SOCK_RAW, getattr(socket, "IPPROTO_" + kind.upper())): kind + suffix
         for kind in ("tcp", "udp") for family, suffix in ((socket.AF_INET, ""), (socket.AF_INET6, "6"))}
senders, found, more = sys.argv[1:], set(), True
print("ready", flush=True)
while more:
    ready = select.select([*kinds, sys.stdin], [], [])[0]
    more = ready != [sys.stdin]
    for heard in set(kinds) & set(ready):
        packet, address = heard.recvfrom(2048)
        header = 4 * (packet[0] & 15) if heard.family == socket.AF_INET else 0
        if address[0] in senders:
            found.add((kinds[heard], struct.unpack_from("!H", packet, header + 2)[0]))
print(json.dumps(sorted(found)))
"""
# The kernel has sent the first packet of a connection when connect returns.
KNOCKER = """
import socket, sys
for host in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        for port in range(1, 65536):
            udp.sendto(b"?", (host, port))
    for port in range(1, 65536):
        with socket.socket(family, socket.SOCK_STREAM) as tcp:
            tcp.setblocking(False)
            tcp.connect_ex((host, port))
"""


def check_closed(sender: Host, hosts: Collection[Host], but: Collection[Port]) -> None:
    """Of all TCP and UDP ports the sender reaches SSH, which shows that it knocked, and what is excepted."""
    allowed = {(host.name, "tcp6" if ":" in address else "tcp", 22) for host in hosts for address in host.addresses}
    allowed |= set(but)
    reached = reached_from(sender, hosts)
    unheard = sorted(allowed - reached)
    assert not unheard, f"{sender.name} does not even reach {unheard}"
    opened = sorted(reached - allowed)
    assert not opened, f"{sender.name} reaches {len(opened)} ports that should be closed: {opened[:20]}"


def reached_from(sender: Host, hosts: Collection[Host]) -> set[Port]:
    """What arrives of a packet from the sender to each port of each address of these hosts."""
    with ExitStack() as stack:
        listeners = {host.name: stack.enter_context(_listener(sender, host)) for host in hosts}
        for listener in listeners.values():
            assert listener.stdout
            assert listener.stdout.readline() == b"ready\n"
        at_once(lambda host: sender.run("python3", "-c", KNOCKER, *host.addresses), hosts)
        said = {name: listener.communicate(timeout=60)[0] for name, listener in listeners.items()}
    return {(name, kind, port) for name, ports in said.items() for kind, port in json.loads(ports)}


@contextmanager
def _listener(sender: Host, host: Host) -> Iterator[subprocess.Popen[bytes]]:
    image = docker("inspect", "--format={{.Image}}", sender.container).decode().strip()
    words = ["docker", "run", "--rm", "--interactive", f"--network=container:{host.container}", image]
    command = [*words, "python3", "-c", LISTENER, *sender.addresses]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def firewall_rule(host: Host, rule: str) -> Iterator[None]:
    """A rule stands before all others of a host's firewall for a while."""
    chains = json.loads(host.run("nft", "-j", "list", "chains", "inet"))["nftables"]
    (chain,) = [item["chain"] for item in chains if item.get("chain", {}).get("hook") == "input"]
    place = (chain["family"], chain["table"], chain["name"])
    answer = json.loads(host.run("nft", "-j", "-a", "-e", "insert", "rule", *place, *rule.split()))
    (handle,) = [item["insert"]["rule"]["handle"] for item in answer["nftables"] if "insert" in item]
    try:
        yield
    finally:
        host.run("nft", "delete", "rule", *place, "handle", str(handle))
