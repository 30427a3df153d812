"""Audits one after the other: what lasts is confirmed, what mends itself is not, and blindness is never clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pytest
from attrs import define, evolve, field

from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.audit.settle import Grace
from c2c_auditor.cycle import Cycle
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.change import Author, Change, Deed, Done
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.reading import FactsReading, Reading
from c2c_auditor.model.report import Problem, Report, Result, SourceStatus
from c2c_auditor.silk.chain_names import policy_chain_time
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.rules.deeds import difference
from support.mutations import with_rules
from support.recordings import recording

T = TypeVar("T")
CELL = recording("pair")


@define
class Scripted:
    """Rules and facts as a test says, and the clocks."""

    ruleset: r.Ruleset | None = CELL.ruleset
    facts: CellFacts = CELL.facts
    others: tuple[r.Ruleset, ...] = ()
    wall: float = 1_795_400_000.0
    steady: float = 100.0
    commits: dict[str, int] = field(factory=dict)
    done: tuple[Done, ...] = ()
    packets: dict[str, int] | None = None
    sources: tuple[SourceStatus, ...] = ()

    def cycle(self, on_bug: Callable[[str], None] | None = None) -> Cycle:
        """The real cycle over this script; a grace of 15 s, from VPA's polls of 5 s."""
        return Cycle(
            rules=_Rules(self),
            facts=_Facts(self),
            version="t",
            clocks=Clocks(wall=lambda: self.wall, steady=lambda: self.steady),
            on_bug=on_bug,
        )

    def pass_(self, seconds: float) -> None:
        """Time goes on, on both clocks."""
        self.wall += seconds
        self.steady += seconds


@define
class _Rules:
    script: Scripted

    def read(self, families: Sequence[r.AddressFamily] = (r.AddressFamily.IPV4,)) -> tuple[r.Ruleset, ...]:
        del families
        if self.script.ruleset is None:
            raise SourceError(source="rules", reason=Reason.TIMEOUT, where="iptables", problem="hangs", remedy="look")
        return (self.script.ruleset, *self.script.others)

    def changes(self) -> Mapping[str, int]:
        seen, self.script.commits = self.script.commits, {}
        return seen

    def done(self) -> tuple[Done, ...]:
        done, self.script.done = self.script.done, ()
        return done

    def packets(self) -> Mapping[str, int] | None:
        return self.script.packets


@define
class _Facts:
    script: Scripted

    def read(self) -> FactsReading:
        return FactsReading(facts=self.script.facts, sources=self.script.sources)


def _without_mark() -> r.Ruleset:
    return with_rules(CELL.ruleset, CELL.policy_chain, CELL.ruleset.chains("filter")[CELL.policy_chain].rules[1:])


def _states(report: Report) -> dict[Kind, State]:
    return {finding.kind: finding.state for finding in report.findings}


def test_a_lasting_difference_is_pending_then_confirmed_then_resolved() -> None:
    """Each once; and counted."""
    script = Scripted()
    cycle = script.cycle()
    assert cycle.run().result is Result.CLEAN
    script.ruleset = _without_mark()
    first = cycle.run()
    assert (first.result, _states(first)) == (Result.UNSETTLED, {Kind.MARK_MISSING: State.PENDING})
    for seconds in (7, 7):
        script.pass_(seconds)
        assert not cycle.run().confirmed
    script.pass_(1)
    confirmed = cycle.run()
    assert (confirmed.result, [one.kind for one in confirmed.confirmed]) == (Result.FINDINGS, [Kind.MARK_MISSING])
    assert confirmed.findings[0].first_seen == first.time
    script.pass_(1)
    assert not cycle.run().confirmed
    script.ruleset = CELL.ruleset
    resolved = cycle.run()
    assert (resolved.result, [one.kind for one in resolved.resolved]) == (Result.CLEAN, [Kind.MARK_MISSING])
    assert resolved.counters.confirmed[Effect.OUTAGE] == resolved.counters.resolved[Effect.OUTAGE] == 1


def test_one_reading_confirms_nothing_however_late_it_is() -> None:
    """Two readings must agree."""
    script = Scripted()
    cycle = script.cycle()
    script.pass_(10_000)
    script.ruleset = _without_mark()
    assert not cycle.run().confirmed


