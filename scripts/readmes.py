# SPDX-License-Identifier: GPL-3.0-or-later
"""Write into each role's README.md what its argument specs say: entry points, a play, variables with their defaults.

What stands above the mark is written by hand and kept. With --check nothing is written, and what is not current fails.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from environment import CHECKOUT

MARK = "<!-- What follows is made by scripts/readmes.py from meta/argument_specs.yml. -->"
LONGEST_DEFAULT = 60


def plain(text: str | list[str]) -> str:
    """A description as one line of Markdown, which a table can hold."""
    words = " ".join([text] if isinstance(text, str) else text)
    return re.sub(r"\b[COVE]\(([^)]*)\)", r"`\1`", " ".join(words.split())).replace("|", r"\|")


def default(option: Mapping[str, Any]) -> str:
    """What an option is when nobody says: a value, or that there is none."""
    if option.get("required"):
        return "required"
    value = option.get("default")
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > LONGEST_DEFAULT:
        return "[long](defaults/main.yml)"
    return f"`{text}`".replace("|", r"\|") if text else '`""`'


def row(name: str, option: Mapping[str, Any]) -> str:
    kind = f"list of {option['elements']}" if "elements" in option else option.get("type", "str")
    choices = f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}." if "choices" in option else ""
    return f"| `{name}` | {kind} | {default(option)} | {plain(option['description'])}{choices} |"


def section(name: str, spec: Mapping[str, Any]) -> list[str]:
    """One entry point: what it does, a play where it has one, and its variables."""
    call = f"tasks_from: {name}" if name != "main" else "the role itself"
    play = ["```yaml", spec["examples"].rstrip(), "```", ""] if "examples" in spec else []
    rows = [row(option, spec["options"][option]) for option in spec["options"]]
    return [
        f"## {plain(spec['short_description'])} ({call})",
        "",
        plain(spec["description"]),
        "",
        *play,
        "| variable | type | default | |",
        "|---|---|---|---|",
        *rows,
    ]


def made(role: Path) -> str:
    """What the README of a role has below the mark; the role's own entry point first."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    names = sorted(specs, key=lambda name: name != "main")
    return "\n".join([MARK, *(line for name in names for line in ["", *section(name, specs[name])]), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where one is not current")
    check = parser.parse_args().check
    stale = []
    for role in sorted((CHECKOUT / "roles").iterdir()):
        readme = role / "README.md"
        before = readme.read_text()
        after = before.split(MARK)[0].rstrip() + "\n\n" + made(role)
        if after != before:
            stale.append(role.name)
            if not check:
                readme.write_text(after)
    if check and stale:
        sys.exit(f"smartenergy: the README of {', '.join(stale)} is not what the specs say; run `make readmes`")


if __name__ == "__main__":
    main()
