"""Audits one after the other: what lasts is confirmed, what mends itself is not, and blindness is never clean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from attrs import define, evolve, field

from c2c_auditor.audit.settle import Grace
from c2c_auditor.cycle import Cycle
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.model.report import Report, Result
from c2c_auditor.sources.facts.known import Clocks
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

    def cycle(self) -> Cycle:
        """The real cycle over this script; a grace of 15 s, from VPA's polls of 5 s."""
        return Cycle(
            rules=_Rules(self),
            facts=_Facts(self),
            version="t",
            clocks=Clocks(wall=lambda: self.wall, steady=lambda: self.steady),
        )

    def pass_(self, seconds: float) -> None:
        """Time goes on, on both clocks."""
        self.wall += seconds
        self.steady += seconds


@define
class _Rules:
    script: Scripted

    def read(self) -> tuple[r.Ruleset, ...]:
        if self.script.ruleset is None:
            raise SourceError(source="rules", reason=Reason.TIMEOUT, where="iptables", problem="hangs", remedy="look")
        return (self.script.ruleset, *self.script.others)

    def changes(self) -> Mapping[str, int]:
        seen, self.script.commits = self.script.commits, {}
        return seen


@define
class _Facts:
    script: Scripted

    def read(self) -> FactsReading:
        return FactsReading(facts=self.script.facts)


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
    script.pass_(14)
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
    assert resolved.counters.confirmed[Kind.MARK_MISSING] == resolved.counters.resolved[Kind.MARK_MISSING] == 1


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
    script.pass_(20)
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
    script.pass_(20)
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
