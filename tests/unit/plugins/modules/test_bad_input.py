# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a module is given that cannot be, it says so in one sentence and leaves no trace, in check mode too.

The tables are in the folder bad_input, one for each module; tests/support/bad_input.py says how they are written.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.bad_input import Row, assert_said, filled, scene, tables
from support.chain import ARTIFACT, PASSWORD, Chain
from support.modules import run_module, tree
from support.wheels import PYTHON, make_project

TABLES = tables(Path(__file__).parent / "bad_input")
MODULES = sorted(path.stem for path in (Path(__file__).parents[4] / "plugins/modules").glob("*.py"))
ROWS = [pytest.param(row, id=f"{row.subject}: {row.what}") for rows in TABLES.values() for row in rows]
PATIENCE_S = 0.2
STRANGER = "0x52908400098527886E0F7030069857D2E4169EE7"


def test_every_module_has_a_table() -> None:
    assert sorted(TABLES) == MODULES


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def talker() -> Iterator[str]:
    """The address of somebody who answers every request, and is no node."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_talk, args=[server], daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def _talk(server: socket.socket) -> None:
    page = b"It works!"
    with contextlib.suppress(OSError):
        while True:
            with contextlib.suppress(ConnectionError), server.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(page) + page
                )


@pytest.fixture(scope="module")
def market(chain: Chain) -> str:
    """The address of a market in which nobody is."""
    return str(chain.empty_market().address)


@pytest.fixture(scope="module")
def deployed(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Whose market stands already, where contract_deploy would put it."""
    (row,) = [row for row in TABLES["contract_deploy"] if row.what == "a full disk"]
    known = {"account": STRANGER, "deployed": STRANGER, "rpc": chain.url, "artifact": json.loads(ARTIFACT.read_text())}
    known |= {"keystore": str(chain.keystore), "password_file": str(chain.password_file)}
    known |= {"root": str(tmp_path_factory.mktemp("deployed"))}
    answer = run_module("contract_deploy", {**filled(dict(row.given), known), "timeout_s": 30})
    assert not answer.get("failed"), answer
    return STRANGER


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A package with all that it imports: its parts, and what python_bundle makes of them for this machine."""
    options = make_project(tmp_path_factory.mktemp("project"))
    made = run_module("python_bundle", options)
    assert not made.get("failed"), made
    return {**options, "index": options["index_url"], **made, "bundle": made["name"]}


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Callable[[Row, Path], dict[str, Any]]:
    """What the words in angle brackets of a row stand for; only what it needs is started."""

    def chain() -> Chain:
        running: Chain = request.getfixturevalue("chain")
        return running

    def project() -> dict[str, Any]:
        made: dict[str, Any] = request.getfixturevalue("project")
        return made

    known: dict[str, Callable[[], Any]] = {
        "geth": lambda: str(request.getfixturevalue("geth")),
        "bootnode": lambda: str(request.getfixturevalue("bootnode")),
        "rpc": lambda: chain().url,
        "ipc": lambda: str(chain().node.ipc),
        "keystore": lambda: str(chain().keystore),
        "password_file": lambda: str(chain().password_file),
        "account": lambda: chain().admin.address,
        "artifact": lambda: json.loads(ARTIFACT.read_text()),
        "artifact_file": lambda: str(ARTIFACT),
        "abi": lambda: json.loads(ARTIFACT.read_text())["abi"],
        "other_key": lambda: json.dumps(Account.encrypt(b"\1" * 32, PASSWORD, kdf="scrypt", iterations=2)),
        "python": lambda: PYTHON,
        "deployed": lambda: request.getfixturevalue("deployed"),
        "market": lambda: request.getfixturevalue("market"),
        "solc": lambda: request.getfixturevalue("solc"),
        "taken": lambda: int(chain().url.rsplit(":", 1)[1]),
        "requirements": lambda: project()["requirements"],
        "package": lambda: project()["package"],
        "index": lambda: project()["index"],
        "archive": lambda: project()["archive"],
        "bundle": lambda: project()["bundle"],
        "archive_sum": lambda: project()["sha256"],
        "silent": lambda: request.getfixturevalue("silent"),
        "talker": lambda: request.getfixturevalue("talker"),
    }
    return lambda row, root: {"root": str(root), **{name: known[name]() for name in row.names - {"root"}}}


def _be_quick() -> None:
    """Who never answers is waited for here for a moment, and not for the seconds that the code says."""
    patient = socket.socket.settimeout
    socket.socket.settimeout = lambda self, value: patient(self, min(value or PATIENCE_S, PATIENCE_S))  # type: ignore[method-assign]


@pytest.mark.parametrize("row", ROWS)
def test_one_sentence_and_no_trace(tmp_path: Path, names: Callable[[Row, Path], dict[str, Any]], row: Row) -> None:
    root = tmp_path / "r"
    known = names(row, root)
    with scene(row, root, filled(dict(row.files), known)) as place:

        def prepare() -> None:
            _be_quick()
            place.prepare()

        before = tree(place.seen)
        for check in (True, False):
            answer = run_module(row.subject, filled(dict(row.given), known), check=check, before=prepare)
            assert tree(place.seen) == before, answer
            assert "exception" not in answer
            if row.fails_in_check_mode or not check:
                assert answer.get("failed") is True, answer
                assert_said(answer["msg"], filled(row.says, known))
            else:
                assert not answer.get("failed"), answer
