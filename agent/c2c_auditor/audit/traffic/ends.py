"""The ends of flows: who may send to a container of this cell, and to whom its containers send.

A sender is known by the mark that its packets carry: a local container by the mark that the rules give it, another
cell's by the mark that comes with VXLAN. So the sources that can be distinguished are: local containers, apps elsewhere
by tag, senders without a mark, and senders with a mark that belongs to no app.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from attrs import evolve, frozen

from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.model.cell import Container
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.netfilter.known_ends import KnownEnds
from c2c_auditor.netfilter.packet import Packet
from c2c_auditor.silk.chain_names import container_interface

# VXLAN carries 16 bits of the mark as group policy id (drivers/net/vxlan, VXLAN_GBP_ID_MASK).
LARGEST_TAG = 0xFFFF
# Addresses for documentation (RFC 5737, RFC 9637): on no platform's overlay, and in no rule.
_OUTSIDE = int(IPv4Address("192.0.2.1"))
_BEYOND = IPv6Network("3fff::/20")


class SourceKind(str, Enum):
    """What is known of a sender."""

    CONTAINER = "container"
    APP = "app"
    ROUTER = "router"
    MARK = "mark"
    UNMARKED = "unmarked"
    STRANGER = "stranger"
    BEYOND = "beyond"


@frozen(kw_only=True)
class Source:
    """One sender.

    ``container`` for a local one; ``mark`` as its packets carry it to this cell, None for a local one: the rules
    decide.
    """

    kind: SourceKind
    app: str = ""
    mark: int | None = None
    container: Container | None = None

    def name(self, people: People) -> str:
        """The sender as sentences name it."""
        if self.container is not None:
            return f"{people.display_name(self.app)} at {self.container.address}"
        return {
            SourceKind.APP: f"{people.display_name(self.app)} on other cells",
            SourceKind.ROUTER: "the ingress router",
            SourceKind.MARK: f"any sender with mark 0x{self.mark or 0:x}",
            SourceKind.UNMARKED: "any app without policies on other cells",
            SourceKind.STRANGER: "any other app with policies on other cells",
            SourceKind.BEYOND: "everything beyond this cell",
        }[self.kind]


UNMARKED = Source(kind=SourceKind.UNMARKED, mark=0)
BEYOND = Source(kind=SourceKind.BEYOND, mark=0)
"""Whatever sends to a container over IPv6: no mark comes with its packets."""


class Overlay:
    """The overlay as this cell sees it; over IPv6, which has none, the world beyond it.

    ``stranger`` is an address of it that no container here has and no rule names. ``underlay`` and ``vtep`` are the
    interfaces to the outside and to other cells; ``ingress_tag`` marks what comes in by the cell's mapped ports.
    """

    def __init__(
        self,
        networks: Sequence[IPv4Network | IPv6Network],
        named: frozenset[int],
        *,
        underlay: str,
        vtep: str,
        ingress_tag: int,
    ) -> None:
        self.family = AddressFamily.of(networks[0].version)
        self.underlay = underlay
        self.vtep = vtep
        self.ingress_tag = ingress_tag
        # From the far end: cells lease subnets, containers take addresses from the near end of them.
        addresses = (
            address
            for network in networks
            for address in range(int(network.broadcast_address) - 1, int(network.network_address), -1)
        )
        last = int(networks[0].broadcast_address)
        self.stranger = next((address for address in addresses if address not in named), last)

    def ends(self, containers: Iterable[Container]) -> KnownEnds:
        """All ends of the packets that are made here, where they go to or come from ``containers``."""
        ends = tuple(containers)
        return KnownEnds(
            (self.stranger, self.beyond, *(int(container.address) for container in ends)),
            (self.underlay, self.vtep, *map(container_interface, ends)),
            self.family,
        )

    @property
    def beyond(self) -> int:
        """An address outside of the overlay."""
        return _OUTSIDE if self.family is AddressFamily.IPV4 else self.stranger

    @classmethod
    def of(cls, inputs: Inputs, named: frozenset[int]) -> Overlay:
        """What ``inputs`` tell; ``named`` are the hosts that the rules name."""
        cni, underlay = inputs.wrapper.config, inputs.wrapper.underlay
        if inputs.ipv6:
            return cls((_BEYOND,), named, underlay=underlay, vtep=underlay, ingress_tag=0)
        networks = inputs.config.overlay_networks
        return cls(networks, named, underlay=underlay, vtep=cni.vtep_name, ingress_tag=cni.ingress_tag)

    def arriving(self, destination: Container, mark: int) -> Packet:
        """From another cell to a container here."""
        return Packet(
            source=self.stranger,
            destination=int(destination.address),
            protocol=0,
            in_interface=self.vtep,
            out_interface=container_interface(destination),
            mark=mark,
            source_type="UNICAST",
            destination_type="UNICAST",
            family=self.family,
        )

    def outside(self, destination: Container, mark: int) -> Packet:
        """From beyond the overlay to a container here.

        By one of the cell's mapped ports if it has silk's ingress mark.
        """
        return evolve(self.arriving(destination, mark), source=self.beyond, in_interface=self.underlay)

    def outward(self, source: Container, address: int | None = None) -> Packet:
        """From a container here to ``address`` beyond the overlay, any if not given."""
        to = self.beyond if address is None else address
        return evolve(self.leaving(source), destination=to, out_interface=self.underlay)

    def local(self, source: Container, destination: Container, mark: int) -> Packet:
        """From one container of this cell to another."""
        return Packet(
            source=int(source.address),
            destination=int(destination.address),
            protocol=0,
            in_interface=container_interface(source),
            out_interface=container_interface(destination),
            mark=mark,
            source_type="UNICAST",
            destination_type="UNICAST",
            family=self.family,
        )

    def leaving(self, source: Container) -> Packet:
        """From a container here to another cell."""
        return Packet(
            source=int(source.address),
            destination=self.stranger,
            protocol=0,
            in_interface=container_interface(source),
            out_interface=self.vtep,
            source_type="UNICAST",
            destination_type="UNICAST",
            family=self.family,
        )
