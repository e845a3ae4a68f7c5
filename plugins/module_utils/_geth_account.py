# SPDX-License-Identifier: GPL-3.0-or-later
"""A keystore with one account and the file with its password. Private to this collection."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, in_folder, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._keccak import checksum_address

__all__ = ["Account", "AccountError", "Seen", "accounts_from", "look", "make"]


class AccountError(CliqueError):
    """An account that cannot be had as it is asked for."""


@dataclass(frozen=True)
class Account:
    """What one account is to be called and where it is to be."""

    name: str
    keystore: Path
    password_file: Path


@dataclass(frozen=True)
class Seen:
    """What there is of an account."""

    address: str | None
    has_password: bool


def accounts_from(options: Iterable[Mapping[str, str]]) -> tuple[Account, ...]:
    """Read the module's option, and refuse two accounts that would be one."""
    accounts = tuple(
        Account(o["name"], Path(o["keystore"]).absolute(), Path(o["password_file"]).absolute()) for o in options
    )
    for what in ("name", "keystore"):
        seen: set[object] = set()
        for value in (getattr(account, what) for account in accounts):
            if value in seen:
                raise AccountError(f"two accounts have the {what} {value}: give each its own")
            seen.add(value)
    return accounts


def look(account: Account) -> Seen:
    """Read the keystore; raises AccountError where it is not the home of exactly this account."""
    addresses = _addresses(account.keystore)
    try:
        has_password = bool(account.password_file.read_text().strip())
    except FileNotFoundError:
        has_password = False
    except (OSError, UnicodeDecodeError) as error:
        raise AccountError(
            f"the password file {account.password_file} cannot be read: {reason(error, 'text')}"
        ) from error
    if len(addresses) > 1:
        raise AccountError(
            f"the keystore {account.keystore} of {account.name} holds {len(addresses)} accounts "
            f"({', '.join(addresses)}): leave the one that is meant and move the others away"
        )
    if addresses and not has_password:
        raise AccountError(
            f"the account {addresses[0]} of {account.name} has no password in {account.password_file}: put the one "
            f"there that it was made with, or move {account.keystore} away to get a new account"
        )
    return Seen(addresses[0] if addresses else None, has_password)


def _addresses(keystore: Path) -> list[str]:
    try:
        files = sorted(path for path in keystore.iterdir() if not path.name.startswith("."))  # geth's drafts have a dot
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AccountError(f"the keystore {keystore} cannot be read: {error.strerror}") from error
    addresses = []
    for path in files:
        try:
            addresses.append(checksum_address(json.loads(path.read_bytes())["address"]))
        except (OSError, ValueError, LookupError, TypeError, CliqueError) as error:
            raise AccountError(
                f"{path} is no key file of geth, and nothing else may be in a keystore: move it away"
            ) from error
    return addresses


def make(account: Account, seen: Seen, *, geth: Path, lightkdf: bool, owner: str | None, group: str | None) -> str:
    """Make what is missing and return the address. A password that is there is used: an interrupted run goes on."""
    with (
        in_folder(account.password_file.parent, mode=0o700, owner=owner, group=group),
        in_folder(account.keystore, mode=0o700, owner=owner, group=group),
    ):
        # Made elsewhere, for geth does not sync it to the disk: in the keystore it is whole, durable and its owner's.
        with draft_folder(account.keystore.parent) as (draft, lock):
            password = account.password_file
            if not seen.has_password:
                password = draft / "password"
                write_atomic(password, secrets.token_hex(32).encode(), mode=0o600)
            _run_geth(account, geth, draft, password, lock, lightkdf=lightkdf)
            addresses = _addresses(draft / "keystore")
            if len(addresses) != 1:
                raise AccountError(f"{geth} made no account for {account.name}: is it geth?")
            # The password first: a run that is cut off here is finished with it by the next one.
            made = {} if seen.has_password else {account.password_file: password.read_bytes()}
            made |= {account.keystore / key.name: key.read_bytes() for key in (draft / "keystore").iterdir()}
        for path, content in made.items():
            write_atomic(path, content, mode=0o600, owner=owner, group=group)
    return addresses[0]


def _run_geth(account: Account, geth: Path, home: Path, password: Path, lock: int, *, lightkdf: bool) -> None:
    command = [geth, "account", "new", "--keystore", home / "keystore", "--password", password]
    try:
        run = subprocess.run(
            [str(word) for word in [*command, *(["--lightkdf"] if lightkdf else [])]],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home)},
            pass_fds=[lock],
        )
    except OSError as error:
        raise AccountError(f"{geth} cannot be run: {error.strerror}") from error
    if run.returncode:
        last = (run.stderr.strip() or run.stdout.strip() or f"exit status {run.returncode}").splitlines()[-1]
        raise AccountError(f"{geth} made no account for {account.name}: {last}")
