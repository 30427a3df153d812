"""A single audit: of a live cell what two readings agree on, of a recording what one reading shows."""

from __future__ import annotations

import pytest
from attrs import define, evolve, field

from c2c_auditor.assembly.once import audit_once, read_inputs, read_scene
from c2c_auditor.errors import SourceError
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Problem, Report, Result, SourceStatus
from support.mutations import with_rules
from support.recordings import recording

CELL = recording("pair")
FORWARD = CELL.ruleset.chains("filter")["FORWARD"].rules
SOUND = Reading(time=1_795_400_000.0, facts=CELL.facts, rulesets=(CELL.ruleset,))
UNREADABLE = evolve(
    SOUND,
    rulesets=(),
    sources=(
        SourceStatus(
            name="rules",
            up=False,
            problem=Problem(source="rules", reason="timeout", where="iptables", problem="hangs", remedy="look"),
        ),
    ),
)


def _damaged(rules: tuple[r.Rule, ...]) -> Reading:
    return evolve(SOUND, rulesets=(with_rules(CELL.ruleset, "FORWARD", rules),))


FLUSHED = _damaged(())


@define
class Scripted:
    """Gives one reading after the other; and how long it was waited between them."""

    readings: list[Reading]
    waits: list[float] = field(factory=list)

    def read(self) -> Reading:
        """The next one."""
        return self.readings.pop(0)

    def audit(self, *, wait: float | None = 2.0) -> Report:
        """The report, without waiting."""
        return audit_once(self, wait=wait, sleep=self.waits.append)


def test_a_sound_cell_is_read_once() -> None:
    """There is nothing that a second reading could take back."""
    script = Scripted([SOUND])
    assert script.audit().result is Result.CLEAN
    assert (script.readings, script.waits) == ([], [])


def test_what_two_readings_agree_on_is_found() -> None:
    """A difference that was gone, or came, between them is silk's work in progress."""
    script = Scripted([FLUSHED, FLUSHED])
    assert Kind.JUMP_MISSING in {finding.kind for finding in script.audit().findings}
    assert script.waits == [2.0]
    assert Scripted([FLUSHED, SOUND]).audit().result is Result.CLEAN


def test_a_live_audit_has_the_statements_that_a_bundle_has() -> None:
    """Who reaches whom otherwise than the policies want is the same sentence in both."""
    live = Scripted([FLUSHED, FLUSHED]).audit()
    recorded = Scripted([FLUSHED]).audit(wait=None)
    assert live.statements
    assert live.statements == recorded.statements
    assert live.findings == recorded.findings


@pytest.mark.parametrize("readings", [[UNREADABLE], [FLUSHED, UNREADABLE]])
def test_rules_that_cannot_be_read_make_a_blind_report(readings: list[Reading]) -> None:
    """It says which source failed, whichever of the readings it was."""
    report = Scripted([*readings]).audit()
    assert (report.result, report.unknown, report.sources) == (Result.BLIND, frozenset(Kind), UNREADABLE.sources)


def test_a_question_about_rules_that_cannot_be_read_is_an_error() -> None:
    """With the source's own words."""
    for question in (read_scene, read_inputs):
        with pytest.raises(SourceError, match="iptables: hangs \\(look\\)"):
            question(Scripted([UNREADABLE]))


def test_a_question_is_answered_from_the_plan_that_was_judged() -> None:
    """Nothing is planned or compared again."""
    scene = read_scene(Scripted([SOUND]))
    assert ((scene.inputs,),) == read_inputs(Scripted([SOUND])).cells
    assert scene.judgement.reach is not None
