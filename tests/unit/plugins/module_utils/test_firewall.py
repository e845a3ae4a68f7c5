# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lets in, in nftables' words. That nft takes them is seen in tests/containers."""

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError
from ansible_collections.smartenergy.clique.plugins.module_utils._firewall import Rule, render


def test_a_rule_is_a_line_for_each_family() -> None:
    rule = Rule(
        "p2p", "tcp", 30311, ("192.0.2.12", "2001:db8::1", "192.0.2.11/32", "198.51.100.0/25", "198.51.100.128/25")
    )
    assert list(rule.lines()) == [
        'ip saddr { 192.0.2.11, 192.0.2.12, 198.51.100.0/24 } tcp dport 30311 accept comment "p2p"',
        'ip6 saddr { 2001:db8::1 } tcp dport 30311 accept comment "p2p"',
    ]


def test_everybody_and_nobody() -> None:
    assert list(Rule("SSH", "tcp", 22).lines()) == ['tcp dport 22 accept comment "SSH"']
    assert list(Rule("bridge", "udp", 30401, ()).lines()) == []


def test_no_other_table_is_touched() -> None:
    text = render([Rule("SSH", "tcp", 22)])
    assert "flush" not in text
    assert {
        line.split()[-1 if line.endswith("smartenergy") else -2] for line in text.splitlines() if "table" in line
    } == {"smartenergy"}
    assert "policy drop" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("p2p", "tcp", 30311, ("pi.local",)), "'pi.local' is neither an address nor a network"),
        (("p2p", "tcp", 70000), "70000 is not"),
        (('a"b', "tcp", 1), "neither quotes"),
    ],
)
def test_what_is_no_rule_is_said(arguments: tuple[str, str, int], words: str) -> None:
    with pytest.raises(CliqueError, match=words):
        Rule(*arguments)
