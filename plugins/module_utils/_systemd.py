# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as units of systemd, in a sandbox. Private to this collection.

A unit is two files below /etc/systemd/system: itself, and the link that starts it at boot. What the running process was
started with stands in its own environment, as with every other manager.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._files import make_directory, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import environment_of
from ansible_collections.smartenergy.clique.plugins.module_utils._service import (
    OURS,
    Definition,
    Observed,
    Process,
    ServiceError,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

__all__ = ["Systemd"]

_NAME, _DIRECTORY, _DIGEST = f"{OURS}NAME", f"{OURS}DIRECTORY", f"{OURS}DIGEST"
_UNKNOWN_DIGEST = "not known yet"  # stands only in what check mode foretells

_UNITS = Path("/etc/systemd/system")
_RUNS_HERE = Path("/run/systemd/system")
_STAYS_UP_S = 1.0
_STARTS_WITHIN_S = 10.0
_COMES_BACK_WITHIN_S = 5.0
_LAST_LINES = 15
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))  # what ProtectHome= takes away

# Everything that neither geth nor Python needs. `systemd-analyze security` rates a unit with it below 2.0.
_SANDBOX = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
"""


@dataclass(frozen=True)
class Systemd:
    """One service as a unit."""

    directory: Path  # absolute and without symbolic links
    name: str
    clock: Clock
    user: str | None = None  # whom the directory belongs to where it has to be made
    group: str | None = None
    units: Path = field(default=_UNITS)

    @property
    def unit(self) -> str:
        """The unit's name, for systemctl and journalctl."""
        return f"clique-{self.name}.service"

    @property
    def log(self) -> str:
        """How to read what the service writes to its standard output and standard error."""
        return f"journalctl -u {self.unit}"

    @property
    def _link(self) -> str:
        return f"multi-user.target.wants/{self.unit}"

    # Files

    def render(self, definition: Definition) -> dict[str, str]:
        """Return the unit, and where the link that starts it at boot points to."""
        writable = (str(self.directory),) if definition.writable is None else definition.writable
        for path in (str(self.directory), definition.working_directory, definition.argv[0], *writable):
            if not path.startswith("/"):
                raise ServiceError(f"{self.name} cannot have the path {path!r} in its unit: write it from / on")
            if any(Path(path).is_relative_to(hidden) for hidden in _HIDDEN):
                raise ServiceError(
                    f"{self.name} cannot be sandboxed in {path}: its unit does not see /home, /root and /run/user; "
                    "choose a folder elsewhere, such as below /var/lib or /opt"
                )
        variables = {
            "HOME": str(self.directory),
            "LC_ALL": "C.UTF-8",
            **definition.environment,
            _NAME: self.name,
            _DIRECTORY: str(self.directory),
            _DIGEST: definition.digest or _UNKNOWN_DIGEST,
        }
        lines = [
            "# Made by smartenergy.clique; the next run replaces it.",
            "[Unit]",
            f"Description={_bare(self.name, definition.description or f'{self.name} of a Clique network')}",
            # Blocks of a node whose clock is wrong are refused: it starts when the clock is right, at every boot.
            "Wants=network-online.target time-sync.target",
            "After=network-online.target time-sync.target",
            f"RequiresMountsFor={_word(str(self.directory))}",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=exec",
            *([f"User={definition.user}"] if definition.user else []),
            *([f"Group={definition.group}"] if definition.group else []),
            *(f"Environment={_word(f'{key}={value}')}" for key, value in sorted(variables.items())),
            f"WorkingDirectory={_bare(self.name, definition.working_directory)}",
            # The colon: no variable is put in.
            f"ExecStart=:{' '.join(map(_word, definition.argv))}",
            f"KillSignal=SIG{definition.stop_signal}",
            f"TimeoutStopSec={definition.stop_timeout_s}",
            "Restart=always",
            "RestartSec=1",
            *([f"MemoryHigh={definition.memory_high_mib}M"] if definition.memory_high_mib else []),
            *([f"MemoryMax={definition.memory_max_mib}M"] if definition.memory_max_mib else []),
            f"ReadWritePaths={' '.join(map(_word, writable))}",
            _SANDBOX,
            "[Install]",
            "WantedBy=multi-user.target",
        ]
        return {self.unit: "\n".join(lines) + "\n", self._link: f"../{self.unit}\n"}

    def write(self, files: Mapping[str, str]) -> None:
        """Write the unit and its link, and have systemd read them."""
        write_atomic(self.units / self.unit, files[self.unit].encode(), mode=0o644)
        link = self.units / self._link
        make_directory(link.parent, mode=0o755)
        link.unlink(missing_ok=True)
        link.symlink_to(files[self._link].strip())
        make_directory(self.directory, mode=0o700, owner=self.user, group=self.group)
        if _RUNS_HERE.is_dir():
            self._systemctl("daemon-reload")

    # Looking

    def observe(self) -> Observed:
        """What systemd and its files say; raises ServiceError where the unit is another directory's."""
        files = {name: text for name in (self.unit, self._link) if (text := self._read(name)) is not None}
        theirs = files.get(self.unit)
        ours = f"Environment={_word(f'{_DIRECTORY}={self.directory}')}\n"
        if theirs is not None and ours not in theirs:
            raise ServiceError(
                f"{self.units / self.unit} is of another folder than {self.directory}, or was not made by this "
                "collection; a host has one service of a name: remove that one, or name this one otherwise"
            )
        shown = self._settled()
        pid = int(shown.get("MainPID", "0"))
        running = pid > 0 and shown.get("ActiveState") in ("active", "reloading")  # and not about to end
        return Observed(
            process=Process(pid, environment_of(pid).get(_DIGEST), supervised=True) if running else None,
            retried=not running and shown.get("ActiveState") in ("activating", "deactivating"),
            lonely=False,
            files=files,
            own=frozenset(files),
        )

    def _read(self, name: str) -> str | None:
        path = self.units / name
        try:
            return f"{path.readlink()}\n" if path.is_symlink() else path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ServiceError(f"{path} cannot be read: {error.strerror}") from error

    def _settled(self) -> dict[str, str]:
        """What systemd says, once it is not just about to start again what has ended."""
        said: list[dict[str, str]] = []

        def settled() -> bool:
            shown = self._show()
            came_s = int(shown.get("ActiveEnterTimestampMonotonic", "0")) / 1e6
            if shown.get("NRestarts", "0") != "0" and self.clock.monotonic() - came_s < _STAYS_UP_S:
                shown["ActiveState"] = "activating"  # it came back a moment ago, and may be gone the next
            said.append(shown)
            return shown.get("ActiveState") not in ("activating", "deactivating")

        wait_until(settled, timeout_s=_COMES_BACK_WITHIN_S, clock=self.clock)
        return said[-1]

    def _show(self) -> dict[str, str]:
        if not _RUNS_HERE.is_dir():  # check mode may look at a host that is not set up yet
            return {}
        wanted = "MainPID,ActiveState,NRestarts,ActiveEnterTimestampMonotonic,NeedDaemonReload"
        said = self._systemctl("show", self.unit, f"--property={wanted}")
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    # Doing

    def require(self) -> None:
        """Raise ServiceError where systemd does not run, or there is no such user."""
        if not _RUNS_HERE.is_dir():
            raise ServiceError(
                f"{self.name} is not started: systemd does not run here; use the manager supervisor instead"
            )
        try:
            if self.user:
                pwd.getpwnam(self.user)
            if self.group:
                grp.getgrnam(self.group)
        except KeyError as error:
            raise ServiceError(f"{self.name} is not started: {error.args[0]}; make that first") from error

    def stop(self) -> None:
        """End every process of the unit; systemd sends the stop signal, and after the stop timeout SIGKILL."""
        self._systemctl("stop", self.unit)

    def start(self) -> None:
        """Start the unit and return when it has stayed up for a second."""
        if self._show().get("NeedDaemonReload") == "yes":  # a run was cut off after it had written the unit
            self._systemctl("daemon-reload")
        self.stop()  # also what systemd is about to try again, with its count of tries
        before = self._cursor()
        self._systemctl("reset-failed", self.unit, tolerate=True)
        self._systemctl("start", self.unit, tolerate=True)
        started_s = self.clock.monotonic()

        def up_or_down() -> str:
            shown = self._show()
            if shown.get("ActiveState") != "active" or shown.get("NRestarts") != "0":
                return "down"
            return "up" if self.clock.monotonic() - started_s >= _STAYS_UP_S else ""

        if wait_until(up_or_down, timeout_s=_STARTS_WITHIN_S, clock=self.clock) != "up":
            raise self._failure(before)

    def _failure(self, before: list[str]) -> ServiceError:
        _run(["journalctl", "--sync"])
        said = _run(["journalctl", "-u", self.unit, *before, "-o", "cat", "-q", "--no-pager"]).stdout
        last = "\n".join(said.splitlines()[-_LAST_LINES:])
        words = f"The last lines of its journal:\n{last}" if last else "It wrote nothing to the journal."
        return ServiceError(f"{self.name} does not stay up; systemd and the next run try again. {words}")

    def _cursor(self) -> list[str]:
        """What makes journalctl begin here; nothing where the journal is empty."""
        said = _run(["journalctl", "-q", "-n", "0", "--show-cursor"]).stdout.strip()
        return [f"--after-cursor={said.removeprefix('-- cursor: ')}"] if said else []

    def remove(self) -> None:
        """Forget the unit. Its journal stays."""
        for name in (self._link, self.unit):
            (self.units / name).unlink(missing_ok=True)
        if _RUNS_HERE.is_dir():
            self._systemctl("daemon-reload")
            self._systemctl("reset-failed", self.unit, tolerate=True)

    def release(self) -> None:
        """Nothing: systemd has others to look after."""

    def _systemctl(self, *words: str, tolerate: bool = False) -> str:
        run = _run(["systemctl", "--no-pager", *words])
        if run.returncode and not tolerate:
            raise ServiceError(f"systemctl {' '.join(words)} says: {run.stderr.strip() or run.returncode}")
        return run.stdout

    @contextmanager
    def alone(self) -> Iterator[None]:
        """systemd does one thing at a time with a unit by itself."""
        yield


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except OSError as error:
        raise ServiceError(f"{command[0]} cannot be run: {error.strerror}") from error


# What a unit file can carry: words in double quotes, in which '%' begins a specifier; in two places a bare line, which
# a backslash at its end would join to the next.


def _word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _bare(name: str, text: str) -> str:
    if not text.isprintable() or text != text.strip() or text.endswith("\\") or not text:
        raise ServiceError(
            f"{name} cannot have {text!r} in its unit: description and working directory are one printable line each, "
            "with neither a space at an end nor a backslash at the last"
        )
    return text.replace("%", "%%")
