# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark makes of what it sees: Ansible's words, the rows asked for, the tables."""

import json

import pytest
from bench.executions import count
from bench.rows import KINDS, Row, from_json, markdown, select, table

PLAY = """\
TASK [Look] ********************************************************************
<sealer1> EXEC /bin/sh -c 'echo ~root && sleep 0'
<sealer1> EXEC /bin/sh -c '( umask 77 && mkdir -p "` echo /d/tmp `"&& mkdir "` echo /d/tmp/t-1 `" ) && sleep 0'
<sealer1> PUT /d/ansible/l-1/u TO /d/tmp/t-1/AnsiballZ_stat.py
<sealer1> EXEC /bin/sh -c 'chmod u+rwx /d/tmp/t-1/ /d/tmp/t-1/AnsiballZ_stat.py && sleep 0'
<sealer1> EXEC /bin/sh -c '/v/bin/python /d/tmp/t-1/AnsiballZ_stat.py && sleep 0'
<sealer1> EXEC /bin/sh -c 'rm -f -r /d/tmp/t-1/ > /dev/null 2>&1 && sleep 0'
<sealer2> EXEC /bin/sh -c '/v/bin/python3.11 '"'"'/d e/tmp/t-2/AnsiballZ_stat.py'"'"' && sleep 0'
<gateway> EXEC /bin/sh -c 'HOME=/x /v/bin/python && sleep 0'
<localhost> EXEC /bin/sh -c '/v/bin/python && sleep 0'
<localhost> EXEC /bin/sh -c '/v/bin/python && sleep 0'
ok: [sealer1] => {"msg": "<sealer1> EXEC is what Ansible says"}
"""
FOUR = Row("bring_up_s", 61.23)
EIGHT = Row("bring_up_8_s", 100.0, 61.23)


def test_modules_are_counted_for_the_host_that_runs_them_and_nothing_around_them() -> None:
    assert count(PLAY) == {"sealer1": 1, "sealer2": 1, "gateway": 1, "localhost": 2}


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["second_run_s"], ["second_run_s"]),
        (["bring_up_s"], ["bring_up_s"]),
        (["bring_up"], ["bring_up_s", "bring_up_8_s"]),
        (["rss_mib/b", "sealing_s"], ["sealing_s", "rss_mib/bootnode", "rss_mib/bridge"]),
        ([], list(KINDS)),
    ],
)
def test_rows_are_chosen_by_name_or_beginning_in_the_order_of_the_table(words: list[str], rows: list[str]) -> None:
    assert select(words) == rows


def test_a_row_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^there is no row speed; the rows are sealing_s, bring_up_s, "):
        select(["speed"])


def test_a_goal_is_for_the_ratio_where_there_is_a_peer_and_for_the_value_where_there_is_none() -> None:
    assert FOUR.reached is False
    assert EIGHT.reached is True
    assert Row("sealing_s", 30, 20).reached is None


def test_a_row_survives_the_file() -> None:
    entry = EIGHT.as_json()
    assert entry == {
        "name": "bring_up_8_s",
        "value": 100.0,
        "unit": "s",
        "peer": "four sealers",
        "peer_value": 61.23,
        "ratio": 1.633,
        "goal": 2,
    }
    assert from_json(json.loads(json.dumps(entry))) == EIGHT


def test_the_tables_say_what_was_reached() -> None:
    shown = table([FOUR, EIGHT]).splitlines()
    assert len({len(line) for line in (shown[0], shown[2], shown[-1])}) == 1
    assert shown[3].split("  ")[-1] == "✗"
    assert "four sealers 61.2 s   1.63" in shown[4]
    assert markdown([EIGHT]).splitlines()[-1] == (
        "| `bring_up_8_s` | bring-up with eight sealers | 100.0 s | four sealers 61.2 s | 1.63 | ≤ 2 ✓ |"
    )
