"""One reading, judged: what a report is made from, and what questions about the cell are answered from."""

from __future__ import annotations

from attrs import evolve, frozen

from c2c_auditor.audit.checks import backend_split
from c2c_auditor.audit.judge import judge_inputs, severity_order
from c2c_auditor.audit.judgement import Judgement
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model.reading import Reading


@frozen(kw_only=True)
class Scene:
    """One reading with its plan, its comparison and its judgement.

    ``inputs`` are those of the main ruleset: of two backends the one that holds silk's rules.
    """

    reading: Reading
    inputs: Inputs
    judgement: Judgement

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
    first, *others = reading.rulesets
    inputs = Inputs.of(reading.facts, first, reading.time)
    judgement = judge_inputs(inputs, previous.judgement.reach if previous is not None else None)
    for other in others:  # the kernel applies both backends, so both are judged
        second = judge_inputs(Inputs.of(reading.facts, other, reading.time))
        judgement = evolve(
            judgement,
            findings=(*judgement.findings, *backend_split.elsewhere(second.findings, other)),
            holds_from=max(judgement.holds_from, second.holds_from),
            holds_until=min(judgement.holds_until, second.holds_until),
        )
    if others:
        findings = (*backend_split.split(reading.rulesets), *judgement.findings)
        judgement = evolve(judgement, findings=tuple(sorted(findings, key=severity_order)))
    return Scene(reading=reading, inputs=inputs, judgement=judgement)


def _judge_listings(reading: Reading) -> Scene:
    """Judge listings of several places with the same facts.

    Of the other listings only the marks that they set are used.
    """
    inputs_by_listing = [
        Inputs.of(
            reading.facts, ruleset, reading.time, tuple(other for other in reading.rulesets if other is not ruleset)
        )
        for ruleset in reading.rulesets
    ]
    judgements = [judge_inputs(inputs) for inputs in inputs_by_listing]
    whole = evolve(
        judgements[0],
        findings=tuple(finding for judgement in judgements for finding in judgement.findings),
        notes=tuple(dict.fromkeys(note for judgement in judgements for note in judgement.notes)),
    )
    return Scene(reading=reading, inputs=inputs_by_listing[0], judgement=whole)
