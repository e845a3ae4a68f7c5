# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, made by geth itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from support.modules import assert_check_mode_is_truthful, assert_refused, run_module


def options(root: Path, geth: Path, *names: str) -> dict[str, Any]:
    accounts = [
        {"name": name, "keystore": str(root / name / "keystore"), "password_file": str(root / name / "password")}
        for name in names
    ]
    return {"accounts": accounts, "geth": str(geth)}


@pytest.mark.parametrize("names", [["sealer"], ["admin", "operator"]])
@pytest.mark.parametrize("lightkdf", [True])
def test_check_mode(tmp_path: Path, geth: Path, names: list[str], lightkdf: bool) -> None:
    asked = {**options(tmp_path, geth, *names), "lightkdf": lightkdf}
    real, again = assert_check_mode_is_truthful("geth_account", asked, tmp_path)
    assert again["addresses"] == real["addresses"]
    assert list(real["addresses"]) == names


def test_the_account_opens_with_its_password_and_nobody_else_sees_either(tmp_path: Path, geth: Path) -> None:
    answer = run_module("geth_account", options(tmp_path, geth, "pv"))
    (key,) = (tmp_path / "pv/keystore").iterdir()
    password = (tmp_path / "pv/password").read_text()
    private = Account.decrypt(json.loads(key.read_text()), password)
    assert Account.from_key(private).address == answer["addresses"]["pv"]
    assert len(password) == 64
    assert password not in json.dumps(answer)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "pv").rglob("*")}
    assert modes == {"keystore": 0o700, key.name: 0o600, "password": 0o600}


def test_only_what_is_missing_is_made(tmp_path: Path, geth: Path) -> None:
    first = run_module("geth_account", options(tmp_path, geth, "pv"))
    second = run_module("geth_account", options(tmp_path, geth, "pv", "grid"))
    assert second["addresses"]["pv"] == first["addresses"]["pv"]
    assert second["diff"]["before"] == {"pv": "present", "grid": "absent"}


def test_a_run_that_ended_after_the_password_is_finished(tmp_path: Path, geth: Path) -> None:
    (tmp_path / "pv").mkdir()
    (tmp_path / "pv/password").write_text("chosen before\n")
    answer = run_module("geth_account", options(tmp_path, geth, "pv"))
    (key,) = (tmp_path / "pv/keystore").iterdir()
    assert Account.from_key(Account.decrypt(json.loads(key.read_text()), "chosen before")).address in str(answer)


def test_an_account_that_is_there_needs_no_geth(tmp_path: Path, geth: Path) -> None:
    made = run_module("geth_account", options(tmp_path, geth, "pv"))
    found = run_module("geth_account", options(tmp_path, tmp_path / "no-geth", "pv"))
    assert (found["changed"], found["addresses"]) == (False, made["addresses"])


def test_check_mode_needs_no_geth(tmp_path: Path) -> None:
    answer = run_module("geth_account", options(tmp_path, tmp_path / "no-geth", "pv"), check=True)
    assert (answer["changed"], answer["addresses"]) == (True, {"pv": None})


def test_a_missing_password_is_refused(tmp_path: Path, geth: Path) -> None:
    asked = options(tmp_path, geth, "pv")
    address = run_module("geth_account", asked)["addresses"]["pv"]
    (tmp_path / "pv/password").unlink()
    assert_refused("geth_account", asked, tmp_path, address, "has no password in", str(tmp_path / "pv/password"))


def test_two_accounts_in_a_keystore_are_refused(tmp_path: Path, geth: Path) -> None:
    asked = options(tmp_path, geth, "pv", "grid")
    run_module("geth_account", asked)
    (other,) = (tmp_path / "grid/keystore").iterdir()
    (tmp_path / "pv/keystore" / other.name).write_bytes(other.read_bytes())
    assert_refused("geth_account", asked, tmp_path, "holds 2 accounts", "move the others away")


def test_what_is_no_key_is_refused(tmp_path: Path, geth: Path) -> None:
    (tmp_path / "pv/keystore").mkdir(parents=True)
    (tmp_path / "pv/keystore/notes.txt").write_text("hello")
    assert_refused("geth_account", options(tmp_path, geth, "pv"), tmp_path, "notes.txt is no key file of geth")


def test_one_keystore_for_two_accounts_is_refused(tmp_path: Path, geth: Path) -> None:
    asked = options(tmp_path, geth, "pv", "grid")
    asked["accounts"][1]["keystore"] = asked["accounts"][0]["keystore"]
    assert_refused("geth_account", asked, tmp_path, "two accounts have the keystore")


def test_a_geth_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path, geth: Path) -> None:
    fake = tmp_path / "geth"
    fake.write_text("#!/bin/sh\necho 'Fatal: no space left' >&2\nexit 1\n")
    fake.chmod(0o755)
    answer = run_module("geth_account", options(tmp_path / "node", fake, "pv"))
    assert answer["msg"] == f"{fake} made no account for pv: Fatal: no space left"
    assert not (tmp_path / "node").exists()
    assert run_module("geth_account", options(tmp_path / "node", geth, "pv"))["changed"] is True


def test_a_missing_geth_is_named(tmp_path: Path) -> None:
    answer = run_module("geth_account", options(tmp_path, tmp_path / "no-geth", "pv"))
    assert answer["msg"] == f"{tmp_path / 'no-geth'} cannot be run: No such file or directory"


def test_an_unknown_owner_is_named(tmp_path: Path, geth: Path) -> None:
    answer = run_module("geth_account", {**options(tmp_path, geth, "pv"), "owner": "nobody-of-that-name"})
    assert "cannot be given to nobody-of-that-name" in answer["msg"]
