"""What the rules would do after a mend: findings left or new, and flows that would be decided otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.scene import Scene
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.ends import Source, SourceKind
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.audit.traffic.statements import destination_name
from c2c_auditor.audit.traffic.wording import flows_text, listed
from c2c_auditor.model.finding import Finding
from c2c_auditor.netfilter.flows import NOTHING, FlowSet, union, without

_MOST_SOURCES = 4
# Sources that stand for all that no rule and no policy names.
_EVERYBODY = (SourceKind.STRANGER, SourceKind.BEYOND)
Ends = tuple[str, str, Source]
_Destination = tuple[DestinationFlows, tuple[Row, ...]]


@frozen(kw_only=True)
class Outcome:
    """``new`` are findings that there would be and are not now, ``left`` the keys of those that would stay.

    ``worse`` are flows that would be decided otherwise than policies say, and are not now. ``opens`` and ``closes`` say
    in sentences what would be decided as policies say, and is not now.
    """

    new: tuple[Finding, ...]
    left: frozenset[tuple[str, ...]]
    worse: tuple[str, ...]
    opens: tuple[str, ...]
    closes: tuple[str, ...]

    @property
    def harm(self) -> str:
        """The first thing that speaks against it."""
        if self.worse:
            return self.worse[0]
        return f"then {self.new[0].summary}" if self.new else "they do not end it"

    def proves(self, targets: Iterable[Finding]) -> bool:
        """Whether nothing is left of ``targets`` and nothing became worse."""
        return not (self.new or self.worse or any(finding.key in self.left for finding in targets))


def outcome(before: Scene, after: Scene) -> Outcome:
    """What a mend that makes ``after`` of ``before`` comes to; who reaches whom must be known in both."""
    known = {finding.key for finding in before.judgement.findings}
    worse: list[str] = []
    opens: list[str] = []
    closes: list[str] = []
    for (inputs, was), (_, then) in zip(before.reached, after.reached, strict=True):
        changes = list(_changes(was, then))
        # With policy switched off silk opens everything on purpose.
        switched_off = inputs.config.policy_disabled
        worse += [text for change in changes for text in _worse(change, inputs.people, may_open=switched_off)]
        opens += _told(((one, one.opened) for one in changes), "opens", inputs.people)
        closes += _told(((one, one.closed) for one in changes), "closes", inputs.people)
    return Outcome(
        new=tuple(finding for finding in after.judgement.findings if finding.key not in known),
        left=frozenset(finding.key for finding in after.judgement.findings),
        worse=tuple(worse),
        opens=tuple(opens),
        closes=tuple(closes),
    )


@frozen(kw_only=True)
class _Change:
    """One source's flows to one destination: what passes now, and then, perhaps or (``sure``: now, then) surely."""

    to: _Destination
    source: Source
    intended: FlowSet
    was: FlowSet
    then: FlowSet
    sure: tuple[FlowSet, FlowSet]

    @property
    def opened(self) -> FlowSet:
        """What passes then, surely or perhaps, and does not now; or passes surely then."""
        return union(without(self.then, self.was), without(self.sure[1], self.sure[0]))

    @property
    def closed(self) -> FlowSet:
        """What passes now, and then no more."""
        return without(self.was, self.then)


class _Rows:
    """The rows of one reading by their ends."""

    def __init__(self, reach: Reachability) -> None:
        self.by_ends: dict[Ends, tuple[_Destination, Row]] = {}
        self._strangers: dict[tuple[str, str], Row] = {}
        for to, rows in reach.rows():
            end = to.app, to.container.handle if to.container is not None else ""
            for row in rows:
                key: Ends = (*end, row.source)
                self.by_ends[key] = (to, rows), row
                if row.source.kind is SourceKind.STRANGER:
                    self._strangers[end] = row

    def of(self, ends: Ends) -> Row | None:
        """The row of this source, or that of the many which it is one of."""
        found = self.by_ends.get(ends)
        if found is not None:
            return found[1]
        app, handle, source = ends
        return self._strangers.get((app, handle)) if source.kind in (SourceKind.APP, SourceKind.MARK) else None


def _changes(was: Reachability, then: Reachability) -> Iterator[_Change]:
    """Where the two differ, by destination and source."""
    before, after = _Rows(was), _Rows(then)
    for ends, (to, row) in {**before.by_ends, **after.by_ends}.items():
        old, new = before.of(ends), after.of(ends)
        if old != new:
            yield _Change(
                to=to,
                source=ends[2],
                intended=row.intended,
                was=_possible(old),
                then=_possible(new),
                sure=(_sure(old), _sure(new)),
            )


def _sure(row: Row | None) -> FlowSet:
    return row.passes if row is not None else NOTHING


def _possible(row: Row | None) -> FlowSet:
    return union(row.passes, row.may_pass) if row is not None else NOTHING


def _worse(change: _Change, people: People, *, may_open: bool) -> Iterator[str]:
    name, to = change.source.name(people), destination_name(change.to[0], people)
    wrongly_open = without(change.opened, change.intended)
    if wrongly_open and not may_open:
        yield f"{name} would reach {to} on {flows_text(wrongly_open)}"
    lost = union(*(flows for flows in (change.closed, without(*change.sure)) if flows), NOTHING)
    wrongly_closed = without(lost, without(lost, change.intended))
    if wrongly_closed:
        yield f"{name} would no longer reach {to} on {flows_text(wrongly_closed)}"


def _told(changes: Iterable[tuple[_Change, FlowSet]], verb: str, people: People) -> Iterator[str]:
    """One sentence for each destination and stretch of flows: ``closes "redis" … to everybody but "frontend" …``."""
    grouped: dict[tuple[str, FlowSet], list[_Change]] = {}
    for change, flows in changes:
        if flows:
            grouped.setdefault((destination_name(change.to[0], people), flows), []).append(change)
    for (to, flows), found in grouped.items():
        yield f"{verb} {to} on {flows_text(flows)} to {_sources(found, people)}"


def _sources(found: Sequence[_Change], people: People) -> str:
    if not any(change.source.kind in _EVERYBODY for change in found):
        return listed([change.source.name(people) for change in found], _MOST_SOURCES, "sources")
    allowed = [row.source.name(people) for row in found[0].to[1] if row.intended]
    return f"everybody but {listed(allowed, _MOST_SOURCES, 'sources')}" if allowed else "everybody"
