# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises: the defaults that its argument spec shows, and names of its own."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted((Path(__file__).parents[2] / "roles").iterdir())
MODULES = sorted((Path(__file__).parents[2] / "plugins/modules").glob("*.py"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def options(role: Path) -> dict[str, Any]:
    """The options of all entry points together."""
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}


def told_in_words(option: dict[str, Any], default: Any) -> bool:
    """An expression is none of a spec's types but text; what comes of it by default its description says."""
    expression = isinstance(default, str) and "{{" in default
    return expression and "default" not in option and "By default" in option["description"]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_are_what_the_argument_spec_shows(role: Path) -> None:
    shown = {name: option.get("default") for name, option in options(role).items()}
    defaults = load(role / "defaults/main.yml")
    undefaulted = {name for name, option in options(role).items() if option.get("required")}
    in_words = {name for name in set(shown) & set(defaults) if told_in_words(options(role)[name], defaults[name])}
    assert {name: value for name, value in shown.items() if name in defaults} == {
        name: None if name in in_words else value for name, value in defaults.items()
    }
    assert {name for name, value in shown.items() if name not in defaults and value is not None} == set()
    assert undefaulted & set(defaults) == set()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_entry_points_say_what_they_do_and_since_when(role: Path) -> None:
    for name, spec in load(role / "meta/argument_specs.yml")["argument_specs"].items():
        assert spec["version_added"], name
        assert spec["description"], name
        assert (role / f"tasks/{name}.yml").exists(), name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_carry_the_name_of_their_role(role: Path) -> None:
    public = {*load(role / "defaults/main.yml"), *options(role)}
    internal = set(load(role / "vars/main.yml"))
    assert {name for name in public if not name.startswith(f"{role.name}_")} == set()
    assert {name for name in internal if not name.startswith(f"_{role.name}_")} == set()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_nobody_reads_another_host_or_a_group(role: Path) -> None:
    tasks = "".join(path.read_text() for path in role.glob("tasks/*.yml"))
    assert "hostvars" not in tasks
    assert "groups[" not in tasks


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_examples_take_from_a_role_what_it_hands_on(module: Path) -> None:
    for role, key in re.findall(r"\b(\w+)_result\.(\w+)", module.read_text()):
        tasks = load(ROLES[0].parent / role / "tasks/present.yml")
        handed_on = [task.get("ansible.builtin.set_fact", {}) for task in tasks]
        assert any(key in facts.get(f"{role}_result", {}) for facts in handed_on), f"{role}_result.{key}"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_role_can_be_absent_and_keeps_data_unless_it_is_told_twice(role: Path) -> None:
    defaults = load(role / "defaults/main.yml")
    assert defaults[f"{role.name}_state"] == "present"
    assert options(role)[f"{role.name}_state"]["choices"] == ["present", "absent"]
    assert defaults.get(f"{role.name}_remove_data", False) is False


def test_an_absent_raspberry_pi_loses_each_file_that_it_was_given() -> None:
    variables = load(ROLES[0].parent / "raspberry_pi/vars/main.yml")
    given, gone = ([file["path"] for file in variables[f"_raspberry_pi_{name}"]] for name in ("files", "gone"))
    assert gone == given
    assert all(file["content"] is None for file in variables["_raspberry_pi_gone"])
