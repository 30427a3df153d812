"""The report while an audit takes too long. The listening process knows it too, so nothing that audits is imported."""

from __future__ import annotations

from attrs import evolve

from c2c_auditor.errors import Reason
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Problem, Report, Result, SourceStatus


def overdue_report(before: Report | None, seconds: float) -> Report:
    """The report while an audit takes longer than ``seconds``: nothing can be said of the cell until it ends.

    Its time is that of the audit ``before``, the last one that ended; None if there was none.
    """
    problem = Problem(
        source="audit",
        reason=Reason.TIMEOUT.value,
        where="c2c-auditor",
        problem=f"an audit did not end within {seconds:g} s and was given up",
        remedy=(
            "the next one has begun; if this stays, see what holds it up (py-spy dump, /proc/PID/stack) and keep the "
            "log"
        ),
    )
    status = SourceStatus(name="audit", up=False, problem=problem)
    return evolve(
        before if before is not None else Report(time=0.0, result=Result.BLIND),
        result=Result.BLIND,
        findings=(),
        causes=(),
        confirmed=(),
        resolved=(),
        unknown=frozenset(Kind),
        sources=(status,),
        statements=(),
    )


def overdue_problem(report: Report) -> Problem | None:
    """The problem of an `overdue_report`, None in every other."""
    problems = (status.problem for status in report.sources if status.name == "audit" and status.problem is not None)
    return next((problem for problem in problems if problem.reason == Reason.TIMEOUT.value), None)
