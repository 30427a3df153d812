"""L6: the audits of the daemon, one after the other: read, judge, settle, report.

Between audits it keeps `audit.settle.Memory`, the last scene and the counters, and nothing else. When to audit is
decided by `daemon`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TypeVar

from attrs import evolve

from c2c_auditor.assembly.live import FactsSource, LiveReader, RulesSource
from c2c_auditor.audit.blame import blamed
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.reporting import blind_report, judged_report
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.audit.settle import Grace, Memory, Settlement, settle
from c2c_auditor.audit.staleness import Staleness
from c2c_auditor.errors import Reason
from c2c_auditor.model.change import Author, Change, Done, newest, newest_done
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Counters, Histogram, NetlinkStatus, Problem, Report, Result, SourceStatus
from c2c_auditor.model.rule import Backend
from c2c_auditor.silk.remembered import forget_unused
from c2c_auditor.sources.clocks import Clocks

_PHASES = ("rules", "facts", "judge")
_DURATION_BOUNDS = (0.01, 0.1, 1.0, 10.0)
K = TypeVar("K")


class Cycle:
    """Audits again and again; `run` gives the report of one audit.

    ``grace`` may be changed in between; None takes it from VPA's polls. ``scene`` is what the last audit saw, None
    while rules cannot be read. ``on_bug`` gets the traceback of an error that no part of the agent expects. ``netlink``
    tells how announcements of nf_tables are heard.
    """

    def __init__(
        self,
        *,
        rules: RulesSource,
        facts: FactsSource,
        version: str,
        grace: Grace | None = None,
        clocks: Clocks | None = None,
        on_bug: Callable[[str], None] | None = None,
        netlink: Callable[[], NetlinkStatus | None] = lambda: None,
    ) -> None:
        self._clocks = clocks if clocks is not None else Clocks()
        self._reader = LiveReader(rules, facts, self._clocks, netlink)
        self._version = version
        self.grace = grace
        self._on_bug = on_bug
        self._memory = Memory()
        self._judged: Scene | None = None
        self._blamed: dict[tuple[str, ...], Change] = {}
        self._done: list[Done] | None = None  # since the last audit that judged; None before the first
        self._journal: list[Change] = []
        self.scene: Scene | None = None
        self._counters = Counters(
            confirmed=dict.fromkeys(Effect, 0),
            resolved=dict.fromkeys(Effect, 0),
            audits=dict.fromkeys(Result, 0),
            ruleset_changes=dict.fromkeys(("vpa", "cni", "foreign"), 0),
            durations={phase: Histogram.empty(*_DURATION_BOUNDS) for phase in _PHASES},
        )
        self._counted_problems: dict[str, Problem] = {}
        self._last_conclusive: float | None = None

    def run(self) -> Report:
        """One audit. Never raises: a source that fails, and a bug in this agent, make the report blind and say why."""
        reading = Reading(time=self._clocks.wall())
        try:
            reading = self._reader.read()
            return self._audit(reading)
        except Exception as error:  # noqa: BLE001 - the next audit may work
            return self._failed(reading, error)

    def _audit(self, reading: Reading) -> Report:
        self._count_reading(reading)
        if not reading.rulesets:
            self.scene = None
            return self._blind(reading)
        started = self._clocks.steady()
        if self._judged is None or not self._judged.holds_for(reading):
            self._judged = judge_cell(reading, self._judged)
            forget_unused()
        scene = self.scene = self._judged
        settlement = self._settle(reading, scene.judgement)
        self._count_seconds({"judge": self._clocks.steady() - started})
        report = self._report(reading, scene.judgement, settlement)
        self._memory = settlement.memory  # only now: what no report announced is announced by the next one
        return report

    def _settle(self, reading: Reading, judgement: Judgement) -> Settlement:
        config = reading.facts.config
        grace = self.grace
        if grace is None:
            grace = (
                Grace()
                if config is None
                else Grace.for_polls(policy=config.poll_interval, security_group=config.asg_poll_interval)
            )
        now, staleness = self._clocks.steady(), Staleness.of(reading.sources)
        return settle(self._memory, judgement, now, grace, staleness=staleness)

    def _report(self, reading: Reading, judgement: Judgement, settlement: Settlement) -> Report:
        offset = (reading.time or 0.0) - self._clocks.steady()
        self._blame(settlement, reading)
        report = judged_report(reading, judgement, self._told(settlement.findings, offset))
        if report.result is not Result.BLIND:
            self._last_conclusive = reading.time
        self._count_findings(settlement)
        new = {finding.key for finding in settlement.confirmed}
        return self._with_counters(
            evolve(
                report,
                changes=tuple(done.change for done in reading.done),
                confirmed=tuple(finding for finding in report.findings if finding.key in new),
                resolved=self._told(settlement.resolved, offset),
            )
        )

    def _blame(self, settlement: Settlement, reading: Reading) -> None:
        """Find out what caused the findings that the audit before did not have; those that ended are kept once more.

        Findings are about the main backend, of which only nf_tables numbers its commits.
        """
        known = self._memory.tracks
        self._blamed = {key: change for key, change in self._blamed.items() if key in known}
        new = [finding for finding in settlement.findings if finding.key not in known]
        done = self._done or []
        if len({ruleset.backend for ruleset in reading.rulesets}) > 1:
            numbered = reading.rulesets[0].backend is Backend.NFT
            done = [one for one in done if (one.change.generation > 0) is numbered]
        self._blamed.update((finding.key, change) for finding, change in blamed(new, done))
        self._done = []

    def _told(self, findings: Sequence[Finding], offset: float) -> tuple[Finding, ...]:
        """With the commits that caused them, and steady times as seconds since the epoch."""
        return tuple(
            evolve(
                finding,
                first_seen=finding.first_seen + offset,
                since=finding.since + offset,
                changed_by=self._blamed.get(finding.key),
            )
            for finding in findings
        )

    def _blind(self, reading: Reading) -> Report:
        return self._with_counters(evolve(blind_report(reading), changes=tuple(done.change for done in reading.done)))

    def _failed(self, reading: Reading, error: Exception) -> Report:
        """The report of an audit that a bug ended. What is known of findings stays as it was: nothing was judged."""
        if self._on_bug is not None:
            self._on_bug("".join(traceback.format_exception(error)))
        self.scene = self._judged = None
        status = SourceStatus(name="audit", up=False, problem=_problem_of_bug(error))
        self._count_errors((*reading.sources, status))
        return self._blind(evolve(reading, sources=(*reading.sources, status)))

    def _with_counters(self, report: Report) -> Report:
        """``report`` with the counters, in which it is counted itself."""
        self._counters = evolve(self._counters, audits=_added(self._counters.audits, [report.result]))
        return evolve(
            report,
            journal=tuple(self._journal),
            counters=self._counters,
            last_conclusive=self._last_conclusive,
            version=self._version,
        )

    def _count_reading(self, reading: Reading) -> None:
        commits = [author for author, count in reading.commits.items() for _ in range(count)]
        self._counters = evolve(self._counters, ruleset_changes=_added(self._counters.ruleset_changes, commits))
        if reading.packets is not None:
            self._counters = evolve(self._counters, packets=reading.packets)
        self._journal = newest([*self._journal, *(done.change for done in reading.done)], _author)
        if self._done is not None:
            self._done = newest_done([*self._done, *reading.done])
        self._count_seconds(reading.seconds)
        self._count_errors(reading.sources)

    def _count_seconds(self, seconds: Mapping[str, float]) -> None:
        durations = dict(self._counters.durations)
        for phase, duration in seconds.items():
            durations[phase] = durations[phase].observed(duration)
        self._counters = evolve(self._counters, durations=durations)

    def _count_findings(self, settlement: Settlement) -> None:
        counters = self._counters
        convergence = counters.convergence
        for seconds in settlement.converged:
            convergence = convergence.observed(seconds)
        self._counters = evolve(
            counters,
            confirmed=_added(counters.confirmed, _effects(settlement.confirmed)),
            resolved=_added(counters.resolved, _effects(settlement.resolved)),
            convergence=convergence,
        )

    def _count_errors(self, sources: Sequence[SourceStatus]) -> None:
        """Count each failed reading of a source once.

        A source that is read beside the audits shows the identical problem in each audit until its next reading.
        """
        failed = {status.name: status.problem for status in sources if status.problem is not None}
        new = [problem for name, problem in failed.items() if self._counted_problems.get(name) is not problem]
        self._counted_problems = failed
        labels = [(problem.source, problem.reason) for problem in new]
        self._counters = evolve(self._counters, source_errors=_added(self._counters.source_errors, labels))


def _problem_of_bug(error: Exception) -> Problem:
    """Where the error was raised, and what it is."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{PurePath(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "c2c-auditor"
    what, remedy = "a bug in this agent", "report it with the log's traceback and a `c2c-auditor capture --redact`"
    if isinstance(error, OSError | MemoryError):
        what, remedy = (
            "the system refused",
            "look at the agent's limits (descriptors, memory) and at the log's traceback",
        )
    return Problem(
        source="audit",
        reason=Reason.FAILED.value,
        where=where,
        problem=f"{what}: {type(error).__name__}: {error}"[:500],
        remedy=remedy,
    )


def _author(change: Change) -> Author:
    return change.author


def _effects(findings: Sequence[Finding]) -> list[Effect]:
    return [effect for finding in findings for effect in finding.effects]


def _added(counts: Mapping[K, int], more: Sequence[K]) -> Mapping[K, int]:
    if not more:
        return counts
    added = dict(counts)
    for key in more:
        added[key] = added.get(key, 0) + 1
    return added
