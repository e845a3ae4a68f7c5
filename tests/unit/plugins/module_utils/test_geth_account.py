# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of an account when the power goes right after it was made."""

import os
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._geth_account import Account, look, make


def test_key_and_password_are_on_the_disk_before_it_is_told(
    tmp_path: Path, geth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noted)
    account = Account("sealer1", tmp_path / "keystore", tmp_path / "password")
    make(account, look(account), geth=geth, lightkdf=True, owner=None, group=None)
    (key,) = account.keystore.iterdir()
    assert {path.stat().st_ino for path in (key, account.keystore, account.password_file, tmp_path)} <= synced
    assert {path.name for path in tmp_path.iterdir()} == {"keystore", "password"}
