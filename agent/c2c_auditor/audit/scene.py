"""Judges one reading, of one or several rulesets: reports and answers to questions are made from the result."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from c2c_auditor.audit import dual_stack
from c2c_auditor.audit.checks import backend_split
from c2c_auditor.audit.judge import judge_inputs
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.questions.shown_rules import facts_of_listings
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.unknown import OF_IPV4
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import in_order
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.silk.chain_names import silks


@frozen(kw_only=True)
class Judged:
    """The rules of one address family with their plan and their judgement.

    ``inputs`` are those of the main ruleset: of two backends the one that holds silk's rules.
    """

    inputs: Inputs
    judgement: Judgement


@frozen(kw_only=True)
class Scene:
    """One reading with its plan, its comparison and its judgement, which is that of all its rules.

    ``inputs`` are those of the main ruleset of IPv4; ``ipv6`` is what was judged of IPv6, None where that is off.
    ``listed`` are the listings that were judged, each by itself; empty for a cell.
    """

    reading: Reading
    inputs: Inputs
    judgement: Judgement
    ipv6: Judged | None = None
    listed: tuple[Judged, ...] = ()

    @property
    def judged(self) -> tuple[Judged, ...]:
        """Each family by itself, and each listing of several."""
        if self.listed:
            return self.listed
        first = Judged(inputs=self.inputs, judgement=self.judgement)
        return (first,) if self.ipv6 is None else (first, self.ipv6)

    @property
    def reached(self) -> tuple[tuple[Inputs, Reachability], ...]:
        """Who reaches whom, of each family of which that is known."""
        return tuple((one.inputs, reach) for one in self.judged if (reach := one.judgement.reach) is not None)

    @property
    def questioned(self) -> tuple[Inputs, ...]:
        """What questions about single packets are answered from, by family."""
        return tuple(one.inputs for one in self.judged)

    def holds_for(self, reading: Reading) -> bool:
        """Whether ``reading`` would be judged the same, so that an audit of an unchanged cell need not judge again.

        The comparison is cheap: what did not change is the identical object in both readings.
        """
        judgement = self.judgement
        in_time = reading.time is None or judgement.holds_from <= reading.time < judgement.holds_until
        return in_time and (self.reading.rulesets, self.reading.facts) == (reading.rulesets, reading.facts)


def judge_cell(reading: Reading, previous: Scene | None = None) -> Scene:
    """Judge a reading that has rules. Pure: equal readings give equal scenes.

    ``previous`` is the scene before this one; what did not change since is taken over from it.
    """
    if reading.listings:
        return _judge_listings(reading)
    ipv4 = [ruleset for ruleset in reading.rulesets if ruleset.family is AddressFamily.IPV4]
    ipv6 = [ruleset for ruleset in reading.rulesets if ruleset.family is AddressFamily.IPV6]
    first = _judged(reading, ipv4, previous.judgement if previous is not None else None)
    if not ipv6:
        judgement = dual_stack.unread(first.judgement) if reading.facts.ipv6 else first.judgement
        return Scene(reading=reading, inputs=first.inputs, judgement=judgement)
    before = previous.ipv6.judgement if previous is not None and previous.ipv6 is not None else None
    second = _judged(reading, ipv6, before)
    judgement = dual_stack.both(first.judgement, second.judgement)
    return Scene(reading=reading, inputs=first.inputs, judgement=judgement, ipv6=second)


def _judged(reading: Reading, rulesets: Sequence[Ruleset], previous: Judgement | None) -> Judged:
    """The rulesets of one family: those of all backends in use, the main one first."""
    first, *others = rulesets
    compared = previous.comparison if previous is not None else None
    inputs = Inputs.of(reading.facts, first, reading.time, previous=compared)
    said = (warning for other in others for warning in other.warnings)
    inputs = evolve(inputs, beside=tuple(others), notes=(*inputs.notes, *said))
    judgement = judge_inputs(inputs, previous)
    others = [other for other in others if silks(other)]
    for other in others:  # silk's rules there are in force as well, so they are judged as silk's
        second = judge_inputs(Inputs.of(reading.facts, other, reading.time))
        judgement = evolve(
            judgement,
            findings=(*judgement.findings, *backend_split.elsewhere(second.findings, other)),
            holds_from=max(judgement.holds_from, second.holds_from),
            holds_until=min(judgement.holds_until, second.holds_until),
        )
    if others:
        split = tuple(backend_split.split(first, others[0]))
        findings = (*(map(dual_stack.marked, split) if inputs.ipv6 else split), *judgement.findings)
        judgement = evolve(judgement, findings=in_order(findings))
    return Judged(inputs=inputs, judgement=judgement)


def _judge_listings(reading: Reading) -> Scene:
    """Judge listings of several places with the same facts.

    Of the other listings only the marks that they set are used.
    """
    facts = facts_of_listings(reading.facts, reading.rulesets)
    inputs_by_listing = [
        Inputs.of(known, ruleset, reading.time, tuple(other for other in reading.rulesets if other is not ruleset))
        for known, ruleset in zip(facts, reading.rulesets, strict=True)
    ]
    judgements = [judge_inputs(inputs) for inputs in inputs_by_listing]
    ipv6_alone = all(inputs.ipv6 for inputs in inputs_by_listing)
    whole = evolve(
        judgements[0],
        findings=tuple(finding for judgement in judgements for finding in judgement.findings),
        unknown=(OF_IPV4 if ipv6_alone else frozenset()).union(*(judgement.unknown for judgement in judgements)),
        notes=(
            *dict.fromkeys(note for judgement in judgements for note in judgement.notes),
            *((dual_stack.ALONE,) if ipv6_alone else ()),
        ),
    )
    listed = tuple(
        Judged(inputs=inputs, judgement=judgement)
        for inputs, judgement in zip(inputs_by_listing, judgements, strict=True)
    )
    return Scene(reading=reading, inputs=inputs_by_listing[0], judgement=whole, listed=listed)
