"""The containers of this cell as senders: what the rules do to their packets, out and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from attrs import evolve, field, frozen

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.traffic.ends import LARGEST_TAG, Overlay, Source, SourceKind
from c2c_auditor.audit.traffic.first_marks import FirstMarks
from c2c_auditor.model.cell import Container
from c2c_auditor.model.family import Address
from c2c_auditor.model.rule import TCP
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.disposition import Disposition
from c2c_auditor.netfilter.flows import ALL, FlowSet, ports, union, without
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.netfilter.way import Outlined, Way
from c2c_auditor.silk.chain_names import CONTAINER_INTERFACE_PREFIX

_Outline = tuple[object, ...]


class SenderKey(NamedTuple):
    """What of a sender others' flows depend on."""

    address: Address
    app: str
    replies_pass: FlowSet
    replies_may_pass: FlowSet
    answers_pass: FlowSet
    answers_may_pass: FlowSet


@frozen(kw_only=True)
class Sender:
    """A container of this cell.

    ``mark`` is what its packets can be taken to start with, None if it has to be walked by itself.

    Between it and other cells: ``egress`` are its first packets to them, ``answers`` its answers to them, ``replies``
    their answers to it. Between it and the world outside the overlay: ``requests_in`` are requests to the ports of the
    cell that lead to it, ``outside_answers`` the answers to what it sends there. ``key`` is what others' flows depend
    on.
    """

    container: Container
    mark: int | None
    egress: Disposition
    answers: Disposition
    replies: Disposition
    requests_in: Disposition
    outside_answers: Disposition
    inward: _Outline = field(repr=False)
    outward: _Outline = field(repr=False)
    key: SenderKey = field(init=False, eq=False, repr=False)
    usually: tuple[SenderKey, int | None] = field(init=False, eq=False, repr=False)
    """`key` and `mark`, as one object for the hundreds of containers that remember it."""

    @property
    def source(self) -> Source:
        """The sender as rows name it."""
        return Source(kind=SourceKind.CONTAINER, app=self.container.app, container=self.container)

    @property
    def served(self) -> bool:
        """Whether answers from outside reach it, and the requests to its mapped ports."""
        wanted = union(*(ports(TCP, port, port) for port in self.container.ports))
        return self.outside_answers.passes == ALL and not without(wanted, self.requests_in.passes)

    @key.default
    def _key(self) -> SenderKey:
        return SenderKey(
            self.container.address,
            self.container.app,
            self.replies.passes,
            self.replies.may_pass,
            self.answers.passes,
            self.answers.may_pass,
        )

    @usually.default
    def _usually(self) -> tuple[SenderKey, int | None]:
        return self.key, self.mark


