"""One packet on its way through one cell: every hook and table that it meets, from its arrival to where it leaves.

What stands on each hook is `netfilter.stages`' to say. Address translation is the nat table's, which a connection's
first packet alone meets; later ones are translated as that one was, without asking rules.
"""

from __future__ import annotations

from attrs import define, evolve, field, frozen

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.errors import UsageError
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.evaluate import Marks, Outcome, Step, evaluate_stages
from c2c_auditor.netfilter.packet import Certainty, Packet, every
from c2c_auditor.netfilter.stages import Stage

_ROUTES = {Hook.FORWARD: (Hook.FORWARD, Hook.POSTROUTING), Hook.INPUT: (Hook.INPUT,)}


@frozen(kw_only=True)
class Walk:
    """One packet's walk through one built-in chain.

    ``title`` says which packet, ``cell`` which cell where several are asked, ``does`` what became of its addresses.
    ``part``: not all rules of the chain are shown.
    """

    title: str
    cell: str
    table: str
    chain: str
    packet: Packet
    outcome: Outcome
    does: str = ""
    part: bool = False


@frozen(kw_only=True)
class Journey:
    """One packet's way through one cell: ``packet`` is as it leaves, ``marks`` those that it can carry then."""

    walks: tuple[Walk, ...]
    passes: Certainty
    packet: Packet
    marks: Marks


@define
class _Way:
    """A way while it is walked."""

    cell: Cell
    title: str
    label: str
    packet: Packet
    marks: Marks
    led: bool = False
    walks: list[Walk] = field(factory=list)
    passes: Certainty = Certainty.YES

    def through(self, *hooks: Hook) -> None:
        """All chains on ``hooks``, until one refuses the packet."""
        for hook in hooks:
            for stage in self.cell.stages(hook, self.packet):
                if self.passes is not Certainty.NO:
                    self._walk(stage)

    def _walk(self, stage: Stage) -> None:
        packet = stage.seen(self.packet)
        outcome = evaluate_stages([evolve(stage, translates=False) if self.led else stage], packet)
        changed, does = _translated(self.packet, outcome)
        walk = Walk(
            title=self.title,
            cell=self.label,
            table=stage.table,
            chain=stage.start,
            packet=packet,
            outcome=outcome,
            does=does,
            part=stage.main and self.cell.part,
        )
        if stage.table == "filter" or outcome.passes is not Certainty.YES or _concerns(outcome):
            self.walks.append(walk)
        doubt = bool(does) and len(outcome.accepted) > 1
        self.passes = every((self.passes, Certainty.MAY if doubt else outcome.passes))
        if outcome.passes is not Certainty.NO:
            self.marks = outcome.marks
            self.packet = evolve(changed, mark=next(iter(self.marks)) if len(self.marks) == 1 else None)


def journey(cell: Cell, packet: Packet, *, title: str, label: str, led: bool = False) -> Journey:
    """``packet`` from the interface that it comes in by, through PREROUTING, and on by where it goes to.

    It may be ``led`` to another destination there; otherwise a rule that does so keeps it from where it should go.

    Raises UsageError where the rules do not show what decides about it.
    """
    way = _Way(cell=cell, title=title, label=label, packet=packet, marks=frozenset({packet.mark}), led=led)
    way.through(Hook.PREROUTING)
    hook, way.packet = cell.routed(way.packet)
    _require(cell, hook, way.packet)
    way.through(*_ROUTES[hook])
    return Journey(walks=tuple(way.walks), passes=way.passes, packet=way.packet, marks=way.marks)


def answered(cell: Cell, packet: Packet, *, title: str, label: str) -> Journey:
    """An answer of the cell itself, from OUTPUT on."""
    way = _Way(cell=cell, title=title, label=label, packet=packet, marks=frozenset({packet.mark}))
    _, way.packet = cell.routed(packet)
    way.through(Hook.OUTPUT, Hook.POSTROUTING)
    return Journey(walks=tuple(way.walks), passes=way.passes, packet=way.packet, marks=way.marks)


def _require(cell: Cell, hook: Hook, packet: Packet) -> None:
    """Refuse to answer from rules that do not show the chain which decides."""
    inside = cell.on_overlay(packet.source) and cell.on_overlay(packet.destination)
    if (cell.part and not inside) or not (cell.part or cell.has("filter", hook)):
        message = (
            f"{cell.inputs.ruleset.origin or 'the rules'} do not show {hook.value}, which decides about these packets: "
            f"give the output of {cell.inputs.ruleset.family.tool}-save"
        )
        raise UsageError(message)


def _concerns(outcome: Outcome) -> bool:
    """Whether a rule took the packet that is more than a jump."""
    return any(
        step.matched is not Certainty.NO
        and step.rule is not None
        and not isinstance(step.rule.target, r.Jump | r.Goto)
        and step.rule.target != r.RETURN
        for step in outcome.trace
    )


def _translated(packet: Packet, outcome: Outcome) -> tuple[Packet, str]:
    """``packet`` as the deciding rule of nat leaves it, and that in words."""
    targets = [_target(step) for step in outcome.accepted]
    for target in targets:
        if isinstance(target, r.Dnat):
            address = target.addresses[0] if target.addresses is not None else packet.destination
            port = target.ports[0] if target.ports is not None else packet.destination_port
            changed = evolve(packet, destination=address, destination_port=port)
            where = f"{packet.family.address(address)}{'' if port is None else f':{port}'}"
            return changed, f"the destination becomes {where}{_if_so(targets)}"
        if isinstance(target, r.Masquerade):
            return packet, f"the source becomes the cell's address{_if_so(targets)}"
    return packet, ""


def _target(step: Step) -> r.Target:
    return step.rule.target if step.rule is not None else r.NO_TARGET


def _if_so(targets: list[r.Target]) -> str:
    return "" if len(targets) == 1 else ", if the rule takes it"
