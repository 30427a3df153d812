"""Works out the commands for what was found, judges the rules as they would be after them, and keeps what that proves.

Nothing is tried on the kernel and nothing is run. What is printed is the result of commands as values, applied to the
rules as they were read and judged like any reading: nothing is left of what they are for, no finding is new, and no
flow is decided otherwise but as policies say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from c2c_auditor.audit.mend import proof, refusals, rights
from c2c_auditor.audit.mend.causes import Causes, numbers_of, only
from c2c_auditor.audit.mend.containers import containers
from c2c_auditor.audit.mend.draft import Draft
from c2c_auditor.audit.mend.edits import Edit, applied
from c2c_auditor.audit.mend.policy import policy_chain
from c2c_auditor.audit.mend.slots import ChainMend, edits_of
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.errors import UsageError
from c2c_auditor.model.finding import Finding, in_order
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.rule import Ruleset

# So many findings are tried one by one where all of them together do not stand the proof.
_MOST_TRIALS = 40


@frozen(kw_only=True)
class Request:
    """What is to be mended: all of ``findings``; ``asked`` if a person named them. ``foreign`` rules may go as well."""

    findings: tuple[Finding, ...]
    asked: bool = False
    foreign: tuple[rights.Named, ...] = ()


@frozen(kw_only=True)
class Commands:
    """The edits of one address family, for ``ruleset`` as it was read; ``after`` is what they make of it."""

    ruleset: Ruleset
    edits: tuple[Edit, ...]
    after: Ruleset


@frozen(kw_only=True)
class Mend:
    """The result. ``causes`` are the findings that the commands end, by the numbers that the edits bear.

    ``refused`` are the others that were asked for. ``outcome`` is what the commands come to, and ``left`` the findings
    that there would be afterwards. With ``blocked`` there is nothing else.
    """

    time: float | None = None
    commands: tuple[Commands, ...] = ()
    causes: Mapping[int, Finding] = field(factory=dict)
    refused: tuple[refusals.Refusal, ...] = ()
    outcome: proof.Outcome | None = None
    left: tuple[Finding, ...] = ()
    blocked: refusals.Blocked | None = None


def mend(scene: Scene, request: Request) -> Mend:
    """The commands for ``request``. Raises UsageError for a rule of others that no finding is about."""
    found = refusals.blocked(scene)
    if found is not None:
        return Mend(time=scene.reading.time, blocked=found)
    findings = request.findings
    for text in dict.fromkeys(one.text for one in request.foreign):
        if not any(one.is_found_by(finding) for one in request.foreign if one.text == text for finding in findings):
            message = (
                f"--remove-foreign {text}: no finding is about such a rule; mend prints the option for each that is"
            )
            raise UsageError(message)
    work = _Work(scene, request)
    proved = work.proved()
    numbers = {number for one in proved.mends.values() for number in numbers_of(one)}
    after = proved.after
    left = after.judgement.findings if after is not None else scene.judgement.findings
    gone = {finding.key for finding in findings} - {finding.key for finding in left}
    return Mend(
        time=scene.reading.time,
        commands=proved.commands,
        causes={number: finding for number, finding in work.numbered.items() if number in numbers},
        refused=tuple(
            refusals.refusal(
                finding,
                work.inputs_of(finding),
                harm=work.harms.get(number),
                conflicts=work.conflicts,
            )
            for number, finding in work.all.items()
            if number not in numbers and finding.key not in gone
        ),
        outcome=proved.outcome,
        left=left,
    )


@frozen(kw_only=True)
class _Trial:
    """Chains as they should be, by ruleset, the commands for that, and what judging it gave."""

    mends: Mapping[int, tuple[ChainMend, ...]]
    commands: tuple[Commands, ...]
    after: Scene | None = None
    outcome: proof.Outcome | None = None


class _Work:
    """One request on one scene."""

    def __init__(self, scene: Scene, request: Request) -> None:
        self._scene = scene
        self._request = request
        self.all = dict(enumerate(in_order(request.findings), 1))
        self.conflicts = refusals.conflicting(scene.judgement.findings)
        self.numbered = {number: finding for number, finding in self.all.items() if self._may_be_mended(finding)}
        self.harms: dict[int, str] = {}

    def _may_be_mended(self, finding: Finding) -> bool:
        if refusals.waits(finding, self.conflicts) or refusals.elsewhere(finding):
            return False
        return finding.kind is not Kind.CONTAINER_CHAIN_ORPHAN or self._request.asked

    def inputs_of(self, finding: Finding) -> Inputs:
        """What the rules that ``finding`` is about were judged with."""
        ipv6 = self._scene.ipv6
        return ipv6.inputs if ipv6 is not None and finding.ipv6 else self._scene.inputs

    def proved(self) -> _Trial:
        """Commands that stand the proof, for as many findings as possible: all at once, else one after the other."""
        plain = self._worked_out(in_order=False)
        numbers = frozenset(number for mends in plain.values() for number in numbers_of(mends))
        if not numbers:
            return _Trial(mends={}, commands=())
        trial = self._trial(plain, numbers)
        if self._stands(trial, numbers):
            return trial
        ordered = self._worked_out(in_order=True)
        trial = self._trial(ordered, numbers)
        return trial if self._stands(trial, numbers) else self._one_by_one((plain, ordered), numbers)

    def _one_by_one(self, ways: Sequence[Mapping[int, tuple[ChainMend, ...]]], numbers: frozenset[int]) -> _Trial:
        best = _Trial(mends={}, commands=())
        allowed: frozenset[int] = frozenset()
        self.harms.update(dict.fromkeys(sorted(numbers)[_MOST_TRIALS:], "it was not tried: ask for it alone"))
        for number in sorted(numbers)[:_MOST_TRIALS]:
            for mends in ways:
                trial = self._trial(mends, allowed | {number})
                if self._stands(trial, allowed | {number}):
                    best, allowed = trial, allowed | {number}
                    self.harms.pop(number, None)
                    break
                self.harms[number] = trial.outcome.harm if trial.outcome is not None else "what they do is not known"
        return best

    def _worked_out(self, *, in_order: bool) -> dict[int, tuple[ChainMend, ...]]:
        """The chains as they should be, by the ruleset's place in the reading, each change with its causes."""
        worked_out = {}
        for judged in self._scene.judged:
            inputs = judged.inputs
            mine = {number: one for number, one in self.numbered.items() if one.ipv6 == inputs.ipv6}
            place = next(at for at, one in enumerate(self._scene.reading.rulesets) if one is inputs.ruleset)
            draft = self._draft(inputs, list(mine.values()), in_order=in_order)
            doubtful = {(one.table, one.chain) for one in inputs.ruleset.disagreements}
            sure = [one for one in draft.mends() if (one.table, one.chain) not in doubtful]
            worked_out[place] = Causes(mine).attributed(sure, in_order=in_order)
        return worked_out

    def _draft(self, inputs: Inputs, findings: Sequence[Finding], *, in_order: bool) -> Draft:
        placed = [(one, one.place) for one in findings if one.place is not None and rights.stands(inputs, one)]
        places = {(place.table, place.chain, place.position or 0): finding for finding, place in placed}
        draft = Draft(
            ruleset=inputs.ruleset,
            going=frozenset(
                key for key, finding in places.items() if rights.may_go(inputs, finding, self._request.foreign)
            ),
            foreign=frozenset(
                key
                for key, finding in places.items()
                if rights.is_foreign(inputs, finding) and not rights.may_go(inputs, finding, self._request.foreign)
            ),
            displaced=frozenset(
                key
                for key, finding in places.items()
                if finding.kind is Kind.JUMP_MISPLACED and finding.subject != ("policy",)
            ),
            in_order=in_order,
        )
        if not inputs.ipv6:
            known = self._scene.judgement.findings
            ahead = {one.subject[0] for one in known if one.kind is Kind.POLICY_CHAIN_FROM_FUTURE}
            policy_chain(draft, inputs, frozenset(ahead), inputs.now)
        containers(draft, inputs)
        for finding in findings:
            if finding.kind is Kind.CONTAINER_CHAIN_ORPHAN:
                for detail in finding.details:
                    table, _, chain = detail.partition(" ")
                    draft.remove(table, chain)
        for table, chain, position in draft.going:
            draft.places(table, chain).take_out(position)
        return draft

    def _trial(self, mends: Mapping[int, tuple[ChainMend, ...]], allowed: frozenset[int]) -> _Trial:
        """The part of ``mends`` that is for the causes ``allowed``, applied and judged."""
        chosen = {place: only(found, allowed) for place, found in mends.items()}
        rulesets = list(self._scene.reading.rulesets)
        commands = []
        for place, found in chosen.items():
            edits = tuple(edits_of(found))
            if edits:
                before, rulesets[place] = rulesets[place], applied(rulesets[place], edits)
                commands.append(Commands(ruleset=before, edits=edits, after=rulesets[place]))
        after = judge_cell(evolve(self._scene.reading, rulesets=tuple(rulesets)), self._scene)
        known = all(one.judgement.reach is not None for one in after.judged)
        result = proof.outcome(self._scene, after) if known else None
        return _Trial(mends=chosen, commands=tuple(commands), after=after, outcome=result)

    def _stands(self, trial: _Trial, numbers: frozenset[int]) -> bool:
        done = frozenset(number for mends in trial.mends.values() for number in numbers_of(mends))
        targets = [self.numbered[number] for number in numbers]
        return trial.outcome is not None and numbers <= done and trial.outcome.proves(targets)
