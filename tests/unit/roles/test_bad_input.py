# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a role is given that cannot be, it says so in one sentence and leaves no trace, in check mode too.

The tables are in the folder bad_input, one for each role; tests/support/bad_input.py says how they are written. All
rows are hosts of one play, one after the other, in which nothing but their folders can be written.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.bad_input import Row, arrange, assert_said, filled, tables
from support.chain import ARTIFACT, PASSWORD, Chain
from support.disk import only_writable
from support.modules import tree
from support.roles import CHECKOUT, VENV
from support.services import a_place

TABLES = tables(Path(__file__).parent / "bad_input")
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
ROWS = {f"row{number}": row for number, row in enumerate(row for rows in TABLES.values() for row in rows)}
FROM_A_SPEC = "Validation of arguments failed:\n"
REFUSAL = {
    "msg": "{{ ansible_failed_result.msg | default('') }}",
    "items": "{{ ansible_failed_result.results | default([]) | selectattr('failed', 'defined') "
    "| selectattr('failed') | map(attribute='msg') | list }}",
    "exception": "{{ ansible_failed_result.exception | default('') }}",
}


def test_every_role_has_a_table() -> None:
    assert sorted(TABLES) == ROLES


def play(wanted: Path) -> list[dict[str, Any]]:
    """A play that tries all rows, and one that writes down what they said."""
    include = {"name": "smartenergy.clique.{{ row_role }}", "tasks_from": "{{ row_entry }}"}
    tried = {
        "block": [{"ansible.builtin.include_role": include}],
        "rescue": [{"ansible.builtin.set_fact": {"row_said": REFUSAL}}],
    }
    said = "dict(groups['rows'] | zip(groups['rows'] | map('extract', hostvars, 'row_said')))"
    content = {"content": f"{{{{ {said} | to_json }}}}", "dest": str(wanted)}
    aside = {"check_mode": False, "diff": False, "delegate_to": "localhost", "run_once": True}
    everybody = {"gather_facts": False}
    return [
        {"hosts": "rows", "serial": 1, "tasks": [tried], **everybody},
        {"hosts": "rows", "tasks": [{"ansible.builtin.copy": content, **aside}], **everybody},
    ]


@pytest.fixture(autouse=True)
def nothing_runs_on(tmp_path: Path) -> Iterator[object]:
    """What a row starts that should have been refused ends with the test."""
    yield from a_place(tmp_path)


@pytest.fixture(scope="module")
def known(chain: Chain, geth: Path, bootnode: Path) -> dict[str, Any]:
    return {
        "geth": str(geth),
        "bootnode": str(bootnode),
        "rpc": chain.url,
        "account": chain.admin.address,
        "artifact_file": str(ARTIFACT),
        "other_key": json.dumps(Account.encrypt(b"\1" * 32, PASSWORD, kdf="scrypt", iterations=2)),
        "machine": os.uname().machine,
        "controller_python": sys.executable,
    }


@pytest.mark.parametrize("mode", ["check", "real"])
def test_one_sentence_and_no_trace(tmp_path: Path, known: dict[str, Any], mode: str) -> None:
    # Where check mode cannot know, the tests of the modules look at what it says.
    rows = {name: row for name, row in ROWS.items() if mode == "real" or row.fails_in_check_mode}
    hosts, roots, wanted = {}, {}, tmp_path / "said.json"
    for name, row in rows.items():
        roots[name] = tmp_path / name
        names = {**known, "root": str(roots[name])}
        roots[name].mkdir()
        arrange(roots[name], filled(dict(row.files), names))
        hosts[name] = {**filled(dict(row.given), names), "row_role": row.subject, "row_entry": row.entry}
    before = {name: tree(root) for name, root in roots.items()}
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_remote_tmp": str(tmp_path / "remote"),
        "row_said": None,
    }
    inventory = {"all": {"vars": local}, "rows": {"hosts": hosts}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    (tmp_path / "play.yml").write_text(json.dumps(play(wanted)))
    run = subprocess.run(
        [
            VENV / "bin/ansible-playbook",
            *("-i", tmp_path / "hosts.json"),
            tmp_path / "play.yml",
            *(["--check"] if mode == "check" else []),
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path),
            "ANSIBLE_PIPELINING": "1",
        },
        preexec_fn=only_writable(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert wanted.exists(), run.stdout + run.stderr
    said = json.loads(wanted.read_text())
    wrong = []
    for name, row in rows.items():
        try:
            assert tree(roots[name]) == before[name], said[name]
            judge(row, said[name], {**known, "root": str(roots[name])})
        except AssertionError as error:
            wrong.append(f"{row.subject}: {row.what}: {error}")
    assert not wrong, "\n\n".join(wrong)


def judge(row: Row, said: dict[str, Any] | None, names: dict[str, Any]) -> None:
    """Raise AssertionError where a row did not say what it should."""
    assert said is not None, "nothing was refused"
    message = (said["items"] or [said["msg"]])[0]
    assert_said(message.removeprefix(FROM_A_SPEC), filled(row.says, names))
