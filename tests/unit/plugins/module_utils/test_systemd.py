# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit says, and what it cannot say; tests/containers has real ones."""

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._service import Definition, ServiceError
from ansible_collections.smartenergy.clique.plugins.module_utils._systemd import Systemd


def unit(**others: Any) -> list[str]:
    plain = {"name": "one", "argv": ("/bin/one",), "environment": {}, "working_directory": "/srv", "stop_signal": "INT"}
    definition = Definition(**{**plain, "stop_timeout_s": 180, "contents": {}, "checksums": {}, **others})
    rendered = Systemd(Path("/var/lib/one"), "one", time).render(definition)
    assert list(rendered) == ["clique-one.service", "multi-user.target.wants/clique-one.service"]
    return rendered["clique-one.service"].splitlines()


def test_the_stop_of_a_node_and_its_limits() -> None:
    lines = unit(user="clique", memory_high_mib=512, memory_max_mib=768)
    wanted = {"KillSignal=SIGINT", "TimeoutStopSec=180", "Restart=always", "StartLimitIntervalSec=0", "User=clique"}
    wanted |= {"MemoryHigh=512M", "MemoryMax=768M", "WantedBy=multi-user.target"}
    wanted |= {"After=network-online.target time-sync.target"}
    assert wanted <= set(lines)
    assert 'RequiresMountsFor="/var/lib/one"' in lines


@pytest.mark.parametrize(
    ("writable", "line"),
    [(None, '"/var/lib/one"'), ((), ""), (("/a b", "/100%"), '"/a b" "/100%%"')],
)
def test_what_may_be_written(writable: tuple[str, ...] | None, line: str) -> None:
    assert [f"ReadWritePaths={line}"] == [said for said in unit(writable=writable) if "ReadWritePaths" in said]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"working_directory": "/home/pi"}, "cannot be sandboxed in /home/pi"),
        ({"argv": ("/root/bin/geth",)}, "cannot be sandboxed in /root/bin/geth"),
        ({"writable": ("data",)}, "the path 'data' in its unit: write it from / on"),
        ({"working_directory": "/srv/a\\"}, "neither a space at an end nor a backslash at the last"),
        ({"description": "joins the next line \\"}, "neither a space at an end nor a backslash at the last"),
        ({"description": "two\nlines"}, "one printable line each"),
    ],
)
def test_what_a_unit_cannot_say_is_refused(others: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceError) as refused:
        unit(**others)
    assert words in str(refused.value)
