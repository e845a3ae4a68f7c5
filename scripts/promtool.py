# SPDX-License-Identifier: GPL-3.0-or-later
"""Check examples/prometheus with Prometheus's own promtool: configuration, rules, their tests, the dashboard's queries.

Where there is no promtool it is taken out of Debian's package of Prometheus, into build/; the package is not installed,
as it would start a service.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from debian import need, unpack
from environment import CHECKOUT

EXAMPLES = CHECKOUT / "examples/prometheus"
UNPACKED = CHECKOUT / "build/prometheus"
# What Grafana puts in their place.
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}


def promtool() -> str:
    """The program: the system's, or one that was unpacked here."""
    if found := shutil.which("promtool"):
        return found
    program = UNPACKED / "usr/bin/promtool"
    if not program.exists():
        need("of examples/prometheus", "promtool", "put it into PATH (on Debian it is in the package prometheus)")
        unpack("prometheus", UNPACKED)
    return str(program)


def expressions(dashboard: Path) -> list[str]:
    """What a dashboard asks Prometheus, with something in the place of its variables."""
    text = [target["expr"] for panel in json.loads(dashboard.read_text())["panels"] for target in panel["targets"]]
    pattern = re.compile("|".join(map(re.escape, VARIABLES)))
    return [pattern.sub(lambda name: VARIABLES[name[0]], expression) for expression in text]


def main() -> None:
    program = promtool()
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "dashboard.json"
        recorded = [
            {"record": f"panel:{number}", "expr": expression}
            for number, expression in enumerate(expressions(EXAMPLES / "dashboard.json"))
        ]
        asked.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
        for command in (
            ["check", "config", "prometheus.yml"],
            ["check", "rules", "--lint-fatal", "rules.yml", str(asked)],
            ["test", "rules", "rules_test.yml"],
        ):
            done = subprocess.run([program, *command], cwd=EXAMPLES, check=False)
            if done.returncode:
                sys.exit(f"smartenergy: promtool {' '.join(command)} failed; its own words are above")


if __name__ == "__main__":
    main()
