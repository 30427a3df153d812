"""The policy server's answers: one that is written as Go does it is read without its JSON, and reads the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.errors import SourceError
from c2c_auditor.model.cell import Policy, PolicySet
from c2c_auditor.sources.facts import last_answer, policy_answers
from c2c_auditor.sources.facts.last_answer import MOST_POLICIES, LastAnswer
from c2c_auditor.sources.facts.policy_answers import merged, parse_policies
from support.recordings import CELL_NAMES, CELLS

# What may stand where Go writes something else: values, keys, their order, blanks, escapes, beginnings and ends.
_OTHERWISE = {
    '"id":"app-a"': (
        *(f'"id":{value}' for value in ('"app\\u002da"', '"\u00e4pp"', '"app\n"', '"\x7f"', '""', '"a"b"', '"a\\"b"')),
        *(f'"id":{value}' for value in ('"\ud800"', '"\\ud800"', '"\\q"', "7", "null", '"app-b"')),
        *('"name":"app-a"', '"id":"app-a","id":"app-b"'),
    ),
    '"tag":"0001"': (
        *(
            f'"tag":{value}'
            for value in ('"0000"', '"0x3"', '"1_0"', '""', '"1ffffffff"', '"ff"', '"\u0661"', "7", "null")
        ),
        *('"Tag":"0001"', '"tag":"0001","type":"app"', '"tag":"0001","tag":"2"'),
    ),
    '"protocol":"tcp"': ('"protocol":"TCP"', '"protocol":"sctp"', '"protocol":6', '"protocol":"udp"', '"port":8080'),
    '"start":8080': (
        *(f'"start":{port}' for port in ("0", "08080", "-1", "65536", "123456", "1e3", "80.0", "true", "9000", '"1"')),
        *(
            '"start":null',
            '"end":8080',
            '"start":8080,"start":1',
            ' "start":8080',
            '"start": 8080',
            '"start":1234567890',
        ),
    ),
    '"total_policies":': (
        *(f'"total_policies":{value}' for value in ("0", "-", "1.", '"1",', "", " ")),
        *('"n":', '"total_policies":1,"n":'),
    ),
    '{"source"': ('{"source":{},"source"', '["source"', '{ "source"', '{"a":{"source"', 'null,{"source"', '{"source"'),
    "}}}": ("}},}", "}}", "}}}}", "}}},", '},"type":"app"}}', '}},"id":7}', "}}}\n", "}}},null", "}}}]}"),
    ",{": (",\n{", "{", ",,{", "],[{", ", {"),
    "]}": ("]}\n", "]}\n\n", "]} ", "]", "]}}", "]},", ']},{"a":1}', '],"policies":[]}', "]}]}", ",]}"),
}
_APPS = ("app-a", "6b817f74-98d2-4602-a695-7fe5290ffb61")
_MORE_APPS = (*_APPS, "0b1f8ad2-77a5-4ff0-8d5c-a1d1b0f6c8d3", "f3d1a1a4-5f3a-4d0f-a2a3-1f4b8a9c9e5c")


def _answer(*policies: tuple[str, str, int]) -> str:
    """The answer as Go writes it, with policies of source, destination and port."""
    records = [
        {
            "source": {"id": source, "tag": "0001"},
            "destination": {"id": destination, "tag": "0002", "protocol": "tcp", "ports": {"start": port, "end": 8080}},
        }
        for source, destination, port in policies
    ]
    return json.dumps({"total_policies": len(records), "policies": records}, separators=(",", ":"))


def _otherwise(text: str) -> Iterator[str]:
    """``text`` with one piece otherwise, in every way and place."""
    for piece, others in _OTHERWISE.items():
        parts = text.split(piece)
        for at in range(1, len(parts)):
            yield from (piece.join(parts[:at]) + other + piece.join(parts[at:]) for other in others)


def _read(text: str) -> PolicySet | SourceError:
    try:
        return parse_policies(text, where="x")
    except SourceError as error:
        return error


def _check(text: str) -> None:
    """A blank in front of it makes no other JSON of a text, and none that Go writes."""
    plainly, by_json = _read(text), _read(f" {text}")
    if isinstance(plainly, SourceError):
        assert isinstance(by_json, SourceError), text
    else:
        assert plainly == by_json, text


def test_each_text_is_read_as_its_json_is() -> None:
    """Whatever a single piece of it is, and whether it is JSON or not."""
    good = _answer(
        *((_APPS[0], _APPS[1], 8080), (_APPS[1], _APPS[0], 1), (_APPS[0], _APPS[0], 8080), (_APPS[1], _APPS[1], 7)),
        *((_APPS[1], _APPS[1], 8080), (_APPS[0], _APPS[1], 8080)),
    )
    for text in ("", _answer(), good, good[:-40], *_otherwise(good)):
        _check(text)


@given(st.lists(st.tuples(st.sampled_from(_APPS), st.sampled_from(_APPS), st.just(8080)), max_size=3), st.data())
def test_so_is_a_text_that_differs_in_several_pieces(policies: list[tuple[str, str, int]], data: st.DataObject) -> None:
    """Up to three."""
    text = _answer(*policies)
    for _ in range(3):
        text = data.draw(st.sampled_from([text, *_otherwise(text)]))
        _check(text)


_POLICIES = st.lists(
    st.tuples(st.sampled_from(_MORE_APPS), st.sampled_from(_MORE_APPS), st.sampled_from((1, 80, 8080))), max_size=12
)


@given(st.lists(st.lists(_POLICIES, min_size=1, max_size=2), min_size=2, max_size=5), st.data())
def test_an_answer_is_read_as_if_there_had_been_none_before(
    answers: list[list[list[tuple[str, str, int]]]], data: st.DataObject
) -> None:
    """Whatever the ones before were, whole or not; and a policy that is still there is the same object."""
    last = LastAnswer(length=data.draw(st.sampled_from((1, 2, 16))))
    before: dict[Policy, Policy] = {}
    for answer in answers:
        texts = [
            data.draw(st.sampled_from([text, *_otherwise(text)][:400])) for text in (_answer(*one) for one in answer)
        ]
        try:
            alone = merged(parse_policies(f" {text}", where="x") for text in texts)
        except SourceError:
            with pytest.raises(SourceError):
                merged((parse_policies(text, where="x", last=last) for text in texts), last)
            continue
        found = merged((parse_policies(text, where="x", last=last) for text in texts), last)
        assert found == alone
        assert all(before.get(policy, policy) is policy for policy in found.policies)
        last.renew(found.policies)
        before = {policy: policy for policy in found.policies}


def test_one_policy_that_went_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands there as before is not understood again: of 900 policies those of one stretch."""
    ends = [f"6b817f74-98d2-4602-a695-7fe5290f{number:04x}" for number in range(30)]
    policies = [(source, destination, 80) for source in ends for destination in ends]
    last = LastAnswer()
    last.renew(parse_policies(_answer(*policies), where="x", last=last).policies)
    made = []

    def counted(**given: object) -> Policy:
        made.append(given)
        return Policy(**given)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(last_answer, "Policy", counted)
    found = parse_policies(_answer(*policies[:171], *policies[172:]), where="x", last=last)
    assert len(found.policies) == 899
    assert len(made) < 300


@pytest.mark.parametrize("name", [name for name in CELL_NAMES if "fleet" in name])
def test_recorded_answers_are_read_without_their_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold as many policies as the server said."""
    text = (CELLS / name / "policies.json").read_text()
    by_json = parse_policies(f" {text}", where=name)
    monkeypatch.delattr(policy_answers, "parse_json")
    answer = parse_policies(text, where=name)
    assert answer == by_json
    assert len(answer.policies) == json.loads(text)["total_policies"]


def test_an_answer_without_end_is_too_large() -> None:
    """Also one that is written as Go does it."""
    ends = (
        '"source":{"id":"a","tag":"1"},"destination":{"id":"b","tag":"2","protocol":"tcp","ports":{"start":1,"end":1}}'
    )
    policy = f"{{{ends}}}"
    text = f'{{"total_policies":1,"policies":[{",".join([policy] * (MOST_POLICIES + 1))}]}}'
    with pytest.raises(SourceError, match=f"at most {MOST_POLICIES}"):
        parse_policies(text, where="x")
