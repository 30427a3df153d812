"""L6: one audit: read, judge, settle, report.

A cycle is a function of what it reads; `audit.settle.Memory` and the counters are all it remembers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from attrs import evolve, field, frozen

from c2c_auditor.audit.judge import judge_cell
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.settle import Grace, Memory, Settlement, settle
from c2c_auditor.audit.staleness import Staleness
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.errors import SourceError
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Counters, FactsReading, Histogram, Problem, Report, Result, SourceStatus
from c2c_auditor.model.rule import Ruleset

_PHASES = ("rules", "facts", "judge", "settle")
_DURATION_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
K = TypeVar("K")


class RulesSource(Protocol):
    """Where rules come from."""

    def read(self) -> tuple[Ruleset, ...]:
        """The backends in use, the main one first; identical objects when nothing changed. Raises SourceError."""

    def changes(self) -> Mapping[str, int]:
        """Commits seen since the last call, by who made them (``vpa``, ``cni``, ``foreign``).

        None where the backend does not tell.
        """


class FactsSource(Protocol):
    """Where expectations come from; failures are part of the reading, never raised."""

    def read(self, now: float) -> FactsReading:
        """What is known at ``now``, seconds since the epoch."""


@frozen(kw_only=True)
class Scene:
    """What the last audit saw, for questions about it: of two backends the one that holds silk's rules."""

    facts: CellFacts
    ruleset: Ruleset
    reach: Reachability | None
    time: float


@frozen(kw_only=True)
class Clocks:
    """``wall`` in seconds since the epoch, for people.

    ``steady`` never steps, for durations and for how long findings last.
    """

    wall: Callable[[], float] = field(default=time.time)
    steady: Callable[[], float] = field(default=time.monotonic)


