"""Texts and bytes that no iptables prints: a value or the parser's one error, and no walk without an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_auditor.audit.checks.foreign_rules import Reach
from c2c_auditor.audit.traffic.first_marks import FirstMarks
from c2c_auditor.errors import EvaluationError, ParseError, Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.flows import ALL
from c2c_auditor.netfilter.native.attributes import attributes
from c2c_auditor.netfilter.native.datagrams import messages_in
from c2c_auditor.netfilter.native.messages import chain_message, table_message
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.paths import Paths
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.netfilter.stages import stages
from c2c_auditor.netfilter.way import Way
from c2c_auditor.sources.rules.command import Limits, run
from c2c_auditor.sources.rules.text import read_text

HEADER = "Chain F (policy ACCEPT)\ntarget     prot opt source               destination\n"
LISTED = HEADER + "ACCEPT     tcp  --  anywhere             anywhere             "


@pytest.mark.parametrize(
    "text",
    [
        "[²:0] -A F -j DROP",
        f"[{'9' * 5000}:0] -A F -j DROP",
        f"{HEADER.replace('target', 'pkts bytes target')} {'9' * 5000} 0 DROP all -- anywhere anywhere",
        "-A F -s 10.0.0.0/²",
        f"-A F -p {'9' * 5000}",
        "-A F -p tcp -m tcp --dport ²",
        "-A F -m mark --mark 0x",
        "-A F ! -j",
        "-A F -m",
        "-A F --dport",
        "-A F -g a b",
        "-A F -c 1",
    ],
)
def test_a_text_that_iptables_could_not_have_printed_is_one_error(text: str) -> None:
    """Digits that are none of ASCII's, numbers of thousands of digits, options without their values."""
    with pytest.raises(ParseError):
        read_text(text, where="x")


@pytest.mark.parametrize(
    "body",
    [
        "-m limit --limit 0/sec",
        "-m limit --limit 99999999/sec",
        "-m limit --limit 1/week",
        "-m limit --syn",
        "-m hashlimit --hashlimit-upto 0/sec --hashlimit-name a",
        "-m hashlimit --hashlimit-upto 1/sec",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-name a --hashlimit-srcmask 33",
        "-m iprange --src-range 1.2.3.4-",
        "-m icmp --icmp-type 8/256",
        "-m multiport --dports 1:2:3",
        "-m addrtype --limit-iface-on",
        "-m conntrack --ctstate NEW --ctproto 6",
    ],
)
def test_options_without_a_value_of_their_own_are_kept(body: str) -> None:
    """Rates of none and of more than the kernel counts, ends that are missing, options in too great a number."""
    (match,) = RuleParser().rule(f"{body} -j DROP").matches
    assert isinstance(match, r.OpaqueMatch)


@pytest.mark.parametrize(
    "column",
    [
        "/* " * 1_000,
        "/* a b *",
        "tcp dpt:caf\udce9",
        "tcp dpt:\0",
        "tcp flags:0xzz/0x02",
        "tcp flags:FOO/BAR",
        "limit: avg 0/sec burst 5",
        "LOG flags 999 level 4",
    ],
)
def test_a_column_that_is_not_understood_is_kept(column: str) -> None:
    """Service names that no name can be, flags that are none, a rate of none."""
    (rule,) = read_text(LISTED + column, where="x").chains("filter")["F"].rules
    assert isinstance(rule.matches[0], r.OpaqueMatch)


def test_a_word_of_an_unknown_option_is_not_taken_for_its_value() -> None:
    """``--transparent`` takes none; what stands behind it is the rule's own, also where words are read one by one."""
    rule = RuleParser().rule("! -f -m socket --transparent -j DROP")
    assert rule == r.Rule(
        fragment=False, matches=(r.OpaqueMatch(module="socket", arguments=("--transparent",)),), target=r.DROP
    )


def test_a_quote_that_is_never_closed_is_an_error_that_names_its_first_line() -> None:
    """However many lines follow; `make bench` shows what reading them costs."""
    with pytest.raises(ParseError, match="line 2"):
        read_text('*filter\n-A F -m comment --comment "' + "x y\n" * 4_000, where="x")


@pytest.mark.parametrize("head", ["-A F ", LISTED])
def test_a_rule_longer_than_the_kernels_longest_is_an_error(head: str) -> None:
    """An entry has at most 65,535 bytes."""
    with pytest.raises(ParseError):
        read_text(head + "a b " * 100_000, where="x")


