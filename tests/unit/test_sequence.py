"""Rules that are all there but in another order: which were moved, and what that does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.sequence import longest_increasing, moved
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Effect

A, B, C = (r.Rule(source=r.AddressMatch(value=number), target=r.ACCEPT) for number in (1, 2, 3))
STOP, DROP = (
    r.Rule(source=r.AddressMatch(value=number), target=target) for number, target in ((4, r.REJECT), (5, r.DROP))
)
LOG = r.Rule(target=r.Log(prefix="x "))


def _moved(plan: tuple[r.Rule, ...], found: tuple[r.Rule, ...]) -> dict[r.Rule, Effect]:
    """What is said of the rules of ``plan`` that stand in the order of ``found``."""
    entries = [(rule, Entry(chain="c", position=found.index(rule) + 1, rule=rule)) for rule in plan]
    return {one.entry.rule: one.effect for one in moved(entries)}


@given(st.permutations(range(8)))
def test_the_longest_increasing_part_increases_and_nothing_longer_does(values: list[int]) -> None:
    """Against every subset."""
    kept = [values[index] for index in sorted(longest_increasing(values))]
    assert kept == sorted(kept)
    longest = max(
        chosen.bit_count()
        for chosen in range(1 << len(values))
        if (part := [value for index, value in enumerate(values) if chosen >> index & 1]) == sorted(part)
    )
    assert len(kept) == longest


def test_nothing_is_the_longest_increasing_part_of_nothing() -> None:
    """An empty chain has no order."""
    assert longest_increasing(()) == frozenset()


@pytest.mark.parametrize(("plan", "found"), [((A, B, C), (C, A, B)), ((A, STOP, DROP), (A, DROP, STOP)), ((A,), (A,))])
def test_rules_that_do_the_same_may_change_places(plan: tuple[r.Rule, ...], found: tuple[r.Rule, ...]) -> None:
    """No packet meets another verdict."""
    assert _moved(plan, found) == {}


@pytest.mark.parametrize(
    ("plan", "found", "effects"),
    [
        ((A, B, STOP), (A, STOP, B), {STOP: Effect.OUTAGE, B: Effect.OUTAGE}),
        ((A, B, C, STOP), (STOP, A, B, C), {STOP: Effect.OUTAGE}),
        ((STOP, A, B, C), (A, B, C, STOP), {STOP: Effect.BREACH}),
        ((STOP, DROP, A, B), (A, STOP, DROP, B), {A: Effect.BREACH}),
        ((A, STOP, DROP), (STOP, DROP, A), {A: Effect.OUTAGE}),
    ],
)
def test_what_allows_and_what_refuses_may_not(
    plan: tuple[r.Rule, ...], found: tuple[r.Rule, ...], effects: dict[r.Rule, Effect]
) -> None:
    """A rule that refuses too early, or one that allows too late, stops traffic; the other way round lets it pass.

    Of two neighbours that changed places either may be the one that was moved.
    """
    said = _moved(plan, found)
    assert len(said) == 1
    assert said.items() <= effects.items()


@pytest.mark.parametrize("found", [(A, LOG, STOP), (A, STOP, LOG)])
def test_a_log_rule_out_of_place_is_worth_a_look(found: tuple[r.Rule, ...]) -> None:
    """It decides nothing; something is logged that should not be, or the other way round."""
    assert set(_moved((LOG, A, STOP), found).values()) == {Effect.ADVICE}
