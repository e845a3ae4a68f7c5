# SPDX-License-Identifier: GPL-3.0-or-later
"""How many branches of module_utils, or of energy_bridge, the tests took that `coverage run` watched.

Fails where that are fewer than 90 %.
"""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=MEASURED, help="the code whose branches are counted")
    what = parser.parse_args().what
    report = CHECKOUT / "build/coverage/report.json"
    coverage("combine", "--quiet")
    coverage("json", "--quiet", "-o", str(report))
    files = {
        path: file
        for path, file in json.loads(report.read_text())["files"].items()
        if (CHECKOUT / path).is_relative_to(MEASURED[what])
    }
    reached = percent(list(files.values()))
    print(f"{what}: {reached:.1f} % of its branches")
    for path in sorted(files, key=lambda path: percent([files[path]]))[:LEAST_COVERED]:
        print(f"  {percent([files[path]]):5.1f} %  {Path(path).name}, lines {missing(files[path])}")
    if reached < WANTED_PERCENT:
        sys.exit(f"smartenergy: tests have to take {WANTED_PERCENT} % of the branches of {what}")


def missing(file: dict[str, Any]) -> str:
    """From which lines a branch was not taken."""
    return ", ".join(str(line) for line in sorted({abs(start) for start, _ in file["missing_branches"]})) or "none"


if __name__ == "__main__":
    main()
