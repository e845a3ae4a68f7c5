# SPDX-License-Identifier: GPL-3.0-or-later
"""What each run of Ansible in molecule's log took and changed, and how often it sent a module to each host.

It fails where a run sends more than a Pi has patience for, or where a later one changes what is finished.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

# The folder of the package bench.
sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.executions import count

CHECKOUT = Path(__file__).parents[2]
LOG = CHECKOUT / "build/molecule.log"
INVENTORY = CHECKOUT / "molecule/default/inventory/hosts.yml"
# Module executions on a sealer, at most: in the first run, and in every later one.
FIRST, LATER = 45, 30

ENTRY = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ p=(\d+) u=\S+ n=\S+ [A-Z]+\| ", re.MULTILINE)
PLAYBOOK = re.compile(r"^PLAYBOOK: (\w+)\.yml", re.MULTILINE)
DRY = re.compile("^DRY RUN", re.MULTILINE)
CHANGED = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One process of ansible-playbook, as its log tells of it."""

    playbook: str
    check: bool
    seconds: float
    changed: int
    executions: Mapping[str, int]

    def __str__(self) -> str:
        name = f"{self.playbook} --check" if self.check else self.playbook
        each = " ".join(f"{host} {number}" for host, number in sorted(self.executions.items()))
        return f"{name:<17} {self.seconds:5.0f} s  changed {self.changed:>3}  modules: {each}"


def runs(log: str, names: Mapping[str, str]) -> list[Run]:
    """The runs of a log in the order of their beginning; names are those of the hosts, by address."""
    # Text, time, process, text, time, process, text …
    _, *pieces = ENTRY.split(log)
    said: dict[str, list[str]] = {}
    times: dict[str, list[datetime]] = {}
    for time, process, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        said.setdefault(process, []).append(text)
        times.setdefault(process, []).append(datetime.fromisoformat(time))
    found = []
    for process, texts in said.items():
        words = "".join(texts)
        playbook = PLAYBOOK.search(words)
        found.append(
            Run(
                # Create empties the log, so that its own beginning is not in it.
                playbook=playbook[1] if playbook else "create",
                check=DRY.search(words) is not None,
                seconds=(times[process][-1] - times[process][0]).total_seconds(),
                changed=sum(int(number) for _, number in CHANGED.findall(words)),
                executions={names.get(host, host): number for host, number in count(words).items()},
            )
        )
    return found


def faults(found: Sequence[Run]) -> list[str]:
    """What is amiss with the runs of one network, the first of which brought it up."""
    said = []
    finished = False
    for run in found:
        if run.playbook != "converge":
            continue
        budget = LATER if finished else FIRST
        said += [
            f"one run sent {number} modules to {host}, and {budget} is the most"
            for host, number in run.executions.items()
            if host.startswith("sealer") and number > budget
        ]
        if finished and run.changed:
            said.append(f"a run on a finished network {'would change' if run.check else 'changed'} it")
        finished = finished or not run.check
    return said


def main() -> None:
    hosts = yaml.safe_load(INVENTORY.read_text())["all"]["hosts"]
    found = runs(LOG.read_text(), {host["ansible_host"]: name for name, host in hosts.items()})
    print(*found, sep="\n")
    sys.exit("\n".join(faults(found)) or None)


if __name__ == "__main__":
    main()