def test_a_clock_that_steps_confirms_nothing() -> None:
    """How long a finding lasts is the steady clock's to say."""
    script = Scripted(ruleset=_without_mark())
    cycle = script.cycle()
    cycle.run()
    script.wall += 100_000
    assert not cycle.run().confirmed


def test_rules_that_cannot_be_read_are_blindness_and_keep_what_was_known() -> None:
    """Blind is not clean, and what cannot be seen has not gone."""
    script = Scripted(ruleset=_without_mark())
    cycle = script.cycle()
    cycle.run()
    script.pass_(9)
    cycle.run()
    script.pass_(9)
    assert cycle.run().result is Result.FINDINGS
    script.ruleset = None
    blind = cycle.run()
    assert (blind.result, blind.findings, blind.resolved, blind.unknown) == (Result.BLIND, (), (), frozenset(Kind))
    assert blind.counters.source_errors == {("rules", "timeout"): 1}
    script.ruleset = _without_mark()
    again = cycle.run()
    assert _states(again) == {Kind.MARK_MISSING: State.CONFIRMED}
    assert not again.confirmed


def test_without_expectations_policy_findings_are_unknown_and_not_stale_truth() -> None:
    """They are neither shown nor resolved; what needs no policy is judged on."""
    script = Scripted(ruleset=_without_mark())
    cycle = script.cycle()
    cycle.run()
    for _ in range(2):
        script.pass_(9)
        cycle.run()
    script.facts = evolve(CELL.facts, policies=None)
    unknown = cycle.run()
    assert unknown.result is Result.BLIND
    assert Kind.MARK_MISSING in unknown.unknown
    assert Kind.DEFAULT_DENY_MISSING not in unknown.unknown
    assert (unknown.findings, unknown.resolved) == ((), ())
    assert unknown.last_conclusive == script.wall
    script.pass_(5)
    assert cycle.run().last_conclusive == script.wall - 5


def test_rules_in_both_backends_are_one_finding_and_what_stands_in_the_second_is_told() -> None:
    """What silk wrote to the first is not missing in the second."""
    stray = r.Chain(name="overlay--00000000-0000-0000", rules=())
    other = r.Ruleset(tables={"filter": r.Table(name="filter", chains={stray.name: stray})}, backend=r.Backend.LEGACY)
    script = Scripted(others=(other,))
    assert list(_states(script.cycle().run())) == [Kind.BACKEND_SPLIT]


def test_a_policy_that_arrives_is_measured() -> None:
    """From when it was known to when the kernel carried it out."""
    policies = CELL.facts.policies
    assert policies is not None
    without = evolve(CELL.facts, policies=evolve(policies, policies=policies.policies[:1]))
    chain = CELL.ruleset.chains("filter")[CELL.policy_chain].rules
    late = with_rules(CELL.ruleset, CELL.policy_chain, chain[:2])
    script = Scripted(ruleset=late, facts=without)
    cycle = script.cycle()
    cycle.run()
    script.facts = CELL.facts
    cycle.run()
    script.pass_(4)
    script.ruleset = CELL.ruleset
    histogram = cycle.run().counters.convergence
    assert (sum(histogram.counts), histogram.total) == (1, 4.0)


def test_commits_are_counted_by_author() -> None:
    """As far as the backend tells."""
    script = Scripted(commits={"vpa": 6, "foreign": 1})
    counters = script.cycle().run().counters
    assert (counters.ruleset_changes["vpa"], counters.ruleset_changes["cni"], counters.ruleset_changes["foreign"]) == (
        6,
        0,
        1,
    )


def test_the_grace_comes_from_vpas_own_polls() -> None:
    """Two polls and a margin; security groups have their own poll."""
    assert Grace.for_polls(policy=5, security_group=60) == Grace(policy=15, security_group=125)
    assert Grace().of(Kind.ASG_MISSING) > Grace().of(Kind.MARK_MISSING)


