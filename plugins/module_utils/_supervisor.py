# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as programs of supervisor, one supervisord for a directory. Private to this collection.

supervisord starts with the first service that is started and ends with the last one that is stopped. It never starts a
program by itself, but starts again for ever what this collection has started. Only the program that changes is touched.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic
from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import (
    environment_of,
    parent_of,
    pids,
    socket_path_problem,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._service import (
    OURS,
    Definition,
    Observed,
    Process,
    ServiceError,
)
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import Clock, wait_until

__all__ = ["Supervisor", "default_supervisord"]

_NAME, _DIRECTORY, _DIGEST = f"{OURS}NAME", f"{OURS}DIRECTORY", f"{OURS}DIGEST"
_STOP_SIGNAL, _STOP_TIMEOUT_S = f"{OURS}STOP_SIGNAL", f"{OURS}STOP_TIMEOUT_S"
_UNKNOWN_DIGEST = "not known yet"  # stands only in what check mode foretells

_STAYS_UP_S = 1  # a program is up once it has run for so long
_ANSWERS_WITHIN_S = 10.0
_ENDS_WITHIN_S = 30.0
_STARTS_WITHIN_S = 3.0
_LAST_LINES = 15

# The states of a process and the faults of supervisor's XML-RPC interface that matter here.
_STOPPED, _STARTING, _RUNNING, _BACKOFF, _STOPPING, _EXITED, _FATAL = 0, 10, 20, 30, 40, 100, 200
_PASSING = (_STARTING, _STOPPING, _EXITED)
_AT_REST = (_STOPPED, _FATAL)
_BAD_NAME, _SPAWN_ERROR, _NOT_RUNNING = 10, 50, 70
_SERVING = 1  # of supervisord itself; it is below 1 while it ends


@dataclass(frozen=True)
class Supervisor:
    """One service of the supervisord of a directory."""

    directory: Path  # absolute and without symbolic links
    name: str
    supervisord: Path
    clock: Clock

    def __post_init__(self) -> None:
        problem = socket_path_problem(self.directory)
        if problem:
            raise ServiceError(problem)
        _plain(str(self.directory))

    # Files

    @property
    def _own(self) -> str:
        return f"services/{self.name}.conf"

    @property
    def log(self) -> Path:
        """Where the service's standard output and standard error go; older ones have .1, .2, .3 behind the name."""
        return self.directory / "log" / f"{self.name}.log"

    def render(self, definition: Definition) -> dict[str, str]:
        """Return supervisord's own configuration and the service's section of it."""
        if definition.user or definition.group:
            raise ServiceError(
                f"{self.name} cannot run as {definition.user or definition.group}: supervisor runs programs as whoever "
                "runs the module; leave out user and group, or take the manager systemd"
            )
        variables = {
            **definition.environment,
            _NAME: self.name,
            _DIRECTORY: str(self.directory),
            _DIGEST: definition.digest or _UNKNOWN_DIGEST,
            _STOP_SIGNAL: definition.stop_signal,
            _STOP_TIMEOUT_S: str(definition.stop_timeout_s),
        }
        program = {
            "command": _command(definition.argv),
            "environment": ",".join(f"{key}={_quoted(key, value)}" for key, value in sorted(variables.items())),
            "directory": _plain(definition.working_directory),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": str(_STAYS_UP_S),
            "startretries": "1000000000",
            "stopsignal": definition.stop_signal,
            "stopwaitsecs": str(definition.stop_timeout_s),
            "stopasgroup": "false",
            "killasgroup": "false",
            "redirect_stderr": "true",
            "stdout_logfile": _plain(str(self.log)),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
        return {"supervisord.conf": self._settings(), self._own: _section(f"program:{self.name}", program)}

    def _settings(self) -> str:
        here = _plain(str(self.directory))
        daemon = {
            "directory": here,
            "logfile": f"{here}/log/supervisord.log",
            "logfile_maxbytes": "1MB",
            "logfile_backups": "1",
            "childlogdir": f"{here}/log",
            "nocleanup": "true",
            "pidfile": f"{here}/supervisord.pid",
            "umask": "077",
            "minfds": "256",
            "minprocs": "16",
        }
        factory = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        return "\n".join(
            (
                _section("supervisord", daemon),
                _section("unix_http_server", {"file": f"{here}/supervisor.sock", "chmod": "0600"}),
                _section("rpcinterface:supervisor", factory),
                _section("include", {"files": "services/*.conf"}),
            )
        )

    def write(self, files: Mapping[str, str]) -> None:
        here = self.directory
        with (
            in_folder(here, mode=0o700),
            in_folder(here / "log", mode=0o700),
            in_folder(here / "services", mode=0o700),
        ):
            for name, text in files.items():
                write_atomic(here / name, text.encode(), mode=0o600)

    # Looking

    def observe(self) -> Observed:
        self._wait_for_a_steady_supervisord()
        info = self._settled()
        state = info and info["state"]
        files = {name: text for name in ("supervisord.conf", self._own) if (text := self._read(name)) is not None}
        return Observed(
            process=self._process(info),
            retried=state == _BACKOFF,
            lonely=self._is_lonely(),
            files=files,
            own=frozenset({self._own} & files.keys()),
        )

    def _read(self, name: str) -> str | None:
        try:
            return (self.directory / name).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ServiceError(f"{self.directory / name} cannot be read: {error.strerror}") from error

    def _process(self, info: dict[str, Any] | None) -> Process | None:
        if info and info["state"] == _RUNNING:
            return Process(info["pid"], environment_of(info["pid"]).get(_DIGEST), supervised=True)
        strays = self._strays(info)
        return Process(strays[0], environment_of(strays[0]).get(_DIGEST), supervised=False) if strays else None

    def _strays(self, info: dict[str, Any] | None) -> list[int]:
        """Processes of this service that supervisord does not know, parents before their children.

        They outlived a supervisord that was killed, or the program that started them.
        """
        ours = [pid for pid in pids() if self._is_ours(environment_of(pid))]
        family = {info["pid"]} if info and info["pid"] else set()
        grown = True
        while grown:  # whoever descends from the supervised process is not a stray
            children = {pid for pid in ours if pid not in family and parent_of(pid) in family}
            family |= children
            grown = bool(children)
        strays = [pid for pid in ours if pid not in family]
        return sorted(strays, key=lambda pid: (parent_of(pid) in strays, pid))

    def _is_ours(self, environment: Mapping[str, str]) -> bool:
        return (environment.get(_NAME), environment.get(_DIRECTORY)) == (self.name, str(self.directory))

    def _wait_for_a_steady_supervisord(self) -> None:
        """Wait while supervisord ends, by whoever's wish; refuse one that lives and cannot be talked to."""

        def steady() -> bool:
            state = self._ask("getState")
            return state["statecode"] == _SERVING if state else not self._daemons()

        timeout_s = _ENDS_WITHIN_S if self._ask("getState") else _STARTS_WITHIN_S
        if not wait_until(steady, timeout_s=timeout_s, clock=self.clock):
            raise ServiceError(
                f"supervisord of {self.directory} runs (process {self._daemons()[0]}) and does not answer on "
                "supervisor.sock there: end it with SIGTERM, which stops its programs, and run this again"
            )

    def _daemons(self) -> list[int]:
        environments = {pid: environment_of(pid) for pid in pids()}
        return [pid for pid, e in environments.items() if e.get(_DIRECTORY) == str(self.directory) and _NAME not in e]

    def _settled(self) -> dict[str, Any] | None:
        """What supervisord says of the service, once it is neither starting nor stopping; None where it knows none."""
        stopping_s = float(environment_of((self._info() or {}).get("pid", 0)).get(_STOP_TIMEOUT_S, 0))
        timeout_s = stopping_s + _STAYS_UP_S + _ANSWERS_WITHIN_S

        def settled() -> tuple[dict[str, Any] | None] | None:
            info = self._info()
            return None if info and info["state"] in _PASSING else (info,)

        answer = wait_until(settled, timeout_s=timeout_s, clock=self.clock)
        if answer is None:
            raise ServiceError(f"{self.name} neither starts nor stops within {timeout_s:g} s; look at {self.log}")
        return answer[0]

    def _info(self) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] | None = self._ask("getProcessInfo", self.name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _BAD_NAME:
                raise self._refusal(fault) from fault
            return None
        return info

    def _is_lonely(self) -> bool:
        known = self._ask("getAllProcessInfo")
        return known is not None and all(i["state"] in _AT_REST for i in known if i["name"] != self.name)

    # Doing

    def require(self) -> None:
        if not os.access(self.supervisord, os.X_OK):
            raise ServiceError(
                f"{self.name} is not started: there is no program {self.supervisord}; install supervisor from PyPI "
                "there, or say with the option supervisord where it is"
            )

    def stop(self) -> None:
        info = self._info()
        if info and info["state"] not in _AT_REST:
            timeout_s = float(environment_of(info["pid"]).get(_STOP_TIMEOUT_S, 0)) + _ANSWERS_WITHIN_S
            if not wait_until(self._comes_to_rest, timeout_s=timeout_s, clock=self.clock):
                raise ServiceError(f"{self.name} does not stop within {timeout_s:g} s, not even by force")
        self._end_strays()

    def _comes_to_rest(self) -> bool:
        """Ask for a stop, again where supervisord has just begun to start the program anew."""
        info = self._info()
        if info is None or info["state"] in _AT_REST:
            return True
        if info["state"] not in _PASSING or info["state"] == _STARTING:
            self._ask("stopProcess", self.name, False, tolerate=_NOT_RUNNING)
        return False

    def _end_strays(self) -> None:
        asked: set[int] = set()

        def none_left() -> bool:
            strays = self._strays(self._info())
            for pid in strays:
                if pid not in asked and parent_of(pid) not in strays:  # a parent ends its children in its own way
                    asked.add(pid)
                    _send(pid, environment_of(pid).get(_STOP_SIGNAL, "TERM"))
            return not strays

        patience_s = max(
            (float(environment_of(pid).get(_STOP_TIMEOUT_S, 0)) for pid in self._strays(self._info())), default=0.0
        )
        if wait_until(none_left, timeout_s=patience_s, clock=self.clock):
            return
        for pid in self._strays(self._info()):
            _send(pid, "KILL")
        if not wait_until(lambda: not self._strays(self._info()), timeout_s=_ANSWERS_WITHIN_S, clock=self.clock):
            raise ServiceError(f"{self.name} does not end: process {self._strays(self._info())[0]} survives SIGKILL")

    def start(self) -> None:
        self._be_there()
        said_before = self.log.stat().st_size if self.log.exists() else 0
        try:
            # What is loaded may be older than the files: an interrupted run, or one that was to restart nothing.
            self._ask("reloadConfig")
            self.stop()
            self._ask("removeProcessGroup", self.name, tolerate=_BAD_NAME)
            self._ask("addProcessGroup", self.name)
            self._ask("startProcess", self.name, False, tolerate=_SPAWN_ERROR)
        except xmlrpc.client.Fault as fault:
            raise self._refusal(fault, said_before) from fault

        def decided() -> bool:
            info = self._info()
            return info is None or info["state"] != _STARTING

        wait_until(decided, timeout_s=_STAYS_UP_S + _ANSWERS_WITHIN_S, clock=self.clock)
        info = self._info()
        if info is None or info["state"] != _RUNNING:
            raise self._failure(info["spawnerr"] if info else "", said_before)

    def _be_there(self) -> None:
        """Start supervisord where it does not answer; what a killed one left behind does not matter."""
        if self._ask("getPID") is not None:
            return
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),  # the programs' too: nothing is left in anybody's home
            "LC_ALL": "C.UTF-8",
            _DIRECTORY: str(self.directory),
        }
        (self.directory / "supervisor.sock").unlink(missing_ok=True)  # it would find out itself, and take 0.3 s
        # It answers on its socket before the process that is started here ends, and has then detached itself.
        run = subprocess.run(
            [str(self.supervisord), "-c", str(self.directory / "supervisord.conf")],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=self.directory,
            env=environment,
            umask=0o077,
        )
        if run.returncode:
            said = [line for line in f"{run.stderr}\n{run.stdout}".splitlines() if line.startswith("Error")]
            why = said[0] if said else f"exit status {run.returncode}; look at {self.directory}/log/supervisord.log"
            raise ServiceError(f"supervisord does not start in {self.directory}: {why}")

    def remove(self) -> None:
        (self.directory / self._own).unlink(missing_ok=True)
        self._ask("reloadConfig")
        self._ask("removeProcessGroup", self.name, tolerate=_BAD_NAME)

    def release(self) -> None:
        self._ask("shutdown")
        if not wait_until(lambda: not self._daemons(), timeout_s=_ENDS_WITHIN_S, clock=self.clock):
            raise ServiceError(f"supervisord in {self.directory} does not end within {_ENDS_WITHIN_S:g} s")

    def _refusal(self, fault: xmlrpc.client.Fault, said_before: int = 0) -> ServiceError:
        return self._failure(f"supervisord says {fault.faultString}", said_before)

    def _failure(self, why: str, said_before: int) -> ServiceError:
        last = _lines_since(self.log, said_before)
        said = "\n".join([f"The last lines of {self.log}:", *last]) if last else f"It wrote nothing to {self.log}."
        return ServiceError(
            f"{self.name} does not stay up: {why or 'it ended'}; supervisord and the next run try again. {said}"
        )

    # Talking

    def _ask(self, method: str, *arguments: Any, tolerate: int | None = None) -> Any:
        """Call supervisord; None where there is none. A fault is raised, but for the one that is tolerated."""
        transport = _Transport(self.directory / "supervisor.sock")
        try:
            with xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=transport, allow_none=True) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != tolerate:
                raise
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ServiceError(
                f"supervisord in {self.directory} does not answer properly: {error or type(error).__name__}"
            ) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs away from this directory; a kernel's lock, which no killed run leaves behind."""
        try:
            folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # it is not there yet, or cannot be used, which the first write will say
            yield
            return
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(host, self._path)


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, path: Path) -> None:
        super().__init__(host, timeout=_ANSWERS_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _send(pid: int, signal_name: str) -> None:
    try:
        os.kill(pid, signal.Signals[f"SIG{signal_name}"])
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise ServiceError(
            f"process {pid} belongs to another user and cannot be stopped: end it as that user"
        ) from error


def _lines_since(log: Path, offset: int) -> list[str]:
    """The last lines of what was written behind an offset; all of the file's where it was rotated since."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset if offset <= size else 0, size - 64 * 1024))
            return file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return []


# What supervisor's configuration can carry. It is an INI file where '%' expands, ' ;' and ' #' begin a comment, and
# '%(here)s' is replaced before anything is unescaped.


def _section(name: str, values: Mapping[str, str]) -> str:
    return "".join((f"[{name}]\n", *(f"{key}={value}\n" for key, value in values.items())))


def _command(argv: tuple[str, ...]) -> str:
    """Quote as a shell does; a pair of quotes in the middle of a word changes nothing and parts what must be parted."""
    return re.sub(r"(?<=\s)(?=[;#])|(?<=%)(?=\()", "''", shlex.join(argv)).replace("%", "%%")


def _plain(path: str) -> str:
    unfit = not path.isprintable() or path != path.strip() or re.search(r"\s[;#]|[%\[\]*?]", path)
    if unfit or not path.startswith("/"):
        raise ServiceError(
            f"supervisor cannot work in {path!r}: use a path from / on without ' #', ' ;', '%', '[', ']', '*' and '?'"
        )
    return path


def _quoted(variable: str, value: str) -> str:
    quote = "'" if '"' in value else '"'
    if quote in value or value[:1] in ("'", '"') or value[-1:] in ("'", '"') or re.search(r"\s[;#]|%\(here\)s", value):
        raise ServiceError(
            f"supervisor cannot carry the value of the environment variable {variable} (quotes at an end or of both "
            "kinds, ' #', ' ;' or '%(here)s'): let the program read it from a file"
        )
    return f"{quote}{value}{quote}".replace("%", "%%")


def default_supervisord() -> Path:
    """The program next to the Python that runs this, which is the one of a virtual environment."""
    return Path(sys.executable).parent / "supervisord"
