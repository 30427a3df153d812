"""A swap of security groups, in each state in which it can stop: what decides is what counts."""

from __future__ import annotations

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import ContainerChains
from support.recordings import recording

CELL = recording("pair")
STORE = CELL.facts.store
assert STORE is not None
OF = ContainerChains.of(STORE.containers[0].handle)
RIGHT = CELL.ruleset.chains("filter")[OF.asg].rules
OPEN = (r.Rule(target=r.ACCEPT), *RIGHT)
LEFT_OVER = (Kind.CONTAINER_CHAIN_ORPHAN, Effect.RESIDUE)
STALE = (Kind.ASG_STALE, Effect.BREACH)


def _found(
    asg: tuple[r.Rule, ...] | None, candidate: tuple[r.Rule, ...] | None, jumps: tuple[str, ...]
) -> list[tuple[Kind, Effect]]:
    """What is found with these two chains and ``netout`` jumping to ``jumps``."""
    return [(one.kind, one.effect) for one in _findings(asg, candidate, jumps)]


def _findings(
    asg: tuple[r.Rule, ...] | None, candidate: tuple[r.Rule, ...] | None, jumps: tuple[str, ...]
) -> tuple[Finding, ...]:
    chains = dict(CELL.ruleset.chains("filter"))
    del chains[OF.asg]
    for name, rules in ((OF.asg, asg), (OF.asg_candidate, candidate)):
        if rules is not None:
            chains[name] = r.Chain(name=name, rules=rules)
    targets = (*(r.Rule(target=r.Jump(chain=name)) for name in jumps), r.Rule(target=r.REJECT))
    chains[OF.netout] = r.Chain(name=OF.netout, rules=targets)
    ruleset = evolve(CELL.ruleset, tables={**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    return judge(CELL.facts, ruleset, None).findings


BOTH = (OF.asg_candidate, OF.asg)


@pytest.mark.parametrize(
    ("asg", "candidate", "jumps", "found"),
    [
        (RIGHT, None, (OF.asg,), []),
        (RIGHT, (), (OF.asg,), [LEFT_OVER]),
        (RIGHT, OPEN, (OF.asg,), [LEFT_OVER]),
        (RIGHT, (), BOTH, [LEFT_OVER]),
        (RIGHT, RIGHT, BOTH, [LEFT_OVER]),
        (OPEN, RIGHT, BOTH, [LEFT_OVER]),
        (RIGHT, OPEN, BOTH, [STALE, LEFT_OVER]),
        (OPEN, (), BOTH, [STALE, LEFT_OVER]),
        (RIGHT, OPEN, (OF.asg, OF.asg_candidate), [LEFT_OVER]),
        (None, RIGHT, (OF.asg_candidate,), [LEFT_OVER]),
        (None, OPEN, (OF.asg_candidate,), [STALE, LEFT_OVER]),
        (RIGHT, RIGHT, (OF.asg_candidate,), [LEFT_OVER]),
    ],
)
def test_half_a_swap_is_left_over_and_what_it_decides_is_judged(
    asg: tuple[r.Rule, ...] | None,
    candidate: tuple[r.Rule, ...] | None,
    jumps: tuple[str, ...],
    found: list[tuple[Kind, Effect]],
) -> None:
    """The first chain that is jumped to and filled decides; the other one concerns no traffic."""
    assert _found(asg, candidate, jumps) == found


def test_a_swap_that_left_nothing_in_force_is_an_outage() -> None:
    """The candidate is empty, and what it was to replace is gone."""
    assert (Kind.ASG_MISSING, Effect.OUTAGE) in _found(None, (), (OF.asg_candidate,))
    assert (Kind.CONTAINER_RULE_MISSING, Effect.OUTAGE) in _found(RIGHT, None, ())


@pytest.mark.parametrize(
    ("asg", "candidate", "jumps", "said"),
    [
        (RIGHT, (), (OF.asg,), f"{OF.asg_candidate} is still there, and nothing jumps to it."),
        (RIGHT, (), BOTH, f"{OF.asg_candidate} is still there, and {OF.asg} decides what passes."),
        (None, RIGHT, (OF.asg_candidate,), f"{OF.asg_candidate} is still there and decides what passes."),
        (None, (), (OF.asg_candidate,), f"{OF.asg_candidate} is still there and empty, and {OF.asg} is gone."),
    ],
)
def test_which_chain_decides_is_said(
    asg: tuple[r.Rule, ...] | None, candidate: tuple[r.Rule, ...] | None, jumps: tuple[str, ...], said: str
) -> None:
    """No chain that is gone decides anything."""
    (left,) = (one for one in _findings(asg, candidate, jumps) if one.kind is Kind.CONTAINER_CHAIN_ORPHAN)
    assert left.summary.endswith(f" stopped halfway: {said}")


def test_a_candidate_of_a_container_that_is_gone_is_an_orphan() -> None:
    """It is named beside the other chains of its handle."""
    assert STORE is not None
    gone = evolve(CELL.facts, store=evolve(STORE, containers=STORE.containers[1:]))
    chains = {**CELL.ruleset.chains("filter"), OF.asg_candidate: r.Chain(name=OF.asg_candidate, rules=RIGHT)}
    ruleset = evolve(CELL.ruleset, tables={**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)})
    orphans = [one for one in judge(gone, ruleset, None).findings if one.kind is Kind.CONTAINER_CHAIN_ORPHAN]
    assert any(f"filter {OF.asg_candidate}" in one.details for one in orphans)
