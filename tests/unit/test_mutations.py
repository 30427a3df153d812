"""Promise: any difference is found. Each rule of each policy chain is damaged in every way; a finding names it, and none names another rule."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mutations import Mutation, moves, mutations, with_rules
from support.recordings import SMALL_CELLS, Recording, recording

from c2c_auditor.audit.checks import judge
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding, Kind


def _new(cell: Recording, ruleset: r.Ruleset) -> list[Finding]:
    """What an audit finds that it did not find before."""
    known = {finding.key for finding in judge(cell.facts, cell.ruleset, None).findings}
    return [finding for finding in judge(cell.facts, ruleset, None).findings if finding.key not in known]


def _assert_named(cell: Recording, mutation: Mutation) -> None:
    found = _new(cell, mutation.ruleset)
    named = {rule for finding in found for rule in (finding.found, finding.expected) if rule is not None}
    assert named & mutation.touched, f"{cell.name}: {mutation.what} was not found"
    assert named <= mutation.touched, f"{cell.name}: {mutation.what} was blamed on an untouched rule"


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_every_damage_to_every_rule_of_a_small_cell_is_found_and_named(name: str) -> None:
    """Exhaustive: deletion, duplication and each field, for each rule."""
    cell = recording(name)
    chain = cell.policy_chain
    for index in range(len(cell.ruleset.chains("filter")[chain].rules)):
        for mutation in mutations(cell.ruleset, chain, index, cell.addresses):
            _assert_named(cell, mutation)


@pytest.mark.parametrize("name", SMALL_CELLS)
def test_every_move_that_matters_is_found_and_named(name: str) -> None:
    """A MARK behind the ACCEPT that needs it, and the other way round; a LOG behind its ACCEPT."""
    cell = recording(name)
    for mutation in moves(cell.ruleset, cell.policy_chain):
        _assert_named(cell, mutation)
        assert {finding.kind for finding in _new(cell, mutation.ruleset)} == {Kind.RULE_MISPLACED}


@pytest.mark.parametrize("name", ["fleet-12-nft", "fleet-40"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damage_to_large_cells_is_found_and_named(name: str, data: st.DataObject) -> None:
    """Sampled: the fleet cells hold logging, ranges, udp, several instances and overlay ingress at once."""
    cell = recording(name)
    chain = cell.policy_chain
    index = data.draw(st.integers(0, len(cell.ruleset.chains("filter")[chain].rules) - 1))
    _assert_named(cell, data.draw(st.sampled_from(list(mutations(cell.ruleset, chain, index, cell.addresses)))))
    _assert_named(cell, data.draw(st.sampled_from(list(moves(cell.ruleset, chain)))))


def _jump_damages(cell: Recording) -> dict[str, tuple[tuple[r.Rule, ...], set[Kind]]]:
    """What can happen to the jump to the policy chain, and what must be said of it."""
    jump = r.Rule(target=r.Jump(chain=cell.policy_chain))
    forward = cell.ruleset.chains("filter")["FORWARD"].rules
    rest = tuple(rule for rule in forward if rule != jump)
    narrowed = r.Rule(in_interface=r.InterfaceMatch(name="eth0"), target=jump.target)
    return {
        "deleted": (rest, {Kind.JUMP_MISSING}),
        "duplicated": ((jump, *forward), {Kind.JUMP_DUPLICATE}),
        "moved to the end": ((*rest, jump), {Kind.JUMP_MISPLACED}),
        "given a condition": ((narrowed, *rest), {Kind.JUMP_MISSING}),
        "made a goto": ((r.Rule(target=r.Goto(chain=cell.policy_chain)), *rest), {Kind.JUMP_MISSING}),
    }


@pytest.mark.parametrize("name", [name for name in SMALL_CELLS if name != "pair-policy-disabled"])
def test_every_damage_to_the_jump_is_found(name: str) -> None:
    """The jump is part of what silk writes."""
    cell = recording(name)
    for what, (forward, kinds) in _jump_damages(cell).items():
        found = {finding.kind for finding in _new(cell, with_rules(cell.ruleset, "FORWARD", forward)) if finding.kind.value.startswith(("jump", "policy_chain"))}
        assert found == kinds, what
