"""The cells that a question is put to: who runs there, which addresses are their own, and the way that packets take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network
from typing import TypeVar

from attrs import evolve, frozen

from c2c_auditor.audit.questions.shown_rules import forward_of_a_part, shown_containers, walkable
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.traffic.ends import Overlay
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container, Policy, PolicySet, Store
from c2c_auditor.model.family import Address
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.flows import Piece
from c2c_auditor.netfilter.packet import Certainty, Packet, conditions
from c2c_auditor.netfilter.stages import ROUTED, Stage, stages
from c2c_auditor.netfilter.way import Way
from c2c_auditor.silk.chain_names import ChainFamily, container_interface, family_of
from c2c_auditor.silk.input import host_service
from c2c_auditor.silk.policy import open_rules

_LINK_LOCAL = IPv4Network("169.254.0.0/16")  # no router forwards to it, so such an address is the cell's own
_THROUGH = (Hook.PREROUTING, Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING)
T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class Cell:
    """One cell: ``containers`` as its metadata lists them, else as its rules show; ``own`` are its own addresses."""

    inputs: Inputs
    containers: tuple[Container, ...]
    own: tuple[Address, ...]
    overlay: Overlay
    rulesets: tuple[r.Ruleset, ...]

    @classmethod
    def of(cls, inputs: Inputs) -> Cell:
        """The cell whose rules and facts ``inputs`` are."""
        store = inputs.facts.store
        containers = store.containers if store is not None else shown_containers(inputs.ruleset)
        return cls(
            inputs=inputs,
            containers=containers,
            own=tuple(dict.fromkeys(_own(inputs))),
            overlay=Overlay.of(inputs, frozenset(int(container.address) for container in containers)),
            rulesets=(walkable(inputs), *inputs.beside),
        )

    @property
    def tables(self) -> Mapping[str, r.Table]:
        """The main ruleset's tables by name, as a packet meets them."""
        return self.rulesets[0].tables

    def has(self, table: str, hook: Hook) -> bool:
        """Whether the chain of ``table`` on ``hook`` is shown."""
        return hook.value in self.rulesets[0].chains(table)

    @property
    def open(self) -> bool:
        """Whether policies are not enforced here: VPA's configuration says so, or its rules do."""
        config = self.inputs.config
        opening = open_rules(config.overlay_networks)
        return config.policy_disabled or any(rule in opening for rule in self.inputs.chains.entries.rules)

    @cached_property
    def _stages(self) -> tuple[Stage, ...]:
        return (*stages(self.rulesets, _THROUGH), *stages(self.rulesets, (Hook.OUTPUT,)))

    @cached_property
    def way(self) -> Way:
        """The way of all flows that the cell passes on."""
        return Way(tuple(stage for stage in self._stages if stage.hook in ROUTED))

    @property
    def part(self) -> bool:
        """Whether FORWARD is not shown whole."""
        forward = self.rulesets[0].chains("filter").get("FORWARD")
        return r.Loss.OTHER_CHAINS in self.inputs.ruleset.lost and (forward is None or not forward.whole)

    def is_own(self, address: int) -> bool:
        """Whether the cell itself has this address."""
        family = self.inputs.ruleset.family
        return address in map(int, self.own) or (not self.inputs.ipv6 and family.address(address) in _LINK_LOCAL)

    def on_overlay(self, address: int) -> bool:
        """Whether this is an address of containers, here or on other cells."""
        where = self.inputs.ruleset.family.address(address)
        return any(where in network for network in self.inputs.networks)

    def container_at(self, address: int) -> Container | None:
        """The container of this cell with this address."""
        return next((container for container in self.containers if int(container.address) == address), None)

    def own_address(self, flow: Piece) -> int:
        """The cell's address that ``flow`` is for: that of a service on its port, else the first one.

        Raises UsageError where none is known.
        """
        if not self.own:
            message = "the cell's own addresses are not known: give the one that is meant"
            raise UsageError(message)
        services = [address for address in self.own if self._serves(address, flow)]
        return int((services or self.own)[0])

    def _serves(self, address: Address, flow: Piece) -> bool:
        packet = flow.packet(Packet(source=0, destination=int(address), protocol=0, family=self.overlay.family))
        return any(
            conditions(rule, packet) is Certainty.YES
            for name, chain in self.rulesets[0].chains("filter").items()
            if family_of(name) is ChainFamily.INPUT
            for rule in chain.rules
            if host_service(rule)
        )

    def routed(self, packet: Packet) -> tuple[Hook, Packet]:
        """The hook that a packet comes to by its destination, and the packet with the interface that it leaves by."""
        container = self.container_at(packet.destination)
        if container is None and self.is_own(packet.destination):
            return Hook.INPUT, evolve(packet, out_interface="", destination_type="LOCAL")
        if container is not None:
            out = container_interface(container)
        elif not self.inputs.ipv6 and self.on_overlay(packet.destination):
            out = self.overlay.vtep
        else:
            out = self.overlay.underlay
        return Hook.FORWARD, evolve(packet, out_interface=out, destination_type="UNICAST")

    def stages(self, hook: Hook, packet: Packet) -> Iterator[Stage]:
        """The chains that ``packet`` is handed to on ``hook``, in order."""
        found = [stage for stage in self._stages if stage.hook is hook and stage.meets(packet)]
        if hook is Hook.FORWARD and self.part:
            into_container = packet.state == "NEW" and self.container_at(packet.destination) is not None
            origin, chains = self.inputs.ruleset.origin, self.rulesets[0].chains("filter")
            shown = forward_of_a_part(chains, origin, into_container=into_container)
            found = [stage for stage in found if not stage.main]
            found.append(Stage(hook=hook, priority=0, table="filter", start=hook.value, chains=shown, main=True))
        elif hook is Hook.INPUT and self.has("filter", hook) and not any(one.table == "filter" for one in found):
            chains = self.rulesets[0].chains("filter")  # empty, and the answer to who decides all the same
            found.append(Stage(hook=hook, priority=0, table="filter", start=hook.value, chains=chains))
        return iter(found)


