"""The policy server's answers: one bad policy is kept apart, and a whole that is none is one error."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from c2c_auditor.errors import SourceError
from c2c_auditor.model.cell import SecurityRule
from c2c_auditor.sources.facts.policy_answers import merged, parse_last_updated, parse_policies, parse_security_groups
from support.recordings import CELL_NAMES, CELLS, recording

GOOD = {
    "source": {"id": "app-a", "tag": "0001"},
    "destination": {"id": "app-b", "tag": "0002", "protocol": "tcp", "ports": {"start": 8080, "end": 8090}},
}


def _with(path: str, value: object) -> dict[str, Any]:
    policy = copy.deepcopy(GOOD)
    *way, last = path.split(".")
    inner: Any = policy
    for step in way:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return policy


@pytest.mark.parametrize("name", CELL_NAMES)
def test_recorded_answers_are_understood(name: str) -> None:
    """Against an independent reading of the same files."""
    cell = recording(name)
    assert cell.facts.policies is not None
    answer = parse_policies((CELLS / name / "policies.json").read_text(), where=name)
    assert set(answer.policies) == set(cell.facts.policies.policies)
    assert not answer.unreadable
    groups, following = parse_security_groups((CELLS / name / "security_groups.json").read_text(), where=name)
    assert (groups, following) == (cell.facts.security_groups, 0)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("source.tag", "xyz", "tag 'xyz'"),
        ("source.tag", "0000", "tag '0000'"),
        ("source.tag", "1ffffffff", "tag"),
        ("source.tag", 7, "tag 7"),
        ("source.tag", None, "'tag' is missing"),
        ("source.id", "", "id ''"),
        ("destination.protocol", "sctp", "protocol 'sctp'"),
        ("destination.ports.start", 0, "port 0"),
        ("destination.ports.end", 70000, "port 70000"),
        ("destination.ports.end", 8000, "wrong way round"),
        ("destination.ports.end", True, "port True"),
        ("destination.ports", [], "form"),
    ],
)
def test_one_bad_policy_does_not_hide_the_others(path: str, value: object, problem: str) -> None:
    """It is kept apart with its place and what is wrong."""
    other = _with("source.id", "app-c")
    answer = parse_policies(json.dumps({"policies": [_with(path, value), other]}), where="policies.json")
    assert [policy.source for policy in answer.policies] == ["app-c"]
    (bad,) = answer.unreadable
    assert problem in bad.problem
    assert bad.where == "policies.json, policies[0]"


@pytest.mark.parametrize("port", [True, 1.0, "1", None, [1]])
def test_a_port_that_only_equals_a_known_one_is_none(port: object) -> None:
    """Ports that were understood are remembered, and to Python True and 1.0 are the same key as 1."""
    good, bad = (
        _with("destination.ports", {"start": 1, "end": 1}),
        _with("destination.ports", {"start": port, "end": 1}),
    )
    answer = parse_policies(json.dumps({"policies": [good, bad]}), where="x")
    assert (len(answer.policies), len(answer.unreadable)) == (1, 1)


def test_strange_values_make_bad_policies_and_no_other_error() -> None:
    """Objects of any depth, and halves of characters, which are read as Go reads them."""
    deep = '{"a":' * 300 + "1" + "}" * 300
    text = f'{{"policies": [{{"source": {{"id": {deep}, "tag": {deep}}}, "destination": {deep}}}, {json.dumps(GOOD)}]}}'
    answer = parse_policies(text.replace("app-b", "app-\\ud800"), where="x")
    assert [policy.destination for policy in answer.policies] == ["app-\ufffd"]
    assert len(answer.unreadable) == 1


@pytest.mark.parametrize("text", ["1795397987677096000", "0\n", " 7 "])
def test_the_servers_clock_is_a_number(text: str) -> None:
    """In ns."""
    assert parse_last_updated(text, where="x") == int(text)


@pytest.mark.parametrize("text", ["", "1_0", "-1", "²", "\u0661", "<html>", "9" * 5000, "1.5", "\ud800"])
def test_what_is_no_clock_is_a_clear_error(text: str) -> None:
    """Digits and nothing else."""
    with pytest.raises(SourceError, match="expected a number"):
        parse_last_updated(text, where="x")


def test_policies_are_sorted_and_there_once() -> None:
    """The server's order and repetitions say nothing, so equal answers are equal."""
    first, second = _with("source.id", "app-c"), _with("destination.ports.start", 8000)
    one = parse_policies(json.dumps({"policies": [GOOD, first, second, GOOD]}), where="x")
    other = parse_policies(json.dumps({"policies": [first, second, GOOD]}), where="x")
    assert one == other
    assert [(policy.source, policy.ports.first) for policy in one.policies] == [
        ("app-a", 8000),
        ("app-a", 8080),
        ("app-c", 8080),
    ]


