# SPDX-License-Identifier: GPL-3.0-or-later
"""The UDP side: a thread that empties the socket and waits for nobody, and answers to where a datagram came from."""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from energy_bridge.intake import Asker, Intake, Unanswered
from energy_bridge.metrics import Metrics, Rejected, Way
from energy_bridge.recvmmsg import Datagrams, parse_address
from energy_bridge.wire import MAX_DATAGRAM_BYTES

__all__ = ["BUFFER_BYTES", "Allowed", "Receiver", "open_socket"]

log = logging.getLogger(__name__)

BUFFER_BYTES = 4 * 1024 * 1024  # asked for; the kernel gives at most net.core.rmem_max
DRAIN_LIMIT = 1024  # datagrams with one call
WAKE_UP_S = 0.2  # how often to see whether to stop
KNOWN_ADDRESSES = 4096

_SO_MEMINFO = 55  # nine uint32 about a socket, the last of them the datagrams it dropped; /proc/net/udp has the same
_MEMINFO = struct.Struct("9I")


class Allowed:
    """The networks that may send, in CIDR notation; none named: everyone. Raises ValueError for what is no network."""

    def __init__(self, networks: Iterable[str] | None) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks or ()]

    def __contains__(self, host: object) -> bool:
        if not self._networks:
            return True
        address = ipaddress.ip_address(str(host).partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)


def open_socket(host: str, port: int) -> socket.socket:
    """A UDP socket with as large a buffer as the kernel gives; raises OSError with a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"UDP {host}:{port} cannot be used: {error.strerror}") from error
    # The kernel keeps as much again for its own bookkeeping, and says so.
    if (given := sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2) < BUFFER_BYTES:
        log.warning(
            "small_socket_buffer bytes=%d wanted=%d: a burst may be lost; set net.core.rmem_max=%d",
            *(given, BUFFER_BYTES, BUFFER_BYTES),
        )
    return sock


class Receiver:
    """Drains one socket into an intake."""

    def __init__(
        self,
        sock: socket.socket,
        intake: Intake,
        *,
        allowed: Allowed,
        metrics: Metrics,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Call on_failure, in the thread, when it ends for a reason that is nobody's but ours."""
        self._socket = sock
        self._intake = intake
        self._allowed = allowed
        self._metrics = metrics
        self._on_failure = on_failure
        self._askers: dict[bytes, Asker | None] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drain")

    def start(self) -> None:
        """Begin to drain; the socket is the thread's from now on."""
        seconds, part = divmod(WAKE_UP_S, 1)
        self._socket.setblocking(True)
        self._socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(part * 1_000_000))
        )
        self._thread.start()

    def stop(self) -> None:
        """End; what the intake has been offered is answered all the same, while the socket is open."""
        self._stopping.set()
        self._thread.join()

    def kernel_dropped(self) -> int:
        """How many datagrams the kernel dropped because the buffer was full."""
        meminfo = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(meminfo)[-1])

    def _run(self) -> None:
        # One byte more, to know which are too long.
        datagrams = Datagrams(DRAIN_LIMIT, MAX_DATAGRAM_BYTES + 1)
        try:
            while not self._stopping.is_set():
                try:
                    received = datagrams.receive(self._socket)
                except OSError as error:  # what the network says about an earlier answer
                    log.debug("socket_error reason=%s", error)
                    continue
                self._offer(received)
        except BaseException as error:  # noqa: BLE001 - a bridge without this thread would hear nothing
            self._on_failure(error)

    def _offer(self, received: Sequence[tuple[bytes, bytes]]) -> None:
        askers = self._askers
        offered = []
        for datagram, address in received:
            if address not in askers:
                self._meet(address)
            if (asker := askers[address]) is not None:
                offered.append((datagram, asker))
        if offered:
            self._intake.offer(offered, Way.UDP)
        if strangers := len(received) - len(offered):
            self._metrics.received[Way.UDP].inc(strangers)
            self._metrics.rejected[Rejected.STRANGER].inc(strangers)

    def _meet(self, raw: bytes) -> None:
        """Remember who may ask from an address, None for a stranger."""
        if len(self._askers) >= KNOWN_ADDRESSES:
            self._askers.clear()
        address = parse_address(raw, self._socket.family)
        self._askers[raw] = _UdpAsker(self._socket, address) if address[0] in self._allowed else None


class _UdpAsker:
    """An address that asked; implements intake.Asker."""

    __slots__ = ("_address", "_socket")

    def __init__(self, sock: socket.socket, address: Any) -> None:
        self._socket = sock
        self._address = address

    def answer(self, datagram: bytes, status: str) -> None:  # noqa: ARG002 - a datagram has it inside
        """Send it; what a full buffer or an unreachable host loses is asked for again."""
        try:  # noqa: SIM105 - it is done 20,000 times a second
            self._socket.sendto(datagram, socket.MSG_DONTWAIT, self._address)
        except OSError:
            pass

    def leave(self, why: Unanswered, reason: str) -> None:
        """Say nothing."""
