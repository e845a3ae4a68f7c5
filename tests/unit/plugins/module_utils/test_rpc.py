# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC against small servers that answer as geth does, and as it must not."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._rpc import (
    Call,
    NodeRefusesError,
    NodeSilentError,
    Rpc,
)

Reply = Callable[[list[dict[str, Any]]], bytes]


@contextmanager
def http_node(reply: Reply, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def socket_node(path: Path, reply: Reply) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            with server.accept()[0] as connection, connection.makefile("rb") as lines:
                connection.sendall(reply(json.loads(next(lines))))

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(path)
        thread.join()


def echo(requests: list[dict[str, Any]]) -> bytes:
    """Answer each call with its method, the last call first, as a server may."""
    replies = [{"jsonrpc": "2.0", "id": request["id"], "result": request["method"]} for request in requests]
    return json.dumps(replies[::-1]).encode() + b"\n"


def fail_with(code: int) -> Reply:
    return lambda requests: (
        json.dumps([{"id": request["id"], "error": {"code": code, "message": "no such thing"}} for request in requests])
        + "\n"
    ).encode()


def test_results_come_in_the_order_of_the_calls(tmp_path: Path) -> None:
    calls = [Call(f"m{number}") for number in range(3)]
    with socket_node(tmp_path / "s", echo) as place:
        assert Rpc(place).batch(calls) == ["m0", "m1", "m2"]


def test_many_calls_are_several_messages() -> None:
    sizes = []

    def reply(requests: list[dict[str, Any]]) -> bytes:
        sizes.append(len(requests))
        return echo(requests)

    with http_node(reply) as place:
        assert len(Rpc(place).batch([Call("m")] * 1100)) == 1100
    assert sizes == [500, 500, 100]


def test_what_a_node_does_not_offer_is_null_only_where_it_may() -> None:
    with http_node(fail_with(-32601)) as place:
        assert Rpc(place).batch([Call("clique_proposals", optional=True)]) == [None]
        with pytest.raises(NodeRefusesError, match="refuses clique_proposals: no such thing"):
            Rpc(place).call("clique_proposals")
    with http_node(fail_with(-32000)) as place, pytest.raises(NodeRefusesError, match="refuses m: no such thing"):
        Rpc(place).batch([Call("m", optional=True)])


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (403, b"invalid host specified", "HTTP status 403: invalid host specified"),
        (200, b"<html>", "something else than JSON"),
        (200, b'{"error": {"code": -32600, "message": "batch too large"}}', "refuses: batch too large"),
        (200, b"[]", "refuses m: it gives no result"),
    ],
)
def test_a_strange_answer_is_told(status: int, body: bytes, says: str) -> None:
    with http_node(lambda _: body, status) as place, pytest.raises(NodeRefusesError, match=says):
        Rpc(place).call("m")


def test_nobody_there(tmp_path: Path) -> None:
    for place in (str(tmp_path / "none"), "http://127.0.0.1:1"):
        with pytest.raises(NodeSilentError, match="no node answers at"):
            Rpc(place).call("m")


def test_a_node_that_hangs_up_or_says_nothing(tmp_path: Path) -> None:
    with socket_node(tmp_path / "a", lambda _: b'[{"id"') as place, pytest.raises(NodeSilentError, match="hung up"):
        Rpc(place).call("m")
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "b"))
        mute.listen()
        with pytest.raises(NodeSilentError, match="timed out"):
            Rpc(str(tmp_path / "b"), timeout_s=0.1).call("m")


def test_a_path_that_no_socket_can_have() -> None:
    with pytest.raises(CliqueError, match="choose a shorter directory"):
        Rpc("/tmp/" + "x" * 103).call("m")  # noqa: S108
