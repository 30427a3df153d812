"""What a hundred agents ask of the policy server, by the real schedule and feeds, beside as many VPAs."""

from __future__ import annotations

import pytest

from fleet.requests import CONDITIONS, Conditions, agents, load, vpas

CELLS = 100
VPA = CELLS * (1 / 5 + 1 / 60)


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda conditions: conditions.name)
def test_agents_ask_less_often_than_vpa(conditions: Conditions) -> None:
    """At rest half as often; under churn no more than VPA asks at rest; started at once, no herd."""
    ours, theirs = load(agents(CELLS, conditions), conditions), load(vpas(CELLS, conditions), conditions)
    assert theirs.mean >= VPA * 0.98
    assert ours.mean <= VPA
    if not conditions.changes_per_minute and conditions.start_seconds > 1:
        assert ours.mean <= VPA / 2 * 1.02
    if conditions.start_seconds <= 1:
        assert ours.peak <= theirs.peak / 3
