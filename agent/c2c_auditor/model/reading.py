"""What one reading of a cell gave: rules, facts, and the status of each source."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.change import Change, Done
from c2c_auditor.model.report import NetlinkStatus, ProcessStatus, SourceStatus
from c2c_auditor.model.rule import Ruleset


@frozen(kw_only=True)
class FactsReading:
    """What is known of the cell now.

    Parts of ``facts`` that did not change are the identical objects of the reading before, so that comparing two
    readings costs nothing.
    """

    facts: CellFacts
    sources: tuple[SourceStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()


@frozen(kw_only=True)
class Reading:
    """Everything that one audit starts from, of a live cell or of a recording.

    ``time`` is in seconds since the epoch, None for a recording without it. ``rulesets`` are the backends in use, the
    main one first; it is empty when the rules could not be read, and ``sources`` says why. With ``listings`` they are
    listings of several places, to be held against each other, instead of one cell's backends.

    ``commits`` counts commits to the rules since the reading before, by author; ``done`` is what they did, the oldest
    first, as far as it is kept; ``journal`` are the changes that a recording tells of; ``packets`` counts those since
    the start by verdict, None where nobody has counted; ``seconds`` is how long each part of the reading took.
    """

    time: float | None = None
    facts: CellFacts = field(factory=CellFacts)
    rulesets: tuple[Ruleset, ...] = ()
    listings: bool = False
    sources: tuple[SourceStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    netlink: NetlinkStatus | None = None
    commits: Mapping[str, int] = field(factory=dict)
    done: tuple[Done, ...] = ()
    journal: tuple[Change, ...] = ()
    packets: Mapping[str, int] | None = None
    seconds: Mapping[str, float] = field(factory=dict)
