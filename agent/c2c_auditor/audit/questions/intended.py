"""Whether a flow should pass: by policies, by security groups, by the list of the cell's services, by mapped ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from attrs import frozen

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.pairs import mark_pairs
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Container
from c2c_auditor.netfilter.evaluate import evaluate
from c2c_auditor.netfilter.flows import FlowSet, Piece, both
from c2c_auditor.netfilter.keywords import PROTOCOL_NAMES
from c2c_auditor.netfilter.packet import Certainty, Packet
from c2c_auditor.silk import asg
from c2c_auditor.silk.input import input_plan
from c2c_auditor.silk.netout import has_rate_limit_log, netout_log_plan, netout_rate_limit_log_plan
from c2c_auditor.silk.shapes import ChainPlan


class Basis(str, Enum):
    """What says whether a flow should pass.

    ``COMMENT``: the comment of an ACCEPT, where the policies are not known; silk writes none without a policy.
    """

    POLICY = "policy"
    COMMENT = "comment"
    SECURITY_GROUP = "security_group"
    SERVICE = "service"
    MAPPED_PORT = "mapped_port"


@frozen(kw_only=True)
class Intent:
    """``allowed`` is None where that is not known."""

    basis: Basis
    allowed: bool | None = None


def between_apps(cells: Sequence[Cell], apps: tuple[str, str], allowed: FlowSet, flow: Piece) -> Intent:
    """By policies, which allow ``allowed`` between the two; where none are known, by silk's comments."""
    if any(cell.inputs.facts.policies is not None for cell in cells):
        return Intent(basis=Basis.POLICY, allowed=bool(both(flow.flows, allowed)))
    pairs = mark_pairs([cell.inputs.ruleset for cell in cells], CellFacts())
    protocol = PROTOCOL_NAMES.get(flow.protocol)
    commented = any(
        (pair.source, pair.destination, pair.protocol) == (*apps, protocol) and pair.first <= flow.first <= pair.last
        for pair in pairs
    )
    return Intent(basis=Basis.COMMENT, allowed=True if commented else None)


def to_outside(cell: Cell, container: Container, packet: Packet) -> Intent:
    """By the container's security groups, as silk would write them."""
    groups, config = cell.inputs.facts.security_groups, cell.inputs.config
    known = groups is not None and cell.inputs.facts.config is not None and config.asg_syncing
    if groups is None or not known or not asg.has_chain(container):
        return Intent(basis=Basis.SECURITY_GROUP)
    try:
        plan = asg.asg_plan(container, asg.groups_of(container, groups), config)
    except asg.Unconvertible:
        return Intent(basis=Basis.SECURITY_GROUP)
    cni = cell.inputs.wrapper.config
    plans = [plan, netout_log_plan(container, cni)]
    if has_rate_limit_log(cni.outbound_connections):
        plans.append(netout_rate_limit_log_plan(container, cni))
    return Intent(basis=Basis.SECURITY_GROUP, allowed=_allows(plan.name, plans, packet))


def to_cell(cell: Cell, container: Container, packet: Packet) -> Intent:
    """By the services that the CNI wrapper's configuration lists, or the agent's own."""
    facts = cell.inputs.facts
    if facts.cni is None and facts.host_services is None:
        return Intent(basis=Basis.SERVICE)
    plan = input_plan(container, cell.inputs.wrapper.services)
    return Intent(basis=Basis.SERVICE, allowed=_allows(plan.name, [plan], packet))


def from_outside(cell: Cell, packet: Packet) -> Intent:
    """By the ports that the container exposes: the CNI plugin maps them all. ``packet`` is as it leaves the cell."""
    container = cell.container_at(packet.destination)
    if container is None or cell.inputs.facts.store is None or not container.ports:
        return Intent(basis=Basis.MAPPED_PORT)
    allowed = packet.protocol == r.TCP and packet.destination_port in container.ports
    return Intent(basis=Basis.MAPPED_PORT, allowed=allowed)


def _allows(name: str, plans: list[ChainPlan], packet: Packet) -> bool | None:
    """What the chains say as silk would write them; None where that depends on more than the packet."""
    outcome = evaluate(dict(_chains(name, plans)), name, packet)
    return {Certainty.YES: True, Certainty.NO: False, Certainty.MAY: None}[outcome.passes]


def _chains(name: str, plans: list[ChainPlan]) -> Iterator[tuple[str, r.Chain]]:
    for plan in plans:
        policy = "DROP" if plan.name == name else None
        yield plan.name, r.Chain(name=plan.name, policy=policy, rules=(*plan.head, *plan.tail))
