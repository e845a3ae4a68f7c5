# SPDX-License-Identifier: GPL-3.0-or-later
"""How many branches of module_utils and energy_bridge the tests took that `coverage run` watched.

Fails where that are fewer than 90 % of module_utils. A bridge's service, chain and reconciliation run as processes, in
later phases that are not watched, so its number is only shown.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from environment import BRIDGE, CHECKOUT, VENV

WANTED_PERCENT = 90
MEASURED = {
    "module_utils": CHECKOUT / "plugins/module_utils",
    "energy_bridge": BRIDGE / "src/energy_bridge",
}
LEAST_COVERED = 5


def coverage(*arguments: str) -> None:
    subprocess.run([VENV / "bin/coverage", *arguments], cwd=CHECKOUT, check=True)


def percent(files: list[dict[str, Any]]) -> float:
    """Branches taken of those there are, in per cent."""
    there = sum(file["summary"]["num_branches"] for file in files)
    return 100 * sum(file["summary"]["covered_branches"] for file in files) / there if there else 100.0


def main() -> None:
    report = CHECKOUT / "build/coverage/report.json"
    coverage("combine", "--quiet")
    coverage("json", "--quiet", "-o", str(report))
    files = json.loads(report.read_text())["files"]
    reached = {}
    for name, folder in MEASURED.items():
        below = {path: file for path, file in files.items() if (CHECKOUT / path).is_relative_to(folder)}
        reached[name] = percent(list(below.values()))
        print(f"{name}: {reached[name]:.1f} % of its branches")
        worst = sorted(below, key=lambda path: percent([below[path]]))[:LEAST_COVERED]
        for path in worst:
            print(f"  {percent([below[path]]):5.1f} %  {Path(path).name}, lines {missing(below[path])}")
    if reached["module_utils"] < WANTED_PERCENT:
        sys.exit(f"smartenergy: tests have to take {WANTED_PERCENT} % of the branches of module_utils")


def missing(file: dict[str, Any]) -> str:
    """From which lines a branch was not taken."""
    return ", ".join(str(line) for line in sorted({abs(start) for start, _ in file["missing_branches"]})) or "none"


if __name__ == "__main__":
    main()
