# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC to a node over its Unix socket or over HTTP, with the standard library only. Private to this collection."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._node import is_url

__all__ = ["Call", "NodeRefusesError", "NodeSilentError", "Rpc"]

_SOCKET_PATH_BYTES = 107  # sun_path is 108 with its closing zero
_BATCH_CALLS = 500  # geth takes 1000 at most over HTTP
_METHOD_NOT_FOUND = -32601


class NodeSilentError(CliqueError):
    """Nobody answers there, or not in time."""


class NodeRefusesError(CliqueError):
    """The node answers, and says no."""


@dataclass(frozen=True)
class Call:
    """One request; an optional one is answered with None by a node that does not offer its method."""

    method: str
    params: tuple[Any, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Rpc:
    """A node's JSON-RPC interface: the path of its Unix socket, or its http(s) URL."""

    place: str
    timeout_s: float = 10.0

    def call(self, method: str, *params: Any) -> Any:
        """Ask one thing and return the result."""
        return self.batch([Call(method, params)])[0]

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Ask many things in few messages and return their results in the same order.

        Raises NodeSilentError where nobody answers, NodeRefusesError for the first call that the node refuses.
        """
        results: list[Any] = []
        for start in range(0, len(calls), _BATCH_CALLS):
            results += self._batch(calls[start : start + _BATCH_CALLS])
        return results

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": call.method, "params": list(call.params)}
            for number, call in enumerate(calls)
        ]
        message = json.dumps(requests).encode() + b"\n"
        try:
            answer = self._over_http(message) if is_url(self.place) else self._ipc(message)
        except OSError as error:
            raise NodeSilentError(f"no node answers at {self.place}: {reason(error)}") from error
        except http.client.HTTPException as error:
            raise NodeSilentError(f"no node answers at {self.place}: {error or type(error).__name__}") from error
        try:
            replies = json.loads(answer)
        except ValueError as error:
            begins = answer[:80].decode(errors="replace").partition("\n")[0]
            raise NodeRefusesError(
                f"{self.place} answers with something else than JSON: it begins with {begins}"
            ) from error
        if not isinstance(replies, list):  # an error about the batch as a whole
            raise NodeRefusesError(f"the node at {self.place} refuses: {_text_of(replies)}")
        by_id = {reply.get("id"): reply for reply in replies}
        return [self._result(call, by_id.get(number, {})) for number, call in enumerate(calls)]

    def _result(self, call: Call, reply: dict[str, Any]) -> Any:
        if "error" not in reply and "result" in reply:
            return reply["result"]
        if call.optional and reply.get("error", {}).get("code") == _METHOD_NOT_FOUND:
            return None
        raise NodeRefusesError(f"the node at {self.place} refuses {call.method}: {_text_of(reply)}")

    def _ipc(self, message: bytes) -> bytes:
        if len(self.place.encode()) > _SOCKET_PATH_BYTES:
            raise CliqueError(
                f"the socket path {self.place} is longer than {_SOCKET_PATH_BYTES} bytes: choose a shorter directory"
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self.timeout_s)
            connection.connect(self.place)
            connection.sendall(message)
            received = bytearray()
            while not received.endswith(b"\n"):  # geth ends each message with a line feed and has none inside
                part = connection.recv(1 << 16)
                if not part:
                    raise ConnectionError("it hung up")
                received += part
            return bytes(received)

    def _over_http(self, message: bytes) -> bytes:
        try:
            url = urlsplit(self.place)
            host, port = url.hostname, url.port
        except ValueError as error:
            raise CliqueError(f"{self.place} is no URL of a node: {error}") from error
        if url.scheme not in ("http", "https") or not host:
            raise CliqueError(f"{self.place} is no URL of a node: it has to begin with http:// or https://")
        connector = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = connector(host, port, timeout=self.timeout_s)
        try:
            connection.request("POST", url.path or "/", message, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != http.client.OK:
            reason = answer.decode(errors="replace").strip() or response.reason
            raise NodeRefusesError(f"the node at {self.place} refuses with HTTP status {response.status}: {reason}")
        return answer


def _text_of(reply: Any) -> str:
    error = reply.get("error") if isinstance(reply, dict) else None
    return str(error.get("message", error)) if isinstance(error, dict) else "it gives no result"
