"""What a fleet of cells asks of the policy server: the agent's real schedule and feeds on a clock that is counted.

Beside it what VPA asks under the same conditions, from its source: `policies_last_updated` every 5 s, policies when
that moved and when a container was created, security groups every 60 s and for each container created (silk-release
vxlan-policy-agent/poller, converger).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from random import Random

from attrs import define, evolve, field, frozen

from c2c_auditor.model.cell import PolicySet, SecurityGroup
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.report import Report, Result, Tally
from c2c_auditor.sources.facts.policy_feed import PolicyFeed, SecurityGroupFeed
from c2c_auditor.sources.facts.policy_schedule import Pace, Schedule

_ANSWER_SECONDS = 0.05
_VPA_POLL, _GROUPS_POLL = 5.0, 60.0
_WAITING = Finding(kind=Kind.MARK_MISSING, effects=frozenset({Effect.OUTAGE}), subject=(), summary="")


@frozen(kw_only=True)
class Conditions:
    """What happens to every cell: containers that come or go each minute, and how far apart the cells start."""

    name: str
    changes_per_minute: float = 0.0
    start_seconds: float = 60.0
    seconds: float = 300.0


CONDITIONS = (
    Conditions(name="at rest"),
    Conditions(name="12 containers a minute come or go on each cell", changes_per_minute=12),
    Conditions(name="60 containers a minute come or go on each cell", changes_per_minute=60),
    Conditions(name="all started within a second", start_seconds=1.0, seconds=60.0),
)


@frozen(kw_only=True)
class Load:
    """Requests a second: the mean, and the most in any second."""

    mean: float
    peak: int


@define
class _Server:
    """Answers at once, and counts by second."""

    now: float = 0.0
    seconds: Counter[int] = field(factory=Counter)

    def last_updated(self) -> int:
        """Nobody changes a policy."""
        return self._asked()

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """None."""
        assert guids
        self._asked()
        return PolicySet()

    def security_groups_last_updated(self) -> int | None:
        """As a server of 2025."""
        return self._asked()

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """None."""
        assert spaces
        self._asked()
        return ()

    def _asked(self) -> int:
        self.seconds[int(self.now)] += 1
        return 1


class _Cell:
    """One agent: it fetches when its schedule says so, and heeds each change a moment after it."""

    def __init__(self, server: _Server, chance: Random, conditions: Conditions) -> None:
        self._server = server
        self._chance = chance
        self._every = 60 / conditions.changes_per_minute if conditions.changes_per_minute else 0.0
        self.started = chance.uniform(0, conditions.start_seconds)
        self._schedule = Schedule(Pace(jitter=chance.random), self.started)
        self._feeds = PolicyFeed(server), SecurityGroupFeed(server)
        self._next_change = self.started + chance.expovariate(1 / self._every) if self._every else float("inf")
        self._containers = self._asked_for = 0
        self._settled_at = self.started

    def due(self) -> float:
        """When something happens here next."""
        return min(self._next_change, self._settled_at, self._schedule.due(changed=self._changed))

    @property
    def _changed(self) -> bool:
        return self._containers != self._asked_for

    def step(self, now: float) -> None:
        """What happens at ``now``: a container comes or goes, silk has caught up with one, or a fetch is due."""
        if now >= self._next_change:
            self._containers += 1
            self._next_change = now + self._chance.expovariate(1 / self._every)
            self._settled_at = now + 1.0
            self._schedule.heed(self._report(pending=True))
        elif now >= self._settled_at:
            self._settled_at = float("inf")
            self._schedule.heed(self._report(pending=False))
        else:
            self._fetch(now)

    def _report(self, *, pending: bool) -> Report:
        """An audit of then; VPA has swapped its chain for each container by the time that it has settled."""
        chain = float(self._containers - pending)
        report = Report(time=0.0, result=Result.CLEAN, tally=Tally(policy_chain_time=chain))
        findings = (_WAITING.settled(State.PENDING, first_seen=0.0, since=0.0),) if pending else ()
        return evolve(report, findings=findings)

    def _fetch(self, now: float) -> None:
        policies, groups = self._feeds
        self._server.now = now
        self._schedule.began(now)
        self._asked_for = self._containers
        guids = frozenset({"space", f"app-{self._containers}"})
        policies.read(guids, now)
        groups.read(frozenset({"space"}), now, _GROUPS_POLL)
        self._schedule.ended(failed=False)


def agents(cells: int, conditions: Conditions, seed: int = 1) -> Counter[int]:
    """Requests of ``cells`` agents by second."""
    chance, server = Random(seed), _Server()
    fleet = [_Cell(server, chance, conditions) for _ in range(cells)]
    coming = [(cell.due(), number) for number, cell in enumerate(fleet)]
    heapq.heapify(coming)
    while (moment := coming[0])[0] < conditions.seconds:
        now, number = moment
        fleet[number].step(now)
        heapq.heapreplace(coming, (max(now + _ANSWER_SECONDS, fleet[number].due()), number))
    return server.seconds


def vpas(cells: int, conditions: Conditions, seed: int = 1) -> Counter[int]:
    """Requests of as many VPAs by second: each polls in step with itself, and asks twice for a container created."""
    chance, seconds = Random(seed), Counter[int]()
    for _ in range(cells):
        seconds.update(int(moment) for moment in _vpa(chance, conditions) if moment < conditions.seconds)
    return seconds


def _vpa(chance: Random, conditions: Conditions) -> Iterator[float]:
    started = chance.uniform(0, conditions.start_seconds)
    yield from (started, started)  # the first policies and security groups
    for poll in (_VPA_POLL, _GROUPS_POLL):
        yield from (started + number * poll for number in range(1, int(conditions.seconds / poll) + 1))
    created = started
    while conditions.changes_per_minute and created < conditions.seconds:
        created += chance.expovariate(conditions.changes_per_minute / 2 / 60)
        yield from (created, created)


def load(seconds: Counter[int], conditions: Conditions) -> Load:
    """Of what follows the first minute; of everything where there is no more than a minute."""
    first = 60 if conditions.seconds > 60 else 0
    counted = [seconds[second] for second in range(first, int(conditions.seconds))]
    return Load(mean=sum(counted) / len(counted), peak=max(counted))
