"""Inputs larger than the agent's memory can bear are refused, with what is too large and what to do about it."""

from __future__ import annotations

import json

import pytest

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.sources.facts.last_answer import MOST_POLICIES
from c2c_auditor.sources.facts.policy_answers import parse_policies
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.rules.command import Limits, run


def _entry(port: int) -> dict[str, object]:
    ports = {"start": port, "end": port}
    return {"source": {"id": "a", "tag": "01"}, "destination": {"id": "b", "protocol": "tcp", "ports": ports}}


def test_more_policies_than_can_be_judged_are_refused() -> None:
    """The largest number that can be is read."""
    whole = {"policies": [_entry(1)] * MOST_POLICIES}
    assert len(parse_policies(json.dumps(whole), where="x").policies) == 1
    whole["policies"].append(_entry(2))
    with pytest.raises(SourceError) as caught:
        parse_policies(json.dumps(whole), where="x")
    assert caught.value.reason is Reason.TOO_LARGE
    assert str(MOST_POLICIES) in caught.value.problem


def test_more_containers_than_can_be_judged_are_refused() -> None:
    """4,096 are not too many."""
    entries = {str(n): {"handle": str(n), "ip": f"10.255.{n >> 8}.{n & 255}", "metadata": {}} for n in range(4097)}
    with pytest.raises(SourceError) as caught:
        parse_store(json.dumps(entries), where="x")
    assert caught.value.reason is Reason.TOO_LARGE
    del entries["7"]
    assert len(parse_store(json.dumps(entries), where="x").containers) == 4096


def test_more_rules_than_can_be_judged_are_refused() -> None:
    """By their lines, before all of them are in memory; as many as allowed are read."""
    seven = ("sh", "-c", "seq 7")
    assert run(seven, Limits(lines=7)).text == "1\n2\n3\n4\n5\n6\n7\n"
    with pytest.raises(SourceError) as caught:
        run(seven, Limits(lines=6))
    assert (caught.value.reason, caught.value.problem) == (Reason.TOO_LARGE, "it printed more than 6 lines")
