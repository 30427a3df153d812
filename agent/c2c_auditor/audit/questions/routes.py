"""The legs of a flow's packets: on which cell each begins, what it carries there, and where its answer begins.

A leg is one packet's way through one cell. The first packet of a flow between two cells has two legs, and takes its
mark from the first to the second with VXLAN (16 bits of group policy id). So does the answer, which is accepted by its
connection's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address

from attrs import evolve, frozen

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.lookup import End, Located, Where
from c2c_auditor.audit.traffic.ends import LARGEST_TAG
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.family import Address
from c2c_auditor.netfilter.evaluate import Marks
from c2c_auditor.netfilter.flows import Piece
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.silk.chain_names import container_interface
from c2c_auditor.silk.netin import mapping_of

# An address for documentation (RFC 5737): in no rule, and on no platform.
_OUTSIDE = int(IPv4Address("192.0.2.1"))
OURS, SOURCES, DESTINATIONS = "", "the source's cell", "the destination's cell"


@frozen(kw_only=True)
class Pair:
    """The two ends of one flow: containers on the cells that are asked, None for an end elsewhere."""

    source: Located | None
    destination: Located | None


@frozen(kw_only=True)
class Leg:
    """A packet as it comes to one cell; ``local`` is an answer that the cell itself sends.

    ``label`` tells the cell from the other one, if there are two. ``marked``: it must leave with its app's mark, for a
    cell that is not asked decides by that. ``led``: where its packet is for is nat's to say.
    """

    cell: Cell
    packet: Packet
    label: str = OURS
    local: bool = False
    led: bool = False
    marked: bool = False


class Route:
    """The legs of one flow between two ends. ``tag`` tells the mark that packets of a source elsewhere arrive with."""

    def __init__(self, ends: tuple[End, End], pair: Pair, flow: Piece, tag: Callable[[], int | None]) -> None:
        self._source, self._destination = ends
        self._pair = pair
        self._flow = flow
        self._tag = tag

    @property
    def apart(self) -> bool:
        """Whether the two ends run on two of the cells that are asked."""
        source, destination = self._pair.source, self._pair.destination
        return source is not None and destination is not None and source.cell is not destination.cell

    def first(self, cells: Sequence[Cell]) -> Leg:
        """The leg that the first packet begins with. Raises UsageError for ends that no cell here decides about."""
        source, destination = self._pair.source, self._pair.destination
        if source is not None:
            if source.cell.inputs.ipv6 and destination is None:
                message = (
                    "over IPv6 it can be explained what reaches a container of this cell: give one as the destination"
                )
                raise UsageError(message)
            packet = self._request(source.cell, in_interface=container_interface(source.container), mark=0)
            inside = self._destination.where is Where.OVERLAY
            return Leg(
                cell=source.cell,
                label=SOURCES if self.apart else OURS,
                packet=packet,
                led=not inside,
                marked=destination is None and inside,
            )
        if self._source.where is Where.CELL:
            message = "what the cell itself sends is not judged: give a container, an address or outside as the source"
            raise UsageError(message)
        if self._source.where is Where.OUTSIDE and self._destination.where is not Where.OUTSIDE:
            cell = destination.cell if destination is not None else cells[0]
            packet = self._request(cell, in_interface=cell.overlay.underlay, mark=0)
            return Leg(cell=cell, packet=packet, led=True)
        if destination is not None:
            cell = destination.cell
            return Leg(cell=cell, packet=self._request(cell, in_interface=cell.overlay.vtep, mark=self._tag()))
        message = "neither end runs on this cell: ask on the cell of the source, and on the cell of the destination"
        raise UsageError(message)

    def second(self, marks: Marks) -> Iterator[Leg]:
        """The leg on the destination's cell, if it is another one: with the mark of ``marks`` that VXLAN carries."""
        destination = self._pair.destination
        if self.apart and destination is not None:
            cell = destination.cell
            packet = self._request(cell, in_interface=cell.overlay.vtep, mark=_carried(marks))
            yield Leg(cell=cell, label=DESTINATIONS, packet=packet)

    def back(self, leg: Leg, request: Packet) -> Leg:
        """The first leg of the answer to ``request``, which is as it left ``leg``, the last one of the way there."""
        cell = leg.cell
        container = cell.container_at(request.destination)
        local = container is None and cell.is_own(request.destination)
        into = "" if local else request.out_interface
        packet = evolve(
            request,
            source=request.destination,
            destination=request.source,
            in_interface=container_interface(container) if container is not None else into,
            out_interface="",
            mark=0,
            source_type="LOCAL" if local else "UNICAST",
            destination_type="UNICAST",
            source_port=request.destination_port,
            destination_port=None,
            state="ESTABLISHED",
            tcp_flags=None,
        )
        return evolve(leg, packet=packet, local=local, marked=False)

    def home(self, answer: Packet, marks: Marks) -> Iterator[Leg]:
        """The leg of the answer on the source's cell, if it is another one."""
        source = self._pair.source
        if self.apart and source is not None:
            packet = evolve(answer, in_interface=source.cell.overlay.vtep, out_interface="", mark=_carried(marks))
            yield Leg(cell=source.cell, label=SOURCES, packet=packet)

    def _request(self, cell: Cell, *, in_interface: str, mark: int | None) -> Packet:
        """The flow's first packet. An end of which nothing is known has an address that no rule names."""
        stranger = cell.overlay.stranger
        beyond = _OUTSIDE if self._source.where is Where.OUTSIDE else stranger
        itself = self._destination.where is Where.CELL and self._destination.address is None
        to = cell.own_address(self._flow) if itself else stranger
        return self._flow.packet(
            Packet(
                source=_number(self._pair.source, self._source, beyond),
                destination=_number(self._pair.destination, self._destination, to),
                protocol=r.TCP,
                in_interface=in_interface,
                mark=mark,
                source_type="UNICAST",
                family=cell.overlay.family,
            )
        )


def _number(located: Located | None, end: End, otherwise: int) -> int:
    if located is not None:
        return int(located.container.address)
    return int(end.address) if end.address is not None else otherwise


def _carried(marks: Marks) -> int | None:
    """What VXLAN's group policy id carries of the marks that a packet may leave with."""
    if len(marks) != 1:
        return None
    (mark,) = marks
    return None if mark is None else mark & LARGEST_TAG


def mapped_port(destination: Located, flow: Piece) -> tuple[Address, Piece] | None:
    """The cell's address and port that nat translates to a container's port, None if none is."""
    container = destination.container
    for chain in destination.cell.rulesets[0].chains("nat").values():
        for rule in chain.rules:
            mapping = mapping_of(container, rule)
            if mapping is not None and (flow.protocol, flow.first) == (r.TCP, mapping.port):
                address = destination.cell.overlay.family.address(mapping.host)
                return address, Piece(protocol=r.TCP, first=mapping.host_port, last=mapping.host_port)
    return None
