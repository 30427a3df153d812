"""Two agents' answers as one: the source's half of a path from its cell, the destination's half from the other.

Both are `explained.explanation_document`s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from c2c_auditor.audit.questions.routes import DESTINATIONS, SOURCES

_FIRST = "the first packet"


def first_marks(document: dict[str, Any]) -> list[int]:
    """The marks that the first packet may leave the source's cell with; none if it does not leave it."""
    walks = [walk for walk in document["walks"] if walk["title"] == _FIRST]
    return list(walks[-1]["marks_after"]) if walks and walks[-1]["passes"] != "no" else []


def joined(source: dict[str, Any], destination: dict[str, Any] | None) -> dict[str, Any]:
    """The whole path; ``destination`` is None where the first packet does not leave the source's cell.

    Halves leave out what the other one decides, and both name the policies between the two apps.
    """
    if destination is None:
        return {**source, "half": "", "walks": list(_on(SOURCES, source["walks"]))}
    there, back = _cut(source["walks"])
    arriving, answering = _cut(destination["walks"])
    walks = [
        *_on(SOURCES, there),
        *_on(DESTINATIONS, arriving),
        *_on(DESTINATIONS, answering),
        *(_on(SOURCES, back) if answering and answering[-1]["passes"] != "no" else ()),
    ]
    verdicts = {walk["passes"] for walk in walks} | {destination["passes"]}
    intended = _either(source["intended"], destination["intended"])
    return {
        **source,
        "destination": destination["destination"],
        "passes": next((verdict for verdict in ("no", "may") if verdict in verdicts), "yes"),
        "intended": intended,
        "half": "",
        "walks": walks,
        "misses": destination["misses"] or source["misses"],
        "policies": _once(source["policies"], destination["policies"]),
        "allow": "" if intended else source["allow"] or destination["allow"],
        "notes": _once(source["notes"], destination["notes"]),
        "others": _once(source["others"], destination["others"]),
    }


def _cut(walks: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first packet's walks, and its answer's."""
    return [walk for walk in walks if walk["title"] == _FIRST], [walk for walk in walks if walk["title"] != _FIRST]


def _on(cell: str, walks: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return ({**walk, "cell": cell} for walk in walks)


def _either(one: bool | None, other: bool | None) -> bool | None:  # noqa: FBT001 - what documents hold
    return one if other is None else other if one is None else one or other


def _once(*texts: list[str]) -> list[str]:
    return list(dict.fromkeys(text for some in texts for text in some))