class Cycle:
    """Audits again and again; `run` gives the report of one audit.

    ``grace`` may be changed in between; None takes it from VPA's polls.

    ``scene`` is what the last audit saw, None while rules cannot be read.
    """

    def __init__(
        self,
        *,
        rules: RulesSource,
        facts: FactsSource,
        version: str,
        grace: Grace | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self._rules = rules
        self._facts = facts
        self._version = version
        self.grace = grace
        self._clocks = clocks if clocks is not None else Clocks()
        self._memory = Memory()
        self.scene: Scene | None = None
        self._judged: tuple[Sequence[Ruleset], CellFacts, Judgement] | None = None
        self._counters = Counters(
            confirmed=dict.fromkeys(Kind, 0),
            resolved=dict.fromkeys(Kind, 0),
            audits=dict.fromkeys(Result, 0),
            ruleset_changes=dict.fromkeys(("vpa", "cni", "foreign"), 0),
            durations={phase: Histogram.empty(*_DURATION_BOUNDS) for phase in _PHASES},
        )
        self._rules_status = SourceStatus(name="rules", up=False)
        self._last_conclusive: float | None = None

    def run(self) -> Report:
        """One audit.

        Never raises for what the world does: a source that fails makes the report blind or partly so, and says why.
        """
        now = self._clocks.wall()
        reading = self._timed("facts", lambda: self._facts.read(now))
        rulesets = self._timed("rules", lambda: self._read_rules(now))
        reading = evolve(reading, sources=(self._rules_status, *reading.sources))
        self._count_errors(reading.sources)
        if rulesets is None:
            self.scene = None
            return self._blind(now, reading)
        judgement = self._timed("judge", lambda: self._judge(rulesets, reading.facts, now))
        return self._report(now, reading, rulesets, judgement)

    def _timed(self, phase: str, work: Callable[[], K]) -> K:
        started = self._clocks.steady()
        try:
            return work()
        finally:
            durations = dict(self._counters.durations)
            durations[phase] = durations[phase].observed(self._clocks.steady() - started)
            self._counters = evolve(self._counters, durations=durations)

    def _read_rules(self, now: float) -> tuple[Ruleset, ...] | None:
        try:
            rulesets = self._rules.read()
        except SourceError as error:
            self._rules_status = evolve(self._rules_status, up=False, problem=problem_of(error))
            return None
        self._rules_status = SourceStatus(name="rules", up=True, last_success=now)
        made = [author for author, count in self._rules.changes().items() for _ in range(count)]
        self._counters = evolve(self._counters, ruleset_changes=_added(self._counters.ruleset_changes, made))
        return rulesets

    def _judge(self, rulesets: tuple[Ruleset, ...], facts: CellFacts, now: float) -> Judgement:
        """Judged anew only when something changed; a cell at rest costs nothing here."""
        if self._judged is not None:
            seen, known, judgement = self._judged
            if (
                known is facts
                and len(seen) == len(rulesets)
                and all(old is new or old == new for old, new in zip(seen, rulesets, strict=True))
            ):
                self.scene = self.scene or Scene(facts=facts, ruleset=rulesets[0], reach=judgement.reach, time=now)
                return judgement
        judgement = judge_cell(facts, rulesets, now, self._judged[2] if self._judged is not None else None)
        self._judged = rulesets, facts, judgement
        self.scene = Scene(facts=facts, ruleset=rulesets[0], reach=judgement.reach, time=now)
        return judgement

    def _settle(self, judgement: Judgement, reading: FactsReading) -> Settlement:
        config = reading.facts.config
        grace = self.grace
        if grace is None:
            grace = (
                Grace()
                if config is None
                else Grace.for_polls(policy=config.poll_interval, security_group=config.asg_poll_interval)
            )
        settlement = settle(
            self._memory, judgement, self._clocks.steady(), grace, staleness=Staleness.of(reading.sources)
        )
        self._memory = settlement.memory
        return settlement

    def _blind(self, now: float, reading: FactsReading) -> Report:
        self._count(Result.BLIND)
        return Report(
            time=now,
            result=Result.BLIND,
            unknown=frozenset(Kind),
            sources=reading.sources,
            processes=reading.processes,
            counters=self._counters,
            last_conclusive=self._last_conclusive,
            version=self._version,
            notes=reading.facts.notes,
        )

    def _report(self, now: float, reading: FactsReading, rulesets: Sequence[Ruleset], judgement: Judgement) -> Report:
        settlement = self._timed("settle", lambda: self._settle(judgement, reading))
        result = result_of(settlement.findings, judgement.unknown)
        if result is not Result.BLIND:
            self._last_conclusive = now
        self._count(result, settlement)
        offset = now - self._clocks.steady()
        return Report(
            time=now,
            result=result,
            backend=rulesets[0].backend,
            findings=_dated(settlement.findings, offset),
            confirmed=_dated(settlement.confirmed, offset),
            resolved=_dated(settlement.resolved, offset),
            unknown=judgement.unknown,
            sources=reading.sources,
            processes=reading.processes,
            tally=judgement.tally,
            counters=self._counters,
            notes=judgement.notes,
            statements=judgement.statements,
            last_conclusive=self._last_conclusive,
            version=self._version,
        )

    def _count(self, result: Result, settlement: Settlement | None = None) -> None:
        counters = evolve(self._counters, audits=_added(self._counters.audits, [result]))
        if settlement is not None:
            convergence = counters.convergence
            for seconds in settlement.converged:
                convergence = convergence.observed(seconds)
            counters = evolve(
                counters,
                confirmed=_added(counters.confirmed, [finding.kind for finding in settlement.confirmed]),
                resolved=_added(counters.resolved, [finding.kind for finding in settlement.resolved]),
                convergence=convergence,
            )
        self._counters = counters

    def _count_errors(self, sources: Sequence[SourceStatus]) -> None:
        failed = [
            (status.problem.source, status.problem.reason)
            for status in sources
            if not status.up and status.problem is not None
        ]
        self._counters = evolve(self._counters, source_errors=_added(self._counters.source_errors, failed))


def result_of(findings: Sequence[Finding], unknown: frozenset[Kind]) -> Result:
    """One word for an audit: blind if anything could not be judged, then confirmed findings, then pending ones."""
    if unknown:
        return Result.BLIND
    if any(finding.state is State.CONFIRMED for finding in findings):
        return Result.FINDINGS
    return Result.UNSETTLED if findings else Result.CLEAN


def problem_of(error: SourceError) -> Problem:
    """A source's failure as part of a report."""
    return Problem(
        source=error.source, reason=error.reason.value, where=error.where, problem=error.problem, remedy=error.remedy
    )


def _added(counts: Mapping[K, int], more: Sequence[K]) -> Mapping[K, int]:
    if not more:
        return counts
    added = dict(counts)
    for key in more:
        added[key] = added.get(key, 0) + 1
    return added


def _dated(findings: Sequence[Finding], offset: float) -> tuple[Finding, ...]:
    """Steady times into seconds since the epoch."""
    return tuple(
        finding.settled(finding.state, first_seen=finding.first_seen + offset, since=finding.since + offset)
        for finding in findings
    )
