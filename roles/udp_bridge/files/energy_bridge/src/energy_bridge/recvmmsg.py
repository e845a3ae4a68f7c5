# SPDX-License-Identifier: GPL-3.0-or-later
"""Many datagrams with one call of Linux.

socket.recvfrom lets go of the interpreter for each datagram, and beside a thread that computes it comes back 5 ms
later: 200 datagrams a second. recvmmsg lets go once for all that are there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

__all__ = ["Datagrams", "parse_address"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_WAIT_FOR_ONE = 0x10000  # MSG_WAITFORONE: wait for the first datagram only
_ADDRESS_BYTES = 28  # a sockaddr_in6; a sockaddr_in has 16
# struct mmsghdr: name, its length, iov, its length, control, its length, flags; the bytes received.
_HEADER = struct.Struct("PIPNPNi0PI0P")
_IOVEC = struct.Struct("PN")
_INET, _INET6 = struct.Struct("!2xH4s"), struct.Struct("!2xHI16s")
_SCOPE = struct.Struct("24xI")


class Datagrams:
    """Room for up to `count` datagrams of up to `size` bytes; longer ones are cut off there."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._bytes = bytearray(count * size)
        self._addresses = bytearray(count * _ADDRESS_BYTES)
        self._parts = bytearray(count * _IOVEC.size)
        self._headers = bytearray(count * _HEADER.size)
        place, address, part = (_place(room) for room in (self._bytes, self._addresses, self._parts))
        for number in range(count):
            _IOVEC.pack_into(self._parts, number * _IOVEC.size, place + number * size, size)
            header = (address + number * _ADDRESS_BYTES, _ADDRESS_BYTES, part + number * _IOVEC.size, 1, 0, 0, 0, 0)
            _HEADER.pack_into(self._headers, number * _HEADER.size, *header)
        self._call = (ctypes.c_char * len(self._headers)).from_buffer(self._headers)

    def receive(self, sock: socket.socket) -> list[tuple[bytes, bytes]]:
        """Wait for a datagram, as long as the socket waits, and take all that are there, each with its raw address.

        None is there where the time is over. Raises OSError for what the network has to say.
        """
        received = _LIBC.recvmmsg(sock.fileno(), self._call, self._count, _WAIT_FOR_ONE, None)
        if received < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(number, os.strerror(number))
        size, data, addresses = self._size, self._bytes, self._addresses
        return [
            (
                bytes(data[number * size : number * size + header[-1]]),
                bytes(addresses[number * _ADDRESS_BYTES : number * _ADDRESS_BYTES + header[1]]),
            )
            for number, header in enumerate(_HEADER.iter_unpack(self._headers[: received * _HEADER.size]))
        ]


def parse_address(raw: bytes, family: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """A raw address as the socket module writes it."""
    if family == socket.AF_INET:
        port, host = _INET.unpack_from(raw)
        return socket.inet_ntop(family, host), port
    port, flow, host = _INET6.unpack_from(raw)
    return socket.inet_ntop(family, host), port, flow, _SCOPE.unpack_from(raw)[0]


def _place(room: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(room))
