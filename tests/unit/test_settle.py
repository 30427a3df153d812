"""What lasts: a finding is confirmed by readings that are close to each other, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.settle import Grace, Memory, Settlement, settle
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Kind


def _seen(*kinds: Kind) -> Judgement:
    return Judgement(
        findings=tuple(
            Finding(kind=kind, effects=frozenset({kind.effect}), subject=("one",), summary="") for kind in kinds
        )
    )


def _read(times: Iterable[float], judgement: Judgement, memory: Memory | None = None) -> list[Settlement]:
    """The settlements of equal readings at ``times``."""
    settlements: list[Settlement] = []
    memory = memory if memory is not None else Memory()
    for now in times:
        settlements.append(settle(memory, judgement, now, Grace()))
        memory = settlements[-1].memory
    return settlements


def _confirmed_at(times: Iterable[float], kind: Kind) -> float | None:
    """When the finding of ``kind`` was confirmed that readings at ``times`` show."""
    times = tuple(times)
    for now, settlement in zip(times, _read(times, _seen(kind)), strict=True):
        if settlement.confirmed:
            return now
    return None


@pytest.mark.parametrize("interval", [5.0, 5.5, 10.0])
def test_readings_at_the_agents_pace_confirm_what_has_outlived_the_grace(interval: float) -> None:
    """The agent looks every 5 s, give or take a tenth, while something is pending; policies' grace is 15 s."""
    confirmed = _confirmed_at((interval * count for count in range(20)), Kind.MARK_MISSING)
    assert confirmed is not None
    assert 15 <= confirmed < 15 + interval


@pytest.mark.parametrize("interval", [5.0, 15.0, 16.5, 60.0])
def test_security_groups_have_longer_for_both(interval: float) -> None:
    """Their grace is 125 s, so readings at the agent's slowest pace are close enough."""
    confirmed = _confirmed_at((interval * count for count in range(50)), Kind.ASG_MISSING)
    assert confirmed is not None
    assert 125 <= confirmed < 125 + interval


def test_two_sightings_far_apart_are_no_lasting_difference() -> None:
    """What came and went in between was not seen: the clock starts again, and the finding stays known."""
    settlements = _read((0, 14, 28), _seen(Kind.JUMP_MISSING))
    assert not any(settlement.confirmed for settlement in settlements)
    (finding,) = settlements[-1].findings
    assert (finding.state, finding.first_seen) == (State.PENDING, 0)


def test_after_a_pause_the_whole_grace_is_waited_for() -> None:
    """Ten seconds before an hour's stop count for nothing."""
    assert _confirmed_at((0, 5, 10, 3610, 3615, 3620), Kind.MARK_MISSING) is None
    assert _confirmed_at((0, 5, 10, 3610, 3615, 3620, 3625), Kind.MARK_MISSING) == 3625


def test_a_blind_spell_is_a_pause() -> None:
    """Readings that could not judge a kind neither end its findings nor let them last."""
    before = _read((0, 5), _seen(Kind.MARK_MISSING))[-1].memory
    blind = _read((10, 15, 20), Judgement(unknown=frozenset({Kind.MARK_MISSING})), before)[-1].memory
    after = _read((25, 30, 35), _seen(Kind.MARK_MISSING), blind)
    assert not any(settlement.confirmed for settlement in after)
    assert _read((40,), _seen(Kind.MARK_MISSING), after[-1].memory)[-1].confirmed


def test_what_was_confirmed_stays_so_across_a_pause() -> None:
    """It is still there when somebody looks again; once it is not, it is resolved."""
    confirmed = _read((0, 5, 10, 15), _seen(Kind.MARK_MISSING))[-1].memory
    after = _read((900,), _seen(Kind.MARK_MISSING), confirmed)[-1]
    assert [finding.state for finding in after.findings] == [State.CONFIRMED]
    assert not after.confirmed
    assert [finding.kind for finding in _read((1800,), _seen(), after.memory)[-1].resolved] == [Kind.MARK_MISSING]


def test_a_machine_that_always_comes_late_confirms_late() -> None:
    """Never would be worse: what no reading of six is without is no passing state."""
    assert _confirmed_at((25.0 * count for count in range(20)), Kind.MARK_MISSING) == 125