def test_a_chain_from_the_future_is_resolved_when_its_time_has_come() -> None:
    """Neither rules nor facts change meanwhile: the clock alone makes the difference."""
    made = policy_chain_time(CELL.policy_chain)
    assert made is not None
    script = Scripted(wall=made - 100)
    cycle = script.cycle()
    for _ in range(2):
        assert _states(cycle.run()) == {Kind.POLICY_CHAIN_FROM_FUTURE: State.PENDING}
        script.pass_(8)
    assert _states(cycle.run()) == {Kind.POLICY_CHAIN_FROM_FUTURE: State.CONFIRMED}
    script.pass_(24)
    report = cycle.run()
    assert (report.findings, [one.kind for one in report.resolved]) == ((), [Kind.POLICY_CHAIN_FROM_FUTURE])


def test_a_clock_that_is_set_back_shows_the_chain_from_the_future() -> None:
    """The judgement of the same rules and facts from before the step does not hold after it."""
    made = policy_chain_time(CELL.policy_chain)
    assert made is not None
    script = Scripted(wall=made + 100)
    cycle = script.cycle()
    assert cycle.run().findings == ()
    script.wall = made - 100
    assert _states(cycle.run()) == {Kind.POLICY_CHAIN_FROM_FUTURE: State.PENDING}


def test_an_unchanged_cell_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell at rest costs a comparison; a change of rules or facts is judged."""
    judged: list[Reading] = []

    def counting(reading: Reading, previous: Scene | None = None) -> Scene:
        judged.append(reading)
        return judge_cell(reading, previous)

    monkeypatch.setattr("c2c_auditor.cycle.judge_cell", counting)
    script = Scripted()
    cycle = script.cycle()
    for _ in range(3):
        cycle.run()
    assert len(judged) == 1
    script.facts = evolve(CELL.facts, notes=("other",))
    cycle.run()
    script.ruleset = _without_mark()
    cycle.run()
    assert len(judged) == 3


@pytest.mark.parametrize("place", ["judge_cell", "settle", "judged_report"])
def test_a_bug_is_a_blind_audit_with_its_traceback_and_not_the_end(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says what and where; findings stay as they were; the next audit works."""
    script = Scripted(ruleset=_without_mark())
    traces: list[str] = []
    cycle = script.cycle(traces.append)
    cycle.run()
    with monkeypatch.context() as patched:
        patched.setattr(f"c2c_auditor.cycle.{place}", _raise)
        script.facts = evolve(CELL.facts, notes=("other",))
        report = cycle.run()
    assert (report.result, report.findings, report.unknown) == (Result.BLIND, (), frozenset(Kind))
    problem = report.sources[-1].problem
    assert (report.sources[-1].name, report.sources[-1].up) == ("audit", False)
    assert problem is not None
    assert "KeyError: 'surprise'" in problem.problem
    assert problem.where.startswith("test_cycle.py, line ")
    assert report.counters.source_errors == {("audit", "failed"): 1}
    assert report.counters.audits[Result.BLIND] == 1
    (trace,) = traces
    assert trace.startswith("Traceback")
    assert cycle.scene is None
    script.pass_(8)
    assert _states(cycle.run()) == {Kind.MARK_MISSING: State.PENDING}
    script.pass_(8)
    assert _states(cycle.run()) == {Kind.MARK_MISSING: State.CONFIRMED}


def test_what_a_bug_kept_from_being_announced_is_announced_by_the_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confirmation is a log line and an alert; it must not get lost between settling and reporting."""
    script = Scripted(ruleset=_without_mark())
    cycle = script.cycle()
    for _ in range(2):
        assert cycle.run().confirmed == ()
        script.pass_(8)
    with monkeypatch.context() as patched:
        patched.setattr("c2c_auditor.cycle.judged_report", _raise)
        assert cycle.run().confirmed == ()
    assert [one.kind for one in cycle.run().confirmed] == [Kind.MARK_MISSING]


@pytest.mark.parametrize("source", [_Rules, _Facts])
def test_a_bug_in_a_reader_is_a_blind_audit_too(source: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was read then, and the report says so."""
    script = Scripted()
    cycle = script.cycle()
    with monkeypatch.context() as patched:
        patched.setattr(source, "read", _raise)
        report = cycle.run()
    assert (report.result, [status.name for status in report.sources]) == (Result.BLIND, ["audit"])
    assert cycle.run().result is Result.CLEAN


