"""One cell's life, frame by frame, as silk's own programs lived it: only left-overs are ever confirmed.

Nothing in it is a fault.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import pytest
from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.settle import Grace, Memory, settle
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from support.recordings import Frame, film

_JUDGED: dict[tuple[int, int], Judgement] = {}


def _judge(frame: Frame) -> Judgement:
    """Judgements are pure, so equal inputs need judging once for all the variations."""
    key = id(frame.ruleset), id(frame.facts)
    if key not in _JUDGED:
        _JUDGED[key] = judge(frame.facts, frame.ruleset, None)
    return _JUDGED[key]


def _confirmed(frames: Sequence[Frame]) -> list[Finding]:
    """All that is confirmed when ``frames`` are what the auditor read, at their own times."""
    memory = Memory()
    found: list[Finding] = []
    for frame in frames:
        config = frame.facts.config
        assert config is not None
        grace = Grace.for_polls(policy=config.poll_interval, security_group=config.asg_poll_interval)
        settlement = settle(memory, _judge(frame), frame.time, grace)
        memory = settlement.memory
        found += settlement.confirmed
    return found


def _kinds(frames: Sequence[Frame]) -> set[Kind]:
    return {finding.kind for finding in _confirmed(frames)}


def test_the_whole_film_confirms_the_leftovers_of_its_two_deleted_containers_and_nothing_else() -> None:
    """One rule of the deleted dest-app instance, one of the deleted source-app container."""
    found = _confirmed(film())
    assert {finding.kind for finding in found} == {Kind.RULE_LEFTOVER}
    assert sorted(address for finding in found for address in finding.addresses) == ["10.255.1.4", "10.255.1.7"]


@pytest.mark.parametrize("seed", range(200))
def test_frames_dropped_at_random_confirm_nothing_else(seed: int) -> None:
    """An auditor sees some readings of silk's work and not others."""
    chosen = random.Random(seed)
    share = chosen.choice([0.02, 0.05, 0.1, 0.3, 0.5, 0.9])
    assert _kinds([frame for frame in film() if chosen.random() < share]) <= {Kind.RULE_LEFTOVER}


@pytest.mark.parametrize("stride", range(2, 60))
def test_every_so_manieth_frame_confirms_nothing_else(stride: int) -> None:
    """From whichever frame on: passing states of two swaps, far apart, are no lasting difference."""
    frames = film()
    for start in range(stride):
        assert _kinds(frames[start::stride]) <= {Kind.RULE_LEFTOVER}


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("interval", [1.0, 2.0, 5.0, 7.0, 15.0])
def test_readings_at_every_offset_confirm_nothing_else(interval: float, late: int) -> None:
    """Readings by the clock, at 30 offsets, with facts as they are or one frame old."""
    frames = film()
    times = [frame.time for frame in frames]
    for step in range(30):
        start = frames[0].time + interval * step / 30
        moments = [start + interval * n for n in range(int((times[-1] + 15 - start) / interval))]
        readings = []
        for moment in moments:
            at = bisect_right(times, moment) - 1
            readings.append(evolve(frames[at], time=moment, facts=frames[max(0, at - late)].facts))
        assert _kinds(readings) <= {Kind.RULE_LEFTOVER}


@pytest.mark.parametrize("which", ["store", "policies"])
def test_store_or_policies_seen_one_frame_late_confirm_nothing_else(which: str) -> None:
    """The two are read at different moments."""
    frames = film()
    readings = [
        evolve(frame, facts=evolve(frame.facts, **{which: getattr(before.facts, which)}))
        for before, frame in pairwise(frames)
    ]
    assert _kinds(readings) <= {Kind.RULE_LEFTOVER}


def test_the_film_shows_how_long_policies_took_to_arrive() -> None:
    """Three policies arrived with VPA's next poll, one waited 5.3 s for VPA to come back."""
    memory = Memory()
    took: list[float] = []
    for frame in film():
        settlement = settle(memory, _judge(frame), frame.time, Grace())
        memory = settlement.memory
        took += settlement.converged
    assert max(took) == pytest.approx(5.31, abs=0.01)
    assert len(took) >= 3
