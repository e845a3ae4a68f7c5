# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that tests, phase by phase, with the seconds of each. Name phases to run only those."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from environment import CHECKOUT, VENV

BRIDGE_TESTS = "roles/udp_bridge/files/energy_bridge/tests"
PLUGINS = "ansible_collections.smartenergy.clique.plugins"
# The programs that all tests share, with a Go from PyPI where this machine has none.
BUILD = json.dumps(
    {"clique_local_dir": str(CHECKOUT / "build"), "clique_build_cache_directory": str(CHECKOUT / "build/geth")}
)
PHASES = {
    # A Docker engine, emulation of arm64, images: what is missing is set up, or asked for, before all else.
    "images": [["python", "scripts/containers.py"]],
    "geth": [
        ["ansible-playbook", "-i", "inventories/local", "playbooks/build.yml", "--limit", "gateway", "-e", BUILD],
        ["python", "scripts/geth_tests.py"],
    ],
    "static": [
        ["python", "scripts/sanity.py"],
        ["ansible-lint", "--offline", "--strict"],
        ["mypy", "-p", PLUGINS, "-p", "energy_bridge"],
        ["mypy", "scripts", "tests", "molecule/default/verify", "contracts/test", BRIDGE_TESTS],
        ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", "."],
        ["antsibull-changelog", "lint"],
        ["python", "scripts/readmes.py", "--check"],
        ["ruff", "check"],
        ["ruff", "format", "--check"],
    ],
    "unit": [
        ["coverage", "erase"],
        ["coverage", "run", "-m", "pytest", "-n", "3", "--dist", "worksteal", "tests/unit"],
        ["python", "scripts/branches.py", "module_utils"],
    ],
    "contracts": [
        ["python", "scripts/contracts.py", "--check"],
        ["pytest", "-n", "2", "--dist", "worksteal", "contracts/test"],
    ],
    "bridge": [
        ["python", "scripts/octave.py"],
        ["coverage", "erase"],
        [
            *("env", "MEASURE_PROGRAMS=1", "coverage", "run", "-m", "pytest", "-n", "2", "--dist", "loadfile"),
            "tests/integration/test_energy_bridge.py",
            "tests/integration/test_energy_bridge_agreements.py",
            "tests/integration/test_bridge_health.py",
            "tests/integration/test_octave.py",
            "tests/integration/test_go_from_pypi.py",
            BRIDGE_TESTS,
        ],
        ["python", "scripts/branches.py", "energy_bridge"],
    ],
    # What a person sees. Chromium and promtool are installed, or asked for, before all else.
    "page": [
        ["python", "scripts/browser.py"],
        ["python", "scripts/promtool.py"],
        ["pytest", "-n", "2", "--dist", "loadfile", "tests/page"],
    ],
    # Nothing acknowledged is lost and nothing is settled twice, whatever dies; and the chain goes on.
    "crashes": [
        [
            *("pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"),
            "tests/integration/test_chaos.py",  # it takes the longest
            *(f"tests/integration/test_bridge_{name}.py" for name in ("crashes", "outages", "disk")),
            "tests/integration/test_sealer_faults.py",
        ],
    ],
    "containers": [["pytest", "tests/containers"]],
    "integration": [
        [
            *("pytest", "-n", "2", "--dist", "loadfile"),
            *(f"tests/integration/test_{name}.py" for name in ("network", "estate", "demo", "ties")),
            *(f"tests/integration/test_{name}.py" for name in ("sealers_change", "interrupted_network", "plain_geth")),
        ],
    ],
    "molecule": [["molecule", "test"], ["python", "tests/bench/runs.py"]],
}
# Phases that wait more than they work: each runs beside the other one, where that goes right before it.
BESIDE = {"page": "bridge", "containers": "crashes"}
# Where no command needs another one: so many of them run at a time, the longest first.
AT_A_TIME = {"static": 2}
# Programs that say more than anybody reads: it goes to a file, but for their headlines.
HEADLINES = {"molecule": re.compile(r"^(INFO|WARNING|ERROR|CRITICAL) ")}
TAIL_LINES = 100


def run_phase(name: str, *, beside: bool) -> bool:
    """Run the commands of one phase, beside another phase or alone; the first that fails ends it."""
    search_path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search_path, "LC_ALL": "C.UTF-8"}
    if name in AT_A_TIME:
        with ThreadPoolExecutor(AT_A_TIME[name]) as streams:
            return not any(streams.map(partial(run_beside, env=environment), PHASES[name]))
    for command in PHASES[name]:
        print(f"\n{name}: {' '.join(command)}", flush=True)
        if beside:
            status = run_beside(command, environment, label=name)
        elif command[0] in HEADLINES:
            status = run_quietly(command, environment)
        else:
            status = subprocess.call(command, cwd=CHECKOUT, env=environment)
        if status:
            return False
    return True


def run_beside(command: list[str], env: dict[str, str], label: str = "") -> int:
    """Run a command while others run and return its status; each of its lines begins with a label, or its own words."""
    label = label or " ".join(command[:2])
    status = run_heard(command, env, lambda line: print(f"{label}| {line}", end="", flush=True))
    print(f"{label}| {'failed' if status else 'passed'}", flush=True)
    return status


def run_quietly(command: list[str], env: dict[str, str]) -> int:
    """Run a command and return its status; its last lines are shown where it fails."""
    headline = HEADLINES[command[0]]
    path = CHECKOUT / f"build/{command[0]}.out"
    path.parent.mkdir(exist_ok=True)
    last: deque[str] = deque(maxlen=TAIL_LINES)
    with path.open("w") as out:

        def hear(line: str) -> None:
            out.write(line)
            last.append(line)
            if headline.search(line):
                print(line, end="", flush=True)

        status = run_heard(command, {**env, "NO_COLOR": "1"}, hear)
    if status:
        print(*last, f"\nAll that it said is in {path.relative_to(CHECKOUT)}.\n", sep="", flush=True)
    return status


def run_heard(command: list[str], env: dict[str, str], hear: Callable[[str], None]) -> int:
    """Run a command, hand each line that it says to hear, and return its status."""
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as run:
        for line in run.stdout or []:
            hear(line)
    return run.returncode


def timed_phase(name: str, *, beside: bool) -> tuple[bool, str]:
    """Run a phase; return whether it passed, and the line about it."""
    since = time.monotonic()
    passed = run_phase(name, beside=beside)
    return passed, f"{name:<12} {'passed' if passed else 'FAILED':<7} {time.monotonic() - since:5.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phases", nargs="*", choices=[[], *PHASES], metavar="phase", help=", ".join(PHASES))
    wanted = parser.parse_args().phases or list(PHASES)
    steps: list[list[str]] = []
    for name in wanted:
        if steps and steps[-1] == [BESIDE.get(name)]:
            steps[-1].append(name)
        else:
            steps.append([name])
    report: list[str] = []
    passed = True
    for names in steps:
        with ThreadPoolExecutor() as streams:
            ended = list(streams.map(partial(timed_phase, beside=len(names) > 1), names))
        report += [line for _, line in ended]
        passed = all(success for success, _ in ended)
        if not passed:
            break
    print("\n" + "\n".join(report), flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
