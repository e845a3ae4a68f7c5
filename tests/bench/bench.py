# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the collection, side by side with what people would use instead: a table, and build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# The folder of the packages bench and support.
sys.path.insert(0, str(Path(__file__).parent.parent))

from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from support.network import CHECKOUT, Network

from bench import agreeing, building, gas, intake, networks, paging, settling
from bench.progress import timed
from bench.rows import KINDS, Row, from_json, markdown, select, table

RESULTS = CHECKOUT / "build/bench.json"
# What is measured together, by how its rows' names begin.
MEASUREMENTS: tuple[tuple[tuple[str, ...], Callable[[Path, frozenset[str]], Iterator[Row]]], ...] = (
    (("sealing_s",), networks.sealing),
    (("agreements_per_s",), agreeing.agreed),
    (("bring_up_", "second_run_s", "rss_mib/"), networks.bring_up),
    (("module_executions_per_host/",), networks.module_executions),
    (("geth_build_s",), building.geth_build),
    (("gas_per_trade/", "trades_per_s/"), gas.per_trade),
    (("intake_datagrams_per_s/", "bridge_rss_mib"), intake.intake),
    (("page_",), paging.page),
    (("settled_", "final_latency_"), settling.settled),
)
# What is measured without geth, or builds it.
NEED_NO_PROGRAMS = ("geth_build", "intake_", "bridge_rss", "page_")


def measure(names: frozenset[str]) -> tuple[list[Row], str | None]:
    """Measure these rows; return those that were measured, and what then went wrong."""
    rows: dict[str, Row] = {}
    problem = None
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        try:
            if any(not name.startswith(NEED_NO_PROGRAMS) for name in names):
                have_programs(scratch / "ready")
            for begins, function in MEASUREMENTS:
                if wanted := frozenset(name for name in names if name.startswith(begins)):
                    rows.update((row.name, row) for row in function(scratch, wanted) if row.name in wanted)
        except (AssertionError, CliqueError, subprocess.CalledProcessError) as error:
            problem = str(error)
        except KeyboardInterrupt:
            problem = "interrupted; everything is stopped"
    return [rows[name] for name in KINDS if name in rows], problem


def have_programs(directory: Path) -> None:
    """Have geth and bootnode built once for all, so that no network waits for a compiler."""
    with networks.running(Network(directory, networks.BASE_PORT)) as network:
        timed("geth and bootnode, where they are not built yet", lambda: building.build(network))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"names of rows, or how they begin (all): {', '.join(KINDS)}")
    parser.add_argument("--markdown", action="store_true", help=f"measure nothing, print {RESULTS.name} as Markdown")
    options = parser.parse_args()
    if options.markdown:
        print(markdown(from_json(entry) for entry in json.loads(RESULTS.read_text())))
        return
    try:
        names = select(options.rows)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be ended is to be interrupted
    print(f"Measuring {len(names)} of {len(KINDS)} rows; a network takes about a minute.")
    if (load := os.getloadavg()[0]) > 1:
        print(f"This machine is busy (load {load:.1f}): figures will be higher than they should be.")
    rows, problem = measure(frozenset(names))
    if rows:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
        print(f"\n{table(rows)}\n{RESULTS.relative_to(CHECKOUT)} has the same for programs.")
    if problem:
        sys.exit(f"\nNot everything was measured: {problem}")


if __name__ == "__main__":
    main()
