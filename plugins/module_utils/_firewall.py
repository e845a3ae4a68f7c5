# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lets in, as a table of nftables' of its own. Private to this collection."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import in_folder, write_atomic

__all__ = ["TABLE", "Firewall", "Rule", "State", "render"]

TABLE = "smartenergy"
_LAST_PORT = 65535
_ROLL_BACK = "clique-firewall-roll-back"
_SERVICE = "clique-firewall.service"
_MADE = "# Made by smartenergy.clique; the next run replaces it.\n"

# Like Debian's own nftables.service, and after it: that one begins with a flush of every table, and so does its reload.
_UNIT = (
    _MADE
    + """\
[Unit]
Description=What this host of a Clique network lets in
Documentation=man:nft(8)
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
Conflicts=shutdown.target
DefaultDependencies=no
ConditionPathExists={rules}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {rules}
ExecReload=/usr/sbin/nft -f {rules}
ExecStop=/usr/sbin/nft delete table inet {table}

[Install]
WantedBy=sysinit.target
"""
)

_TABLE = (
    _MADE
    + """\
table inet {table}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto {{ 1, 58 }} accept comment "ICMP, ICMPv6"
        udp sport 67 udp dport 68 accept comment "DHCP"
        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "DHCPv6"
{rules}
    }}
}}
"""
)


@dataclass(frozen=True)
class Rule:
    """A port that is open, to these addresses and networks or, with None, to everybody."""

    name: str
    protocol: str  # tcp or udp
    port: int
    sources: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.port <= _LAST_PORT:
            raise CliqueError(f"{self.name}: a port is between 1 and {_LAST_PORT}, and {self.port} is not")
        if any(character in self.name for character in '"\\\n'):
            raise CliqueError(f"{self.name!r}: the name of a rule has neither quotes nor backslashes nor line breaks")
        for source in self.sources or ():
            try:
                ipaddress.ip_network(source, strict=False)
            except ValueError as error:
                raise CliqueError(
                    f"{self.name}: {source!r} is neither an address nor a network like 192.0.2.0/24 or 2001:db8::/32"
                ) from error

    def lines(self) -> Iterator[str]:
        """The rule in nftables' own words: a line for each family that it is open to."""
        end = f'{self.protocol} dport {self.port} accept comment "{self.name}"'
        if self.sources is None:
            yield end
            return
        for family, version in (("ip", 4), ("ip6", 6)):
            networks = {ipaddress.ip_network(source, strict=False) for source in self.sources}
            found = ipaddress.collapse_addresses(network for network in networks if network.version == version)  # type: ignore[type-var]
            listed = ", ".join(map(_plain, sorted(found)))
            if listed:
                yield f"{family} saddr {{ {listed} }} {end}"