def _own(inputs: Inputs) -> Iterator[Address]:
    """The cell's own addresses, the ones that others know it by first."""
    cni, config, family = inputs.facts.cni, inputs.config, inputs.ruleset.family
    known: list[Address | None] = [cni.instance_address, *cni.underlay_addresses] if cni is not None else []
    known += config.underlay_addresses
    known += [
        rule.destination.host if rule.destination is not None else None
        for chain in inputs.ruleset.chains("nat").values()
        for rule in chain.rules
        if isinstance(rule.target, r.Dnat)
    ]
    services = [
        *inputs.wrapper.services,
        *(
            rule
            for name, chain in inputs.ruleset.chains("filter").items()
            if family_of(name) is ChainFamily.INPUT
            for rule in chain.rules
            if host_service(rule)
        ),
    ]
    known += [rule.destination.host if rule.destination is not None else None for rule in services]
    return (address for address in known if address is not None and r.AddressFamily.of(address.version) is family)


def people_of(cells: Sequence[Cell]) -> People:
    """The lookups over all cells: an app's name is known where its containers run."""
    first = cells[0].inputs
    if len(cells) == 1 and first.facts.store is not None:
        return first.people
    containers = tuple(_once(container for cell in cells for container in cell.containers))
    return People.of(Store(containers=containers), PolicySet(policies=policies_of(cells)))


def policies_of(cells: Sequence[Cell]) -> tuple[Policy, ...]:
    """The policies that any of ``cells`` knows."""
    known = (cell.inputs.facts.policies for cell in cells)
    return tuple(_once(policy for policies in known if policies is not None for policy in policies.policies))


def _once(values: Iterator[T]) -> Iterator[T]:
    return iter(dict.fromkeys(values))