class Senders:
    """All of them; ``apps`` are the apps that are the source of a policy and may run on other cells too."""

    def __init__(
        self,
        found: Mapping[str, Sender],
        *,
        first: FirstMarks,
        overlay: Overlay,
        owners: Mapping[int, tuple[str, ...]],
        apps: int,
        outlines: Mapping[str, tuple[Outlined, Outlined]],
        around: tuple[object, ...] | None,
    ) -> None:
        self._found = found
        self._first = first
        self._owners = owners
        self._marked: dict[int, tuple[int, tuple[str, ...]]] = {}
        self.all = tuple(found.values())
        self.overlay = overlay
        self.tags = tuple(owners)
        self.apps = apps
        self.count = len(found) + apps
        self._by_app: dict[str, list[Sender]] = {}
        self._by_mark: dict[int, list[Sender]] = {}
        self._own: list[Sender] = []
        self.around = around
        """All that is the same for every destination, None where not; equal ones of two readings are one object."""
        self.outlines = outlines
        """What decides about each container's packets, to it and from it, by handle."""
        for sender in self.all:
            self._by_app.setdefault(sender.container.app, []).append(sender)
            if sender.mark is None:
                self._own.append(sender)
            else:
                self._by_mark.setdefault(sender.mark, []).append(sender)

    @classmethod
    def of(cls, inputs: Inputs, way: Way, apps: frozenset[str], previous: Senders | None) -> Senders:
        """Work out what becomes of each container's packets; what equal rules gave before is taken over."""
        store = inputs.facts.store
        containers = store.containers if store is not None else ()
        named = frozenset(int(container.address) for container in containers) | way.hosts()
        overlay = Overlay.of(inputs, named)
        way.narrow(overlay.ends(containers))
        first = FirstMarks(way, out=CONTAINER_INTERFACE_PREFIX)
        found: dict[str, Sender] = {}
        outlines: dict[str, tuple[Outlined, Outlined]] = {}
        known = previous.outlines if previous is not None else {}
        for container in containers:
            address = int(container.address)
            inward, outward = known.get(container.handle, (None, None))
            inward = way.outlined(address, known=inward)
            outward = way.outlined(overlay.stranger, address, outward)
            outlines[container.handle] = inward, outward
            old = previous.get(container.handle) if previous is not None else None
            sender = _sender(way, overlay, container, outlines[container.handle], old=old)
            mark = first.usual(address)
            found[container.handle] = sender if sender.mark == mark else evolve(sender, mark=mark)
        owners = {mark: tuple(sorted(holders & apps)) for mark, holders in inputs.people.tag_owners.items()}
        around: tuple[object, ...] | None = None
        if all(sender.mark is not None for sender in found.values()):  # else each destination has its own flows of it
            usual = tuple(sender.usually for sender in found.values())
            around = usual, owners, len(apps), overlay.stranger, inputs.declared.deciding, inputs.ingress_tag
            if previous is not None and previous.around == around:
                around = previous.around
        return cls(found, first=first, overlay=overlay, owners=owners, apps=len(apps), outlines=outlines, around=around)

    def get(self, handle: str) -> Sender | None:
        """The sender with this handle."""
        return self._found.get(handle)

    def sender(self, container: Container) -> Sender:
        """The sender that ``container`` is."""
        return self._found[container.handle]

    def that(self, *, apps: Iterable[str], marks: Iterable[int]) -> list[Sender]:
        """The containers of these apps, those that send with these marks, and those that are walked by themselves."""
        found = [sender for app in apps for sender in self._by_app.get(app, ())]
        found += [sender for mark in marks for sender in self._by_mark.get(mark, ())]
        return list({sender.container.handle: sender for sender in (*found, *self._own)}.values())

    def start(self, sender: Sender, destination: int) -> int | None:
        """The mark that ``sender`` is taken to start with towards ``destination``, None if it is walked by itself."""
        return self._first.of(int(sender.container.address), destination)

    def unusual(self, destination: int) -> bool:
        """Whether some senders are marked only behind the rules that ask for marks on the way to ``destination``."""
        return self._first.too_late(destination)

    def owners(self, mark: int) -> tuple[str, ...]:
        """The apps whose packets carry ``mark``, by policy."""
        return self._owners.get(mark, ())

    def marked(self, mark: int) -> tuple[int, tuple[str, ...]]:
        """``mark`` and its `owners`: one object for the hundreds of containers that remember it."""
        return self._marked.setdefault(mark, (mark, self.owners(mark)))

    @staticmethod
    def carried(mark: int) -> bool:
        """Whether packets from other cells can carry ``mark``."""
        return 0 < mark <= LARGEST_TAG

    def strange(self, marks: Collection[int]) -> int:
        """A mark that is none of ``marks`` and no known app's."""
        return next(mark for mark in range(LARGEST_TAG, 0, -1) if mark not in marks and mark not in self._owners)


def _sender(
    way: Way, overlay: Overlay, container: Container, outlined: tuple[Outlined, Outlined], *, old: Sender | None
) -> Sender:
    inward, outward = (one.outline for one in outlined)
    if (
        old is not None
        and old.inward == inward
        and old.outward == outward
        and old.container.address == container.address
    ):
        return old if old.container == container else evolve(old, container=container)
    outside = overlay.outside(container, overlay.ingress_tag)
    leaving, arriving = overlay.leaving(container), overlay.arriving(container, 0)
    return Sender(
        container=container,
        mark=None,
        egress=way.disposition(leaving),
        answers=way.disposition(_answer(leaving)),
        replies=way.disposition(_answer(arriving)),
        requests_in=way.disposition(outside, start=Hook.FORWARD),
        outside_answers=way.disposition(_answer(evolve(outside, mark=0)), start=Hook.FORWARD),
        inward=inward,
        outward=outward,
    )


def _answer(packet: Packet) -> Packet:
    """A later packet of a connection."""
    return evolve(packet, state="ESTABLISHED", tcp_flags=None)
