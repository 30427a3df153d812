"""The one thing that happened behind several findings."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from c2c_auditor.model.kind import Effect, Kind


@frozen(kw_only=True)
class Cause:
    """What several findings come from.

    ``name`` is one word, the same in each report as long as it lasts, and stands in `Finding.cause`. ``summary`` says
    what happened, ``remedy`` what mends all of it. ``counts`` are the findings by kind and worst effect.
    """

    name: str
    summary: str
    remedy: str
    counts: Mapping[tuple[Kind, Effect], int] = field(factory=dict)