def _plain(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def render(rules: Sequence[Rule]) -> str:
    """Return the file that nft reads: it replaces the table as a whole, and touches no other one."""
    lines = [f"        {line}" for rule in rules for line in rule.lines()]
    return _TABLE.format(table=TABLE, rules="\n".join(lines))


@dataclass(frozen=True)
class State:
    """What is kept for the next boot, and what the kernel has, in nft's words; None where that is not there."""

    rules: str | None
    unit: str | None
    enabled: bool
    loaded: str | None


@dataclass(frozen=True)
class Firewall:
    """The table of this host, and where it is kept."""

    folder: Path = Path("/etc/smartenergy-clique")
    units: Path = Path("/etc/systemd/system")
    run: Path = Path("/run")

    @property
    def _rules(self) -> Path:
        return self.folder / "firewall.nft"

    @property
    def _pending(self) -> Path:
        return self.run / "clique-firewall.nft"

    @property
    def _unit(self) -> Path:
        return self.units / _SERVICE

    def look(self) -> State:
        """What is there. Raises CliqueError."""
        link = self.units / "sysinit.target.wants" / _SERVICE
        return State(_text(self._rules), _text(self._unit), link.is_symlink(), self._listed())

    def plan(self, rules: Sequence[Rule]) -> State:
        """What is to be there. Raises CliqueError where nft refuses the rules."""
        text = render(rules)
        unit = _UNIT.format(rules=self._rules, table=TABLE)
        # Without nft, which check mode may come before, nobody knows its words.
        loaded = self._in_its_words(text) if shutil.which("nft") else text
        return State(text, unit, enabled=True, loaded=loaded)

    def try_out(self, after: State, *, seconds: int) -> None:
        """Have the kernel take the rules, and give back what it had unless somebody keeps them within these seconds.

        Raises CliqueError; then nothing was changed.
        """
        self.require()
        self._disarm()
        write_atomic(self._pending, (after.rules or "").encode(), mode=0o644)
        # In one step: at no moment is the host open.
        nft, rules = "/usr/sbin/nft", self._rules
        back = f"if [ -e {rules} ]; then {nft} -f {rules}; else {nft} delete table inet {TABLE}; fi"
        timer = ["systemd-run", "--quiet", "--collect", f"--unit={_ROLL_BACK}", f"--on-active={seconds}"]
        _do([*timer, "--timer-property=AccuracySec=100ms", "/bin/sh", "-c", back])
        _do(["nft", "-f", str(self._pending)])

    def keep(self, after: State) -> None:
        """Make what is being tried out what every boot begins with. Raises CliqueError where it is over already."""
        if _run(["systemctl", "is-active", "--quiet", f"{_ROLL_BACK}.timer"]).returncode:
            raise CliqueError(
                "the firewall has been given back what it had, because nobody came through the new one in time: "
                "is the host slow, or does a rule for SSH lack its port? raspberry_pi_firewall_try_s gives more time"
            )
        with in_folder(self.folder, mode=0o755):
            write_atomic(self._rules, (after.rules or "").encode(), mode=0o644)
            write_atomic(self._unit, (after.unit or "").encode(), mode=0o644)
        _do(["systemctl", "daemon-reload"])
        _do(["systemctl", "enable", "--quiet", _SERVICE])
        # It loads the same rules again, and counts as started: a restart of nftables.service brings the table back.
        _do(["systemctl", "start", _SERVICE])
        self._disarm()

    def remove(self) -> None:
        """Take the table away, and what would bring it back."""
        self._disarm()
        if self._unit.exists():
            _do(["systemctl", "disable", "--quiet", "--now", _SERVICE])
            self._unit.unlink()
            _do(["systemctl", "daemon-reload"])
        self._rules.unlink(missing_ok=True)
        if self._listed() is not None:
            _do(["nft", "delete", "table", "inet", TABLE])

    def require(self) -> None:
        """Raise CliqueError where there is no nft or no systemd."""
        if shutil.which("nft") is None:
            raise CliqueError("there is no nft on this host: install the Debian package nftables")
        if not Path("/run/systemd/system").is_dir():
            raise CliqueError("systemd does not run here, and without it nobody would take back rules that lock us out")

    def _disarm(self) -> None:
        _run(["systemctl", "stop", f"{_ROLL_BACK}.timer", f"{_ROLL_BACK}.service"])
        self._pending.unlink(missing_ok=True)

    @staticmethod
    def _listed() -> str | None:
        if shutil.which("nft") is None:
            return None
        said = _run(["nft", "--stateless", "list", "table", "inet", TABLE])
        return said.stdout if said.returncode == 0 else None

    @staticmethod
    def _in_its_words(text: str) -> str:
        """Load the rules into a network namespace of their own, which is gone afterwards, and have nft tell them."""
        script = f"nft -f - && nft --stateless list table inet {TABLE}"
        return _do(["unshare", "--net", "sh", "-c", script], text)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CliqueError(f"{path} cannot be read: {reason(error, 'text')}") from error


def _run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    search = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(command, input=text, env=search, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CliqueError(f"{command[0]} cannot be run: {error.strerror}") from error


def _do(command: Sequence[str], text: str | None = None) -> str:
    done = _run(command, text)
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").split())
        raise CliqueError(f"`{' '.join(command[:3])} …` failed: {said}")
    return done.stdout
