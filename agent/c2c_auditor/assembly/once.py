"""A single audit of a live cell or a recording, and single readings for questions.

What is judged and how findings settle belongs to `audit`; repeated audits to `cycle`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from attrs import evolve, frozen

from c2c_auditor.audit.causes import with_causes
from c2c_auditor.audit.questions.shown_rules import facts_of_listings
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reporting import blind_report, report_at_once
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.audit.settle import agreed
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import Report
from c2c_auditor.model.rule import Ruleset


class Reader(Protocol):
    """A live cell or a recording."""

    def read(self) -> Reading:
        """One reading. Raises SourceError for a recording without rules; a live cell's reading then has none."""


def audit_once(reader: Reader, *, wait: float | None, sleep: Callable[[float], None] = time.sleep) -> Report:
    """The report of one audit.

    On a live cell a difference may be silk's work in progress: with ``wait`` the cell is read again that many seconds
    later, and what both readings agree on counts. None is for recordings, which do not change.
    """
    reading = reader.read()
    scene = judge_cell(reading) if reading.rulesets else None
    if scene is not None and wait is not None and scene.judgement.findings:
        sleep(wait)
        reading = reader.read()
        second = judge_cell(reading, scene) if reading.rulesets else None
        scene = evolve(second, judgement=agreed(scene.judgement, second.judgement)) if second is not None else None
    return report_at_once(scene) if scene is not None else blind_report(reading)


def read_agreed(
    reader: Reader, *, wait: float | None, sleep: Callable[[float], None] = time.sleep
) -> tuple[Scene, tuple[Finding, ...]]:
    """The last of two readings, judged, and the findings that both agree on, with their causes.

    ``wait`` as in `audit_once`. Raises SourceError if the rules cannot be read.
    """
    scene = judge_cell(_with_rules(reader.read()))
    found = scene.judgement.findings
    if wait is not None and found:
        sleep(wait)
        second = judge_cell(_with_rules(reader.read()), scene)
        scene, found = second, agreed(scene.judgement, second.judgement).findings
    return scene, with_causes(found, scene.reading.rulesets)[0]


def read_scene(reader: Reader) -> Scene:
    """One reading, judged. Raises SourceError if the rules cannot be read."""
    return judge_cell(_with_rules(reader.read()))


@frozen(kw_only=True)
class Asked:
    """What a question is answered from: of each cell the inputs of each family, and what of it could not be read."""

    cells: tuple[tuple[Inputs, ...], ...]
    unread: tuple[str, ...] = ()


def read_inputs(reader: Reader) -> Asked:
    """One reading with its plan, for questions about it that need no judgement.

    Of a cell it is the main ruleset; listings are of one cell each. Raises SourceError as `read_scene`.
    """
    reading = _with_rules(reader.read())
    if reading.listings:
        facts = facts_of_listings(reading.facts, reading.rulesets)
        pairs = zip(facts, reading.rulesets, strict=True)
        return Asked(cells=tuple((Inputs.of(known, ruleset, reading.time),) for known, ruleset in pairs))
    by_family: dict[AddressFamily, list[Ruleset]] = {}
    for ruleset in reading.rulesets:
        by_family.setdefault(ruleset.family, []).append(ruleset)
    families = tuple(
        evolve(Inputs.of(reading.facts, main, reading.time), beside=tuple(others))
        for main, *others in by_family.values()
    )
    return Asked(cells=(families,), unread=unread(reading))


def unread(reading: Reading) -> tuple[str, ...]:
    """The sources of ``reading`` that could not be read, each with the reason and what to do."""
    problems = (status.problem for status in reading.sources if not status.up)
    return tuple(
        f"{problem.where}: {problem.problem} ({problem.remedy})" for problem in problems if problem is not None
    )


def _with_rules(reading: Reading) -> Reading:
    """``reading`` if it has rules. Raises SourceError with the reason if it has none."""
    if not reading.rulesets:
        problem = next(status.problem for status in reading.sources if status.problem is not None)
        raise SourceError(
            source=problem.source,
            reason=Reason(problem.reason),
            where=problem.where,
            problem=problem.problem,
            remedy=problem.remedy,
        )
    return reading
