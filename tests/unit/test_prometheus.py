# SPDX-License-Identifier: GPL-3.0-or-later
"""examples/prometheus asks for what the bridge has, and shows all of it; what its rules do is in its rules_test.yml."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from energy_bridge.health import View
from energy_bridge.metrics import Metrics, Rejected, Way
from energy_bridge.model import BatchState
from prometheus_client.parser import text_string_to_metric_families

EXAMPLES = Path(__file__).parents[2] / "examples/prometheus"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
# Prometheus makes these itself.
PROMETHEUS_OWN = {"up"}
LABELS: dict[str, set[str]] = {"way": set(Way), "reason": set(Rejected), "state": set(BatchState)}


def shown() -> set[str]:
    """The names of all series that a bridge shows."""
    metrics = Metrics()
    metrics.show(queue_length=lambda: 0, kernel_dropped=lambda: 0, view=View)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    return {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES[family.type]}


def dashboard() -> list[str]:
    panels: list[dict[str, Any]] = json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((EXAMPLES / "rules.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def named(expression: str) -> set[str]:
    """The series that an expression names."""
    return set(re.findall(r"\b(?:energy_bridge|process)_\w+|\bup\b", expression))


@pytest.mark.parametrize("expressions", [dashboard(), [rule["expr"] for rule in rules()]], ids=["dashboard", "rules"])
def test_what_is_asked_for_is_there(expressions: list[str]) -> None:
    for expression in expressions:
        assert named(expression), expression
        assert named(expression) <= shown() | PROMETHEUS_OWN
        for label, values in re.findall(r'(\w+)!?=~?"([A-Z|]+)"', expression):
            assert set(values.split("|")) <= LABELS[label], expression


def test_the_dashboard_shows_all_that_the_bridge_counts() -> None:
    asked = set().union(*map(named, dashboard()))
    # The sum of a histogram is in its quantiles.
    assert {name for name in shown() if name.startswith("energy_bridge_")} - asked == {
        "energy_bridge_commit_seconds_sum"
    }


def test_each_alert_says_in_sentences_what_is_wrong_and_is_tried() -> None:
    tried = (EXAMPLES / "rules_test.yml").read_text()
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        for sentence in (rule["annotations"]["summary"], rule["annotations"]["description"]):
            assert re.fullmatch(r"[A-Z{].*\.", sentence), sentence
        assert rule["alert"] in tried, rule["alert"]


def test_the_dashboard_fits_any_grafana_and_its_panels_do_not_overlap() -> None:
    text = (EXAMPLES / "dashboard.json").read_text()
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"${datasource}", "energy-bridge"}
    cells = [
        (at["x"] + column, at["y"] + line)
        for at in (panel["gridPos"] for panel in json.loads(text)["panels"])
        for column in range(at["w"])
        for line in range(at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {column for column, _ in cells} == set(range(24))
