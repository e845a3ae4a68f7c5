# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark makes of what it sees: Ansible's words, the rows asked for, the tables."""

import json
import random

import pytest
from bench.executions import count
from bench.rows import KINDS, Row, from_json, markdown, select, table
from bench.runs import FIRST, LATER, Run, faults, runs
from bench.scenarios import PAIRED, RING, SCENARIOS, SLOTS_PER_DAY, make_trades, partners, trades_per_s

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
<192.0.2.11> SSH: EXEC ssh -C 192.0.2.11 '/bin/sh -c '"'"'echo ~pi && sleep 0'"'"''
<192.0.2.11> SSH: EXEC ssh 192.0.2.11 'sh -c '"'"'sudo sh -c '"'"'"'"'"'"/bin/python3"'"'"'"'"'"' && sleep 0'"'"''
<localhost> EXEC /bin/sh -c '/v/bin/python && sleep 0'
<localhost> EXEC /bin/sh -c '/v/bin/python && sleep 0'
ok: [sealer1] => {"msg": "<sealer1> EXEC is what Ansible says"}
"""
# Two runs at once: of each other's lines only the process tells.
LOG = """\
2026-11-24 14:00:00,100 p=6 u=pi n=ansible INFO| TASK [Start the hosts] *****
2026-11-24 14:00:00,100 p=7 u=pi n=ansible INFO| DRY RUN *****
2026-11-24 14:00:00,100 p=7 u=pi n=ansible INFO| PLAYBOOK: converge.yml *****
2026-11-24 14:00:01,100 p=8 u=pi n=ansible INFO| PLAYBOOK: destroy.yml *****
2026-11-24 14:00:02,100 p=7 u=pi n=ansible INFO| TASK [Look] *****
2026-11-24 14:00:03,100 p=7 u=pi n=ansible INFO| <192.0.2.11> EXEC /bin/sh -c '/usr/bin/python3 && sleep 0'
2026-11-24 14:00:05,100 p=7 u=pi n=ansible INFO| PLAY RECAP *****
sealer1                    : ok=3    changed=2    unreachable=0    failed=0
sealer2                    : ok=3    changed=1    unreachable=0    failed=0
"""
FOUR = Row("bring_up_s", 61.23)
EIGHT = Row("bring_up_8_s", 100.0, 61.23)
TEN = Row("gas_per_trade/n=10/accounts=5", 8_078, 42_781)


def test_modules_are_counted_for_the_host_that_runs_them_and_nothing_around_them() -> None:
    assert count(PLAY) == {"sealer1": 1, "sealer2": 1, "gateway": 1, "192.0.2.11": 1, "localhost": 2}


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["second_run_s"], ["second_run_s"]),
        (["bring_up_s"], ["bring_up_s"]),
        (["bring_up"], ["bring_up_s", "bring_up_8_s"]),
        (["rss_mib/b", "sealing_s"], ["sealing_s", "rss_mib/bootnode", "rss_mib/bridge"]),
        (["gas_per_trade/n=4/"], [f"gas_per_trade/n=4/accounts=5{end}" for end in ("", "/contract_per_trade")]),
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


def test_a_goal_for_gas_is_for_the_value_although_there_is_a_peer() -> None:
    assert TEN.reached is True
    assert Row(TEN.name, 8_201, 42_781).reached is False
    assert (
        markdown([TEN])
        .splitlines()[-1]
        .endswith("| 8,078 gas | a transaction each 42,781 gas | 0.19 | ≤ 8,200 gas ✓ |")
    )


def test_of_readings_taken_the_goal_is_the_least() -> None:
    few, enough = (Row("intake_datagrams_per_s/json", taken, 900) for taken in (19_999, 20_000))
    assert (few.reached, enough.reached) == (False, True)
    assert "| ≥ 20,000 datagrams/s ✗ |" in markdown([few])


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


@pytest.mark.parametrize("accounts", [RING, PAIRED])
def test_all_accounts_of_a_batch_trade_and_none_with_itself(accounts: int) -> None:
    addresses = [f"0x{number:040x}" for number in range(accounts)]
    trades = make_trades(random.Random(1), addresses, 1_000, day=7)  # noqa: S311
    assert {name for trade in trades for name in (trade.seller, trade.buyer)} == set(addresses)
    assert [(trade.seller, trade.buyer) for trade in trades[: len(partners(addresses))]] == partners(addresses)
    assert all(trade.seller != trade.buyer and trade.slot // SLOTS_PER_DAY == 7 for trade in trades)


def test_no_batch_of_a_day_is_measured_after_the_first_of_the_next_one() -> None:
    assert [scenario.first_of_a_day for scenario in SCENARIOS] == sorted(
        scenario.first_of_a_day for scenario in SCENARIOS
    )


def test_blocks_every_five_seconds_have_room_for_so_many_trades() -> None:
    assert trades_per_s(30_000, 15_000_000) == 100


def test_the_runs_of_a_log_are_told_apart_by_their_processes() -> None:
    assert runs(LOG, {"192.0.2.11": "sealer1"}) == [
        Run("create", check=False, seconds=0, changed=0, executions={}),
        Run("converge", check=True, seconds=5, changed=3, executions={"sealer1": 1}),
        Run("destroy", check=False, seconds=0, changed=0, executions={}),
    ]


def converge(executions: int, *, check: bool = False, changed: int = 0) -> Run:
    return Run("converge", check=check, seconds=1, changed=changed, executions={"sealer1": executions, "gateway": 99})


def test_a_first_run_may_do_more_than_a_later_one() -> None:
    first = [converge(FIRST, check=True, changed=9), converge(FIRST, changed=9)]
    assert faults([*first, converge(LATER, check=True), converge(LATER)]) == []
    assert faults([converge(FIRST + 1)]) == ["one run sent 46 modules to sealer1, and 45 is the most"]
    assert faults([*first, converge(LATER + 1)]) == ["one run sent 31 modules to sealer1, and 30 is the most"]


def test_a_later_run_changes_nothing() -> None:
    assert faults([converge(1), converge(1, check=True, changed=1)]) == ["a run on a finished network would change it"]
    assert faults([converge(1), converge(1, changed=1)]) == ["a run on a finished network changed it"]
