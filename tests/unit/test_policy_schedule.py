"""When a cell asks the policy server, on a clock that the test moves."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from attrs import evolve

from c2c_auditor.model.finding import State
from c2c_auditor.model.report import Report
from c2c_auditor.sources.facts.policy_schedule import Pace, Schedule
from support.reports import clean_report, flushed_report

STEADY = Pace(jitter=lambda: 0.0)
CLEAN = clean_report()
PENDING = evolve(
    CLEAN, findings=tuple(evolve(finding, state=State.PENDING) for finding in flushed_report().findings[:1])
)


def _swapped(number: float) -> Report:
    """A report that saw another policy chain."""
    return evolve(CLEAN, tally=evolve(CLEAN.tally, policy_chain_time=number))


def _asked(schedule: Schedule, now: float, *, changed: bool = False) -> float:
    """The time of the next fetch from ``now`` on, which then begins and succeeds."""
    moment = max(now, schedule.due(changed=changed))
    schedule.began(moment)
    schedule.ended(failed=False)
    return moment


def test_at_rest_half_of_vpas_polls() -> None:
    """Every 10 s without jitter, every 12 s with all of it; VPA polls every 5 s."""
    for jitter, pause in ((0.0, 10.0), (1.0, 12.0)):
        schedule = Schedule(Pace(jitter=lambda: jitter), 0.0)  # noqa: B023 - called in this round
        first = _asked(schedule, 0.0)
        schedule.heed(CLEAN)
        assert _asked(schedule, first) == first + pause


def test_what_cells_start_together_they_do_not_ask_together() -> None:
    """First fetches are spread evenly over 15 s."""
    chance = random.Random(1)
    moments = sorted(Schedule(Pace(jitter=chance.random), 100.0).due(changed=True) for _ in range(1000))
    assert (moments[0] >= 100.0, moments[-1] <= 115.0) == (True, True)
    assert max(sum(start <= one < start + 1 for one in moments) for start in range(100, 115)) < 100


def test_while_something_waits_for_silk_as_often_as_vpa() -> None:
    """A pending finding that harms, or other containers than the last fetch asked for; hints do not count."""
    schedule = Schedule(STEADY, 0.0)
    _asked(schedule, 0.0)
    schedule.heed(PENDING)
    assert schedule.due(changed=False) == 5.0
    schedule.heed(CLEAN)
    assert schedule.due(changed=True) == 5.0
    assert schedule.due(changed=False) == 10.0


def test_a_swap_of_the_policy_chain_is_asked_about_at_once_and_once() -> None:
    """What is asked early is not asked later; the first chain that is seen is no swap."""
    schedule = Schedule(STEADY, 0.0)
    _asked(schedule, 0.0)
    schedule.heed(_swapped(1))
    assert schedule.due(changed=False) == 10.0
    schedule.heed(_swapped(2))
    assert schedule.due(changed=False) <= 1.0
    assert _asked(schedule, 1.0) == 1.0
    assert 10.0 < schedule.due(changed=True) < 10.1
    assert schedule.due(changed=False) == 11.0


def test_a_swap_that_is_told_of_before_its_end_is_the_one_that_an_audit_sees_later() -> None:
    """One request for both."""
    schedule = Schedule(STEADY, 0.0)
    assert not schedule.replaced(1)
    _asked(schedule, 0.0)
    assert schedule.replaced(2)
    assert schedule.due(changed=False) <= 1.0
    _asked(schedule, 1.0)
    schedule.heed(_swapped(2))
    assert schedule.due(changed=False) == 11.0


def test_a_swap_while_a_fetch_is_under_way_is_asked_about_after_it() -> None:
    """The answer under way may be older than the swap."""
    schedule = Schedule(STEADY, 0.0)
    schedule.heed(_swapped(1))
    schedule.began(0.0)
    schedule.heed(_swapped(2))
    schedule.ended(failed=False)
    assert schedule.due(changed=False) == 0.0


def test_whatever_happens_on_a_cell_it_asks_no_more_often_than_vpa() -> None:
    """Swaps, pending findings and other containers every second, for an hour."""
    schedule, moments = Schedule(Pace(), 0.0), []
    for second in itertools.takewhile(lambda second: second < 3600, itertools.count()):
        schedule.heed(evolve(PENDING, tally=_swapped(second).tally))
        if schedule.due(changed=True) <= second:
            moments.append(_asked(schedule, float(second), changed=True))
    assert len(moments) <= 3600 / 5 + 1


def test_a_server_that_is_away_is_asked_at_the_pace_of_rest() -> None:
    """Although swaps and findings go on; the first answer ends that."""
    schedule = Schedule(STEADY, 0.0)
    schedule.began(0.0)
    schedule.ended(failed=True)
    schedule.heed(evolve(PENDING, tally=_swapped(1).tally))
    schedule.heed(evolve(PENDING, tally=_swapped(2).tally))
    assert schedule.due(changed=True) == 10.0
    assert _asked(schedule, 0.0) == 10.0
    assert 15.0 < schedule.due(changed=True) < 15.1  # a swap was behind it


def test_after_an_outage_there_is_no_herd() -> None:
    """A thousand cells that failed together come back spread: in no second as many as VPA's mean of 200."""
    chance = random.Random(2)
    per_second: dict[int, int] = {}
    for _ in range(1000):
        for moment in _through_outage(Schedule(Pace(jitter=chance.random), 0.0)):
            per_second[int(moment)] = per_second.get(int(moment), 0) + 1
    assert max(count for second, count in per_second.items() if second >= 315) < 200


def _through_outage(schedule: Schedule) -> Iterator[float]:
    """The fetches of ten minutes; the server is away from 60 to 300 s, and hangs for 10 s each time."""
    now = 0.0
    while now < 600:
        now = max(now, schedule.due(changed=False))
        yield now
        schedule.began(now)
        away = 60 <= now < 300
        now += 10.0 if away else 0.1
        schedule.ended(failed=away)
        schedule.heed(CLEAN)