def test_a_comment_over_several_lines_ends_at_its_quote() -> None:
    """Backslashes before quotes and line ends, and quotes that open again behind it, included."""
    body = '-m comment --comment "a\\\\\nb \\" c\\\nd" -m comment --comment "e\nf" -j DROP'
    rule, after = read_text(f"-A F {body}\n-A F -j ACCEPT", where="x").chains("filter")["F"].rules
    assert rule == RuleParser().rule(body)
    assert {match.text for match in rule.matches if isinstance(match, r.CommentMatch)} == {'a\\\nb " c\nd', "e\nf"}
    assert after == r.Rule(target=r.ACCEPT)


def _doubling(levels: int, *, marking: bool = False) -> dict[str, r.Chain]:
    """Chains of which each one calls the next one twice; ``marking`` ones turn a bit of the mark in between."""
    lines = ["*filter", "-A FORWARD -j n1"]
    for level in range(1, levels):
        lines += [
            f"-A n{level} -j n{level + 1}",
            *([f"-A n{level} -j MARK --xor-mark {1 << level:#x}"] if marking else []),
        ]
        lines.append(f"-A n{level} -j n{level + 1}")
    return dict(parse_save("\n".join([*lines, f"-A n{levels} -j LOG", "COMMIT"]), where="x").chains("filter"))


def test_chains_that_double_the_work_are_walked_once_for_the_same_flows() -> None:
    """2^40 ways through 41 chains, and all of them come to the same."""
    paths = Paths(_doubling(41), "FORWARD")
    assert paths.disposition(Packet(source=1, destination=2, protocol=r.TCP)).passes == ALL


def test_chains_that_double_the_work_with_other_flows_each_time_are_an_error() -> None:
    """Each level sets other marks: nothing can be shared, and the walk ends all the same."""
    paths = Paths(_doubling(30, marking=True), "FORWARD")
    with pytest.raises(EvaluationError, match="call each other too often, from FORWARD on"):
        paths.disposition(Packet(source=1, destination=2, protocol=r.TCP))
    with pytest.raises(EvaluationError, match="call each other too often, from FORWARD on"):
        paths.outline(2, 1)


def test_what_a_foreign_jump_can_do_is_looked_up_once_a_chain() -> None:
    """2^40 ways again; and a loop may do anything."""
    chains = _doubling(41)
    assert Reach(chains).of(r.Rule(target=r.Jump(chain="n1"))) == (False, False)
    looping = {"a": r.Chain(name="a", rules=(r.Rule(target=r.Jump(chain="a")),))}
    assert Reach(looping).of(r.Rule(target=r.Jump(chain="a"))) == (True, True)


def test_first_marks_are_read_with_an_end() -> None:
    """Eight levels of a hundred jumps each are 10^16 ways; those beyond a bound are barred."""
    lines = ["*filter", "-A FORWARD -j n1"]
    lines += [f"-A n{level} -j n{level + 1}" for level in range(1, 9) for _ in range(100)]
    chains = parse_save("\n".join([*lines, "-A n9 -s 10.0.0.1/32 -j MARK --set-xmark 0x1", "COMMIT"]), where="x")
    assert FirstMarks(Way(stages((chains,))), out="s-").of(0x0A000001, 2) is None


def test_netlinkmessages_in_that_are_cut_off_are_no_error() -> None:
    """An empty payload, lengths of nothing, lengths beyond the end."""
    header = (16).to_bytes(4, "little")
    for data in (b"", header + b"\x06\x0a" + bytes(10), header[:3], b"\xff" * 40, bytes(64)):
        assert all(isinstance(kind, int) for kind, *_ in messages_in(data))
        assert len(list(attributes(data))) <= len(data)
        for message in (table_message, chain_message):
            message(data or b"\2")


def test_a_program_that_closes_its_output_and_lives_on_is_ended(tmp_path: Path) -> None:
    """The end of its output is not its end; both have the same deadline."""
    program = tmp_path / "iptables"
    program.write_text("#!/bin/sh\nexec >&- 2>&-\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(SourceError) as caught:
        run([str(program)], Limits(seconds=0.5))
    assert caught.value.reason is Reason.TIMEOUT