def _raise(*_: object, **__: object) -> None:
    raise KeyError("surprise")


def test_a_failed_reading_of_a_source_is_counted_once_however_often_it_is_seen() -> None:
    """Policies are fetched beside the audits: several audits see one failure."""
    script = Scripted()
    cycle = script.cycle()

    def failure() -> SourceStatus:
        problem = Problem(source="policy_server", reason="timeout", where="x", problem="hangs", remedy="look")
        return SourceStatus(name="policy_server", up=False, problem=problem)

    script.sources = (failure(),)
    cycle.run()
    assert cycle.run().counters.source_errors == {("policy_server", "timeout"): 1}
    script.sources = (failure(),)
    assert cycle.run().counters.source_errors == {("policy_server", "timeout"): 2}


def _damage(script: Scripted, *, seen: float) -> Change:
    """Somebody takes the mark away, and it is heard."""
    before, script.ruleset = script.ruleset, _without_mark()
    assert before is not None
    change = Change(seen=seen, author=Author.FOREIGN, process="iptables", pid=4711)
    script.done = (Done(change=change, deed=difference(before, script.ruleset)),)
    return change


def test_a_finding_names_the_commit_that_caused_it_as_long_as_it_lasts() -> None:
    """From its first sighting to its resolution, also in the log's lists; what happens meanwhile changes nothing."""
    script = Scripted()
    cycle = script.cycle()
    cycle.run()
    change = _damage(script, seen=script.wall)
    pending = cycle.run()
    assert [finding.changed_by for finding in pending.findings] == [change]
    assert (pending.changes, pending.journal) == ((change,), (change,))
    script.done = (Done(change=Change(seen=script.wall, author=Author.VPA), deed=Deed()),)
    script.pass_(8)
    assert cycle.run().findings[0].changed_by is change
    script.pass_(8)
    (confirmed,) = cycle.run().confirmed
    assert confirmed.changed_by is change
    script.ruleset = CELL.ruleset
    resolved = cycle.run()
    assert [finding.changed_by for finding in resolved.resolved] == [change]
    assert (resolved.changes, len(resolved.journal)) == ((), 2)
    script.ruleset = _without_mark()
    assert cycle.run().findings[0].changed_by is None


def test_what_was_there_at_the_first_look_has_no_author() -> None:
    """Whoever commits before the first audit, or while a finding is there already, is not named for it."""
    script = Scripted()
    _damage(script, seen=script.wall)
    cycle = script.cycle()
    assert cycle.run().findings[0].changed_by is None
    _damage(script, seen=script.wall)
    assert cycle.run().findings[0].changed_by is None


def test_a_commit_seen_by_a_blind_audit_is_still_named_by_the_next() -> None:
    """An audit that a bug ended, or that could not read the rules, judged nothing."""
    script = Scripted()
    cycle = script.cycle()
    cycle.run()
    change = _damage(script, seen=script.wall)
    damaged, script.ruleset = script.ruleset, None
    assert cycle.run().result is Result.BLIND
    script.ruleset = damaged
    assert cycle.run().findings[0].changed_by is change


def test_silks_daily_work_hides_nothing_that_others_did() -> None:
    """Of each the newest hundred are kept, in their order."""
    script = Scripted()
    cycle = script.cycle()
    others = Change(seen=1.0, author=Author.FOREIGN)
    script.done = (Done(change=others, deed=None),)
    cycle.run()
    for start in range(0, 300, 50):
        changes = [Change(seen=2.0 + start + n, author=Author.VPA) for n in range(50)]
        script.done = tuple(Done(change=change, deed=None) for change in changes)
        cycle.run()
    report = cycle.run()
    assert report.journal[0] is others
    assert [change.seen for change in report.journal[1:]] == [2.0 + n for n in range(200, 300)]


def test_packets_are_counted_on_while_nobody_can_read_them() -> None:
    """What was known stays: a counter goes down at a restart only."""
    script = Scripted(packets={"accepted": 5, "refused": 1})
    cycle = script.cycle()
    assert cycle.run().counters.packets == {"accepted": 5, "refused": 1}
    script.packets, script.ruleset = None, None
    assert cycle.run().counters.packets == {"accepted": 5, "refused": 1}
