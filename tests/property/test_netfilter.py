"""The language: rendered rules parse to themselves, any text gives rules or one error, nothing is dropped."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.errors import ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import tokens
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.render import render_rule, render_ruleset
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.text import read_text
from support.recordings import CELL_NAMES, CELLS
from support.rules import MARK_TARGETS, TARGETS, rules

IPV6 = r.AddressFamily.IPV6
ANY_RULE = rules(TARGETS[r.AddressFamily.IPV4] | MARK_TARGETS)
ANY_IPV6_RULE = rules(TARGETS[IPV6] | MARK_TARGETS, IPV6)


@settings(deadline=None, max_examples=300)
@given(rule=ANY_RULE)
def test_a_rendered_rule_parses_to_itself(rule: r.Rule) -> None:
    """Comments with quotes, spaces, line breaks and any other character included."""
    assert RuleParser().rule(render_rule(rule)) == rule


@settings(deadline=None, max_examples=300)
@given(rule=ANY_IPV6_RULE)
def test_a_rendered_ipv6_rule_parses_to_itself(rule: r.Rule) -> None:
    """Addresses that print with an IPv4 address inside included."""
    assert RuleParser(IPV6).rule(render_rule(rule)) == rule


@settings(deadline=None, max_examples=200)
@given(given_rules=st.lists(ANY_IPV6_RULE, min_size=1, max_size=8))
def test_a_text_of_ipv6_rules_is_read_as_ipv6(given_rules: list[r.Rule]) -> None:
    """The text does not name its family; its addresses show it."""
    shows = r.Rule(source=r.AddressMatch(value=1, family=IPV6))
    chain = r.Chain(name="c", rules=(shows, *given_rules))
    ruleset = r.Ruleset(tables={"filter": r.Table(name="filter", chains={"c": chain})}, family=IPV6)
    assert parse_save(render_ruleset(ruleset), where="x") == ruleset


@settings(deadline=None, max_examples=200)
@given(given_rules=st.lists(ANY_RULE, max_size=8))
def test_as_many_rules_come_out_as_went_in(given_rules: list[r.Rule]) -> None:
    """Through a whole text, line breaks within comments included."""
    chain = r.Chain(name="c", rules=tuple(given_rules))
    ruleset = r.Ruleset(tables={"filter": r.Table(name="filter", chains={"c": chain})})
    assert parse_save(render_ruleset(ruleset), where="x").tables == ruleset.tables


@settings(deadline=None, max_examples=300)
@given(
    text=st.text(max_size=300)
    | st.lists(
        st.sampled_from(
            (
                *'-ApmjsdX!"\\ \n',
                "-A F",
                "--comment",
                "-m",
                "tcp",
                ":c - [0:0]",
                "*filter",
                "COMMIT",
                "Chain F (policy ACCEPT)",
            )
        )
    ).map(" ".join)
)
def test_any_text_gives_rules_or_one_error(text: str) -> None:
    """Never another exception."""
    with suppress(ParseError):
        assert isinstance(read_text(text, where="x"), r.Ruleset)


@settings(deadline=None, max_examples=200)
@given(rule=ANY_RULE)
def test_the_fast_cuts_and_the_word_by_word_reading_agree(rule: r.Rule) -> None:
    """Where they give an answer at all, it is the same cut."""
    body = render_rule(rule)
    assert tokens.words(body) is not None
    simple, cut = tokens.simple_segments(body), tokens.segments(body)
    if cut is not None:
        assert " ".join(cut) == body
    if simple is not None and cut is not None and len(simple) == len(cut):
        assert simple == cut


@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_recorded_text_cut_off_anywhere_is_no_smaller_ruleset(name: str) -> None:
    """What is missing from it would look deleted."""
    text = (CELLS / name / "iptables-save.txt").read_text()
    end = text.rindex("COMMIT")
    for at in range(text.index(":FORWARD"), end, max(1, end // 40)):
        if "COMMIT\n" not in text[at - 60 : at] and not text[:at].rstrip().endswith(("COMMIT", "2026")):
            part = text[:at]
            last_table = part.rfind("\n*")
            if "COMMIT" not in part[last_table:]:
                with pytest.raises(ParseError):
                    parse_save(part, where=name)


def test_equal_bodies_give_the_identical_rule() -> None:
    """Which is what makes a steady reading cheap."""
    parser = RuleParser()
    assert parser.rule("-s 10.0.0.1/32 -j DROP") is parser.rule("-s 10.0.0.1/32 -j DROP")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("-s 10.0.0.1 -j ACCEPT", "-s 10.0.0.1/32 -j ACCEPT"),
        ("-s 10.0.0.0/255.255.255.0 -j ACCEPT", "-s 10.0.0.0/24 -j ACCEPT"),
        ("-p tcp -m tcp --dport 8080:8080 -j ACCEPT", "-p tcp -m tcp --dport 8080 -j ACCEPT"),
        ("-p tcp --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 80 -j ACCEPT"),
        ("-p 6 -m tcp -j ACCEPT", "-p tcp -j ACCEPT"),
        ("-m mark --mark 0x000A -j ACCEPT", "-m mark --mark 0xa -j ACCEPT"),
        ("-m state --state RELATED,ESTABLISHED -j ACCEPT", "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
        ("-j MARK --set-mark 0x1", "-j MARK --set-xmark 0x1/0xffffffff"),
        ("-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"),
        ("-m limit --limit 1/s --limit-burst 5 -j LOG", "-m limit --limit 60/min -j LOG --log-level warning"),
        ("-m comment --comment x -m mark --mark 1 -j ACCEPT", "-m mark --mark 0x1 -m comment --comment x -j ACCEPT"),
        (
            "-m limit --limit 1/s -s 10.0.0.1 -j ACCEPT",
            "-s 10.0.0.1/32 -m limit --limit 1/sec --limit-burst 5 -j ACCEPT",
        ),
        ("-m iprange --dst-range 1.1.1.1 -g x", "-m iprange --dst-range 1.1.1.1-1.1.1.1 -g x"),
        ("--source 10.0.0.1 --jump ACCEPT", "-s 10.0.0.1 -j ACCEPT"),
        ("-d 0.0.0.0/0 -j ACCEPT", "-j ACCEPT"),
    ],
)
def test_spellings_of_one_rule_are_one_rule(left: str, right: str) -> None:
    """How silk asks, how iptables prints, how versions differ."""
    parser = RuleParser()
    assert parser.rule(left) == parser.rule(right)


@pytest.mark.parametrize(
    "body", ["-m set --match-set allowed src -j ACCEPT", "-j NFQUEUE --queue-num 3", "-m owner ! --uid-owner 0 -j DROP"]
)
def test_what_is_not_known_is_kept_and_equal_only_to_itself(body: str) -> None:
    """And comes out as it went in."""
    parser = RuleParser()
    rule = parser.rule(body)
    assert render_rule(rule) == body
    assert rule != parser.rule(body.replace("allowed", "denied").replace("3", "4").replace("! ", ""))
