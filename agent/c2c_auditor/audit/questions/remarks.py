"""What limits an answer, in sentences: the half of a path that is not here, rules that are not shown, what is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.hops import Journey
from c2c_auditor.audit.questions.lookup import End, Where
from c2c_auditor.audit.questions.routes import Pair
from c2c_auditor.audit.questions.travel import Passed, Trip
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.evaluate import Step
from c2c_auditor.netfilter.packet import Certainty


def half(source: End, destination: End, pair: Pair, cell: Cell) -> str:
    """Which half of the path is decided; over IPv6, that policies have no part in it. Empty if all of it is."""
    if cell.inputs.ipv6:
        return "Policies are IPv4's: over IPv6 nothing that begins a connection may reach a container."
    if pair.source is None and source.where is Where.OVERLAY:
        what = "with its mark" if source.app else "without a mark, because an address does not tell the app"
        return (
            "The source runs on other cells: this is the destination's half of the path, for packets that arrive "
            f"{what}."
        )
    if pair.destination is None and destination.where is Where.OVERLAY:
        return (
            "The destination runs on other cells: this is the source's half of the path; the destination's cell "
            "decides the rest."
        )
    return ""


def notes(trip: Trip, source: End) -> tuple[str, ...]:
    """What else limits the answer, each sentence once."""
    return tuple(dict.fromkeys(_notes(trip, source)))


def _notes(trip: Trip, source: End) -> Iterator[str]:
    first = trip.there[0]
    if trip.unmarked:
        yield "The packets leave without the mark that their app should have: every other cell rejects them."
    if first.leg.packet.mark is None:
        yield "The source's mark is not known: the packets may carry any."
    yield from _of_declared(trip)
    yield from _of_rules([passed.leg.cell for passed in trip.there])
    if source.where is Where.OUTSIDE:
        yield from _of_mapping(first)
    elif not first.leg.cell.inputs.ipv6:
        yield from _of_source(first)


def _of_declared(trip: Trip) -> Iterator[str]:
    """Rules that decide and that the operator declared: what they do is meant to be."""
    decided = {
        step.rule for walk in trip.walks for step in (*walk.outcome.accepted, *walk.outcome.refused) if step.rule
    }
    for declared in dict.fromkeys(passed.leg.cell.inputs.declared for passed in trip.there):
        for one in declared.present:
            if one.rule in decided & declared.deciding:
                yield (
                    f"A rule of {one.chain} in {one.table} that decides here is declared in the agent's configuration "
                    f"({one.reason}): what it does is meant to be."
                )


def _of_rules(cells: Sequence[Cell]) -> Iterator[str]:
    """What the rules of the cells do not show."""
    parts = [cell for cell in cells if cell.part]
    if parts:
        yield (
            f"{_origins(parts, 'shows a part', 'show parts')} of the rules: others may stand before them, and what "
            "none of them accepts was taken for rejected, as silk's default deny does."
        )
    without = [cell for cell in cells if r.Loss.INTERFACES in cell.inputs.ruleset.lost]
    if without:
        yield (
            f"{_origins(without, 'does', 'do')} not show interfaces (iptables -L without -v): those of silk's own "
            "rules were assumed."
        )
    if any(cell.inputs.facts.config is None and not cell.inputs.ipv6 for cell in cells):
        yield f"The overlay's network is not known: {VpaConfig().overlay_network}, silk's usual one, was assumed."


def _origins(cells: Sequence[Cell], one: str, several: str) -> str:
    return f"{' and '.join(cell.inputs.ruleset.origin for cell in cells)} {one if len(cells) == 1 else several}"


def _of_source(passed: Passed) -> Iterator[str]:
    """Whether packets that leave the overlay do so with the cell's address."""
    cell, packet, journey = passed.leg.cell, passed.journey.packet, passed.journey
    outwards = packet.out_interface == cell.overlay.underlay and cell.container_at(packet.source) is not None
    if not outwards or journey.passes is Certainty.NO:
        return
    if not cell.has("nat", Hook.POSTROUTING):
        yield "Whether the packets leave with the cell's address is not shown: that is nat's POSTROUTING."
    elif not any(isinstance(step.rule and step.rule.target, r.Masquerade) for step in _accepted(journey)):
        address = packet.family.address(packet.source)
        yield (
            f"No rule gives the packets the cell's address: they leave with {address}, and answers come back only from "
            "networks that have a route to it."
        )


def _of_mapping(passed: Passed) -> Iterator[str]:
    cell, asked, packet = passed.leg.cell, passed.leg.packet, passed.journey.packet
    if not any(isinstance(step.rule and step.rule.target, r.Dnat) for step in _accepted(passed.journey)):
        port = "" if asked.destination_port is None else f" port {asked.destination_port} of"
        if not cell.has("nat", Hook.PREROUTING):
            yield "Mapped ports are not shown: they are nat's."
        elif cell.is_own(packet.destination):
            address = packet.family.address(packet.destination)
            yield f"No rule maps{port} {address} to a container: the packets are for the cell itself."
        else:
            yield "Nothing outside has a route to the overlay: a container is reached by the cell's mapped ports."


def _accepted(journey: Journey) -> Iterator[Step]:
    return (step for walk in journey.walks for step in walk.outcome.accepted)