@pytest.mark.parametrize("tag", ["0x3", "1_0", "-3", " 3", "+3"])
def test_a_tag_is_hexadecimal_digits_and_nothing_else(tag: str) -> None:
    """Silk puts 0x before it as it is."""
    assert parse_policies(json.dumps({"policies": [_with("source.tag", tag)]}), where="x").unreadable


def test_a_bad_policy_names_its_guids() -> None:
    """So that its rules are not taken for foreign ones; what is not even an object has none."""
    answer = parse_policies(json.dumps({"policies": [_with("source.tag", "0"), 7, None]}), where="x")
    assert [bad.guids for bad in answer.unreadable] == [("app-a", "app-b"), ("", ""), ("", "")]


def test_answers_to_several_questions_make_one() -> None:
    """A policy between two guids comes with both."""
    texts = [
        json.dumps({"policies": policies})
        for policies in (
            [GOOD, _with("source.tag", "0")],
            [_with("source.id", "app-c"), GOOD, _with("source.tag", "0")],
        )
    ]
    together = merged(parse_policies(text, where="x") for text in texts)
    assert [policy.source for policy in together.policies] == ["app-a", "app-c"]
    assert len(together.unreadable) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"policies": {}}', "<html></html>", "[" * 100_000, '{"policies": [NaN]}', "9" * 5000]
)
def test_what_is_no_answer_is_a_clear_error(text: str) -> None:
    """Also HTML, half a body, and JSON nested without end."""
    with pytest.raises(SourceError, match=r"policies\.json"):
        parse_policies(text, where="policies.json")


@pytest.mark.parametrize(
    "rules",
    [
        "{",
        "7",
        '[{"protocol": 6}]',
        "[7]",
        "[" * 100_000,
        '[{"protocol": "tcp", "destination": "1.2.3.4", "type": "x"}]',
        None,
    ],
)
def test_a_groups_broken_rules_stay_its_own(rules: str | None) -> None:
    """The group is there, with its problem; its neighbours are whole."""
    text = json.dumps(
        {"next": 0, "security_groups": [{"guid": "g", "name": "n", "rules": rules}, {"guid": "h", "rules": "[]"}]}
    )
    groups, _ = parse_security_groups(text, where="x")
    assert [bool(group.problem) for group in groups] == [True, False]


def test_what_a_rule_does_not_say_is_empty() -> None:
    """As Go decodes it; whether such a rule can be converted is silk's to decide."""
    text = json.dumps(
        {
            "next": 7,
            "security_groups": [
                {"guid": "g", "rules": '[{"protocol": "all", "ports": null}]', "running_space_guids": 7}
            ],
        }
    )
    (group,), following = parse_security_groups(text, where="x")
    assert (group.rules, group.name, following) == ((SecurityRule(protocol="all", destination=""),), "g", 7)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"security_groups": {}}', '{"security_groups": [], "next": "7"}', '{"security_groups": [{}]}']
)
def test_what_is_no_page_of_security_groups_is_a_clear_error(text: str) -> None:
    """Half of the groups would pass for all of them."""
    with pytest.raises(SourceError, match=r"groups\.json"):
        parse_security_groups(text, where="groups.json")
