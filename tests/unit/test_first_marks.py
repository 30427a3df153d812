"""The mark that a container's packets can be taken to start with, where rules mark them more than once."""

from __future__ import annotations

import pytest
from attrs import evolve

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.reachability import reachability
from c2c_auditor.model import rule as r
from support.recordings import recording

CELL = recording("fleet-12-nft")
CHAINS = CELL.ruleset.chains("filter")
RULES = CHAINS[CELL.policy_chain].rules


def _beside(rules: tuple[r.Rule, ...]) -> Inputs:
    """The cell with a second policy chain of these rules in front of its own."""
    second = r.Chain(name="vpa--1795399999999999", rules=rules)
    forward = (r.Rule(target=r.Jump(chain=second.name)), *CHAINS["FORWARD"].rules)
    chains = {**CHAINS, second.name: second, "FORWARD": evolve(CHAINS["FORWARD"], rules=forward, packets=None)}
    tables = {**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)}
    return Inputs.of(CELL.facts, evolve(CELL.ruleset, tables=tables), None)


def _alone(inputs: Inputs) -> list[bool]:
    """Of each pair of containers, whether the sender is walked by itself."""
    reach = reachability(inputs)
    assert reach is not None
    here = [sender.container for sender in reach.senders.all]
    return [
        reach.senders.start(sender, int(to.address)) is None
        for sender in reach.senders.all
        for to in here
        if to is not sender.container
    ]


def test_while_silk_replaces_the_policy_chain_nobody_is_walked_alone() -> None:
    """Both chains mark a source alike; walking each pair of a large cell took 14 s and 250 MiB."""
    assert not any(_alone(_beside(RULES)))
    whole, plain = reachability(_beside(RULES)), reachability(Inputs.of(CELL.facts, CELL.ruleset, None))
    assert whole is not None
    assert plain is not None
    assert [(to.app, rows) for to, rows in whole.rows()] == [(to.app, rows) for to, rows in plain.rows()]


def test_another_mark_in_the_other_chain_is_looked_at() -> None:
    """What the first chain decides with the one is not what the second would with the other."""
    other = tuple(
        evolve(rule, target=evolve(rule.target, value=rule.target.value + 1))
        if isinstance(rule.target, r.SetMark)
        else rule
        for rule in RULES
    )
    assert any(_alone(_beside(other)))


@pytest.mark.parametrize("kept", [1, 3])
def test_one_chain_with_a_part_of_the_marks(kept: int) -> None:
    """As in the middle of silk's write: sources that only the second chain marks come too late for the first."""
    marks = [rule for rule in RULES if isinstance(rule.target, r.SetMark)]
    rest = [rule for rule in RULES if not isinstance(rule.target, r.SetMark)]
    assert any(_alone(_beside((*marks[:kept], *rest))))
