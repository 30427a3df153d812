"""The matrix, for people at a terminal and for programs. Foreign text is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from c2c_auditor.audit.questions.matrix import Line, Matrix
from c2c_auditor.export.lines import Tables
from c2c_auditor.export.plain import plain


def matrix_document(matrix: Matrix) -> dict[str, Any]:
    """The matrix as JSON values."""
    return {
        "counts": {f"{intended.value}_{actual.value}": count for intended, actual, count in matrix.counts},
        "lines": [
            {
                "source": line.source,
                "destination": line.destination,
                "intended": line.intended,
                "actual": line.actual,
                "doubtful": line.doubtful,
                "differs": list(line.differs),
            }
            for line in matrix.lines
        ],
        "next": matrix.next,
        "notes": list(matrix.notes),
    }


def print_matrix(matrix: Matrix, page: Tables) -> None:
    """Print one line for each pair of ends, the differences below, then the counts."""
    if matrix.lines:
        page.grid(("source", "destination", "intended", "actual"), map(_cells, matrix.lines))
    for line in matrix.lines:
        for text in line.differs:
            page.say(("✗ ", "bold red"), (plain(text), ""))
    for note in matrix.notes:
        page.say((plain(note), "dim"))
    if matrix.notes and not matrix.counts:
        return
    counts = {(intended.value, actual.value): count for intended, actual, count in matrix.counts}
    passing = counts["allow", "allow"]
    blocked = counts["allow", "deny"]
    opened = counts["deny", "allow"]
    doubtful = counts["allow", "may"] + counts["deny", "may"]
    page.blank()
    page.say((f"Flows that pass as policies allow: {passing}.", "green" if passing else ""))
    page.say((f"Flows that do not pass although a policy allows them: {blocked}.", "bold red" if blocked else ""))
    page.say((f"Flows that pass although no policy allows them: {opened}.", "bold red" if opened else ""))
    if doubtful:
        page.say((f"Flows that may pass or not: {doubtful}.", "yellow"))


def _cells(line: Line) -> Sequence[tuple[str, str]]:
    wrong = "bold red" if line.differs else ""
    actual = line.actual if not line.doubtful else f"{line.actual}; may: {line.doubtful}"
    return (plain(line.source), ""), (plain(line.destination), ""), (line.intended, ""), (actual, wrong)
