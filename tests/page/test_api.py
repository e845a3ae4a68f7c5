# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON API of a running bridge is what its OpenAPI document says, whoever asks for whatever."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from typing import Any

import pytest
import schemathesis
from energy_bridge.openapi import document
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from support.bridge import Bridge
from support.stage import ask, first_slots, url_of

EXAMPLES = 15
# It has no end; what comes on it is looked at below.
ENDLESS = "events"


SCHEMA = schemathesis.openapi.from_dict(document()).exclude(operation_id=ENDLESS)
# schemathesis's own parametrize calls all of them alike, and pytest-xdist takes what is called alike for one test.
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)}
# What takes no parameter cannot be asked wrongly.
ASKED = [
    pytest.param(label, mode, id=f"{label} {mode.value}")
    for label in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or document()["paths"][label.removeprefix("GET ")]["get"]["parameters"]
]


def test_every_operation_is_tried() -> None:
    assert OPERATIONS.keys() == {f"GET {path}" for path in document()["paths"] if path != f"/{ENDLESS}"}


@pytest.mark.parametrize(("label", "mode"), ASKED)
def test_whatever_is_asked_the_answer_is_as_described(label: str, mode: GenerationMode, stage: Bridge) -> None:
    asked_for: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def ask_it(case: Case[Any]) -> None:
        asked_for[case.call_and_validate(base_url=f"{url_of(stage)}/api/v1").status_code] += 1

    ask_it()
    assert asked_for, "nothing was asked"


def test_the_description_is_served(stage: Bridge) -> None:
    assert ask(stage, "openapi.json") == document()


def asked(bridge: Bridge, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", bridge.config["web_port"], timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


@pytest.mark.parametrize(
    "path", ["/", "/page/app.js", "/api/v1/overview", "/api/v1/events", "/api/v1/slots/x", "/metrics", "/healthz", "/x"]
)
def test_every_answer_forbids_what_the_page_does_not_need(path: str, stage: Bridge) -> None:
    told = asked(stage, path)
    policy = dict(part.split(" ", 1) for part in str(told.headers["Content-Security-Policy"]).split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert told.headers["X-Content-Type-Options"] == "nosniff"
    assert told.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("[::1]:30402", 200),
        ("localhost", 200),
        ("Gateway.Test:80", 200),
        ("evil.example", 421),
        ("gateway.test.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/overview", "/api/v1/trades"])
def test_it_answers_only_under_the_names_that_it_was_given(path: str, host: str, status: int, stage: Bridge) -> None:
    assert asked(stage, path, Host=host).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/v1/overview", "/api/v1/trades", "/metrics"])
def test_nothing_can_be_changed(method: str, path: str, stage: Bridge) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stage.config["web_port"], timeout=20)
    connection.request(method, path, body=b"{}")
    assert connection.getresponse().status == 405


def test_lists_are_whole_when_they_are_paged_through(stage: Bridge) -> None:
    for path, name, key in (("trades", "trades", "id"), ("readings", "readings", "id"), ("slots", "slots", "slot")):
        whole = [item[key] for item in ask(stage, f"{path}?limit=500")[name]]
        paged: list[int] = []
        page: dict[str, Any] = ask(stage, f"{path}?limit=7")
        while True:
            paged += [item[key] for item in page[name]]
            if page["next"] is None:
                break
            page = ask(stage, f"{path}?limit=7&before={page['next']}")
        assert paged == whole == sorted(set(whole), reverse=True)
        assert len(whole) > 7


def test_an_event_comes_at_once_and_with_each_new_version(stage: Bridge) -> None:
    told = asked(stage, "/api/v1/events")
    assert told.headers["Content-Type"] == "text/event-stream"
    versions: list[int] = []
    while len(versions) < 3:
        line = told.readline().decode()
        if line.startswith("data: "):
            versions.append(json.loads(line.removeprefix("data: "))["version"])
    assert versions == sorted(set(versions))
    assert ask(stage, "overview")["version"] >= versions[-1]


def test_what_is_unchanged_is_not_sent_again(stage: Bridge) -> None:
    path = f"/api/v1/slots/{first_slots()[0]}"
    first = asked(stage, path)
    body = first.read()
    again = asked(stage, path, **{"If-None-Match": str(first.headers["ETag"])})
    # Confirmations rise with each block, and then it is another answer.
    assert again.status == 304 or again.read() != body
    unchanged = asked(stage, "/page/app.js")
    assert asked(stage, "/page/app.js", **{"If-None-Match": str(unchanged.headers["ETag"])}).status == 304
