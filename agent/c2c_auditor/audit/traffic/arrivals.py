"""One container as a destination: who may send to it, and what becomes of their flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from attrs import evolve

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic import intent
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Outcome, Row, row_of
from c2c_auditor.audit.traffic.ends import BEYOND, UNMARKED, Source, SourceKind
from c2c_auditor.audit.traffic.memory import (
    Asked,
    DestinationKey,
    Outcomes,
    Remembered,
    SenderConditions,
    if_same_rules,
)
from c2c_auditor.audit.traffic.senders import Sender, SenderKey, Senders
from c2c_auditor.model.cell import Container, Policy
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import NOTHING, FlowSet
from c2c_auditor.netfilter.packet import UNNAMED, Packet, end_conditions
from c2c_auditor.netfilter.way import Way

_NOTHING_TOLD = Asked()


class _Sending(NamedTuple):
    """What `Asked` and mark are of one source's packets, and what `Arrivals._packet` makes one of."""

    asked: Asked
    mark: int | None
    sent: tuple[int, Sender | None]


class Arrivals:
    """``container`` and all sources that may send to it.

    ``policies`` are those that it is the destination of, ``old`` is what an earlier reading remembers of it.
    """

    def __init__(
        self,
        inputs: Inputs,
        way: Way,
        senders: Senders,
        *,
        container: Container,
        policies: tuple[Policy, ...],
        old: Remembered | None,
    ) -> None:
        self._way = way
        self._senders = senders
        self.container = container
        self._address = int(container.address)
        self._policies = policies
        self._ingress = intent.ingress(container, inputs.config)
        self._ingress_tag = inputs.ingress_tag
        self._sender = senders.sender(container)
        self._declared = inputs.declared.deciding
        # Rules that are the same as before have the same conditions and decide the same flows in the same way.
        self._before = if_same_rules(old, self._sender.inward)
        self._conditions = (
            self._before.conditions if self._before is not None else SenderConditions.of(self._sender.inward)
        )
        self._known = self._before.outcomes if self._before is not None else {}
        # Those that this reading needs, so that the memory forgets the others.
        self._outcomes: Outcomes = {}
        self._walked: dict[tuple[Asked, int | None], Disposition] = {}
        # Where rules compare single bits, no two marks are alike, and the mark of every app counts.
        self._marks = (
            self._conditions.marks
            if self._conditions.whole_marks
            else tuple(dict.fromkeys((*self._conditions.marks, *senders.tags)))
        )
        # Where a sender that no rule knows reaches something, all senders may, and each has to be looked at.
        self._open = any(self._outcome(self._sending(self._strange_mark())))
        self._late = senders.unusual(self._address)
        self._locals = tuple(self._senders_here())

    def remembered(self) -> Remembered:
        """What becomes of all flows, taken over from before where nothing that concerns them changed."""
        key = DestinationKey(
            container=self.container,
            policies=self._policies,
            ingress=self._ingress,
            ingress_tag=self._ingress_tag,
            stranger=self._senders.overlay.stranger,
            mark_owners=tuple(map(self._senders.marked, self._marks)),
            apps_elsewhere=self._senders.apps if self._open else None,
            senders=tuple(self._known_by(*local) for local in self._locals),
            itself=self._sender.key,
            declared=self._declared,
        )
        around = None if self._late else self._senders.around
        before = self._before
        if before is not None and before.key == key:
            return evolve(before, sender=self._sender, around=around)
        others = before.marked_otherwise(key) if before is not None and not self._open else None
        if before is not None and others is not None:
            reached, listed = self._with_other_marks(before.reached, others), before.listed
            known = {asked: {**before.outcomes.get(asked, {}), **found} for asked, found in self._outcomes.items()}
            outcomes = {**before.outcomes, **known}
        else:
            rows, listed = self.rows()
            reached, outcomes = DestinationFlows.of(self.container.app, self.container, rows), self._outcomes
        return Remembered(
            conditions=self._conditions,
            key=key,
            outcomes=outcomes,
            reached=reached,
            listed=listed,
            sender=self._sender,
            around=around,
        )

    def _with_other_marks(self, reached: DestinationFlows, others: Mapping[int, int]) -> DestinationFlows:
        """``reached``, where senders had another mark: by their place among those here, the mark that they had."""
        gone: list[Row] = []
        come: list[Row] = []
        for at, mark in others.items():
            sender, start = self._locals[at]
            allowed = intent.by_source(one for one in self._policies if one.source == sender.container.app)
            gone.append(self._local_row(sender, mark, allowed))
            come.append(self._local_row(sender, start, allowed))
        places = {sender.container.handle: at for at, (sender, _) in enumerate(self._locals)}
        return reached.instead(tuple(filter(_says, gone)), tuple(filter(_says, come)), places)

    def _known_by(self, sender: Sender, start: int | None) -> tuple[SenderKey, int | tuple[object, ...] | None]:
        if start is None:
            return sender.key, self._own(sender)
        return sender.usually if start == sender.mark else (sender.key, start)

    def _senders_here(self) -> Iterator[tuple[Sender, int | None]]:
        """The containers of this cell that may need a row, each with the mark that it can be taken to start with."""
        senders = self._senders
        some: Iterable[Sender] = senders.all
        if self._conditions.whole_marks and not self._conditions.others and not self._late and not self._open:
            apps = dict.fromkeys(policy.source for policy in self._policies)  # no set: its order is not the next run's
            some = senders.that(apps=apps, marks=self._conditions.marks)
        for sender in some:
            if sender is not self._sender:
                yield sender, senders.start(sender, self._address) if self._late else sender.mark

    def _own(self, sender: Sender) -> tuple[object, ...]:
        """What decides about the packets of a sender that is walked by itself: its own rules, in their place."""
        address = int(sender.container.address)
        return address, *self._way.outline(self._address, address)

    def rows(self) -> tuple[tuple[Row, ...], int]:
        """The rows with something to say, and how many sources were looked at one by one."""
        allowed = intent.by_source(self._policies)
        found = [self._local_row(sender, start, allowed) for sender, start in self._locals]
        away = list(self._away(allowed))
        found += [
            self._row(source, intended, self._sending(source.mark or 0), self._sender.answers)
            for source, intended in away
        ]
        counted = sum(source.kind is SourceKind.APP for source, _ in away)
        if self._open:  # one row speaks for all apps elsewhere that neither a policy nor a rule names
            others = self._senders.apps - counted
            found[-1] = evolve(found[-1], count=max(others, 1))
            counted += others
        # Beside a row that speaks for all others, a source that reaches nothing needs a row that says so.
        kept = [
            row for row in found if _says(row) or (self._open and row.source.kind in (SourceKind.APP, SourceKind.MARK))
        ]
        return tuple(kept), len(self._locals) + counted

    def _local_row(self, sender: Sender, start: int | None, allowed: Mapping[str, FlowSet]) -> Row:
        intended = allowed.get(sender.container.app, NOTHING)
        return self._row(
            sender.source, intended, self._sending(start or 0, sender, alone=start is None), sender.replies
        )

    def _row(self, source: Source, intended: FlowSet, sending: _Sending, back: Disposition) -> Row:
        row = row_of(source, intended, self._outcome(sending), back)
        if not row.differs:
            return row
        return evolve(row, dispositions=(self._walk(sending), back)).with_declared(self._declared)

    def _away(self, allowed: Mapping[str, FlowSet]) -> Iterator[tuple[Source, FlowSet]]:
        """Senders on other cells: each that a policy or a rule names, one for all others with a mark, one without.

        Over IPv6 no packet carries a mark, and one source stands for all.
        """
        senders = self._senders
        if senders.overlay.family is AddressFamily.IPV6:
            yield BEYOND, NOTHING
            return
        seen: set[str] = set()
        for policy in self._policies:
            if policy.source not in seen:
                seen.add(policy.source)
                yield Source(kind=SourceKind.APP, app=policy.source, mark=policy.source_tag), allowed[policy.source]
        if self._ingress_tag is not None:
            yield Source(kind=SourceKind.ROUTER, mark=self._ingress_tag), self._ingress
        for mark in self._marks:
            owners = senders.owners(mark)
            for app in owners:
                if app not in seen:
                    seen.add(app)
                    yield Source(kind=SourceKind.APP, app=app, mark=mark), NOTHING
            if senders.carried(mark) and not owners and mark not in (0, self._ingress_tag):
                yield Source(kind=SourceKind.MARK, mark=mark), NOTHING
        yield UNMARKED, NOTHING
        yield Source(kind=SourceKind.STRANGER, mark=self._strange_mark()), NOTHING

    def _strange_mark(self) -> int:
        """The mark of all senders that no rule names. Where rules compare single bits, they are not all alike."""
        return self._senders.strange(self._conditions.marks) if self._conditions.whole_marks else UNNAMED

    def _sending(self, mark: int, sender: Sender | None = None, *, alone: bool = False) -> _Sending:
        """Packets of ``sender``, a container here, or of one elsewhere.

        Two sources that no rule tells apart are one, and so are two marks that no rule asks for.
        """
        conditions, asked = self._conditions, _NOTHING_TOLD
        sent: tuple[int, Sender | None] = mark, None
        if alone or conditions.others:
            sent = mark, sender
            packet = self._packet(*sent)
            asked = Asked(
                tuple(end_conditions(rule, packet) for rule in conditions.others),
                self._own(sender) if sender is not None and alone else None,
            )
        return _Sending(asked, mark if not conditions.whole_marks or mark in conditions.marks else None, sent)

    def _packet(self, mark: int, sender: Sender | None) -> Packet:
        """No sender: where no rule tells sources apart any one's will do, and a stranger's meets the fewest rules."""
        overlay = self._senders.overlay
        if sender is None:
            return overlay.arriving(self.container, mark)
        return overlay.local(sender.container, self.container, mark)

    def _outcome(self, sending: _Sending) -> Outcome:
        """What becomes of one source's flows."""
        known = self._outcomes.setdefault(sending.asked, {})
        found = known.get(sending.mark)
        if found is None:
            found = self._known.get(sending.asked, {}).get(sending.mark)
            if found is None:
                walked = self._walk(sending)
                found = canonical.shared((walked.passes, walked.may_pass))  # a few are those of thousands of flows
            known[sending.mark] = found
        return found

    def _walk(self, sending: _Sending) -> Disposition:
        """The same, with the rules that decide so."""
        key = sending.asked, sending.mark
        found = self._walked.get(key)
        if found is None:
            found = self._walked[key] = self._way.disposition(self._packet(*sending.sent))
        return found


def _says(row: Row) -> bool:
    """Whether a row has anything to say: something is allowed, or passes, or may."""
    return bool(row.intended or row.passes or row.may_pass)
