"""The nearest miss: rules that would have let a refused packet pass, but for one condition.

``Rule 2 of vpa--… asks for mark 0x4, the packet has mark 0x1`` is what a person looks for in a chain by eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve, frozen

from c2c_auditor.audit.checks.extra_rules import comment_guids
from c2c_auditor.model import rule as r
from c2c_auditor.model.kind import Kind
from c2c_auditor.netfilter.actions import new_mark
from c2c_auditor.netfilter.evaluate import Step
from c2c_auditor.netfilter.keywords import PROTOCOL_NAMES
from c2c_auditor.netfilter.packet import Certainty, Packet, conditions, marked
from c2c_auditor.netfilter.render import render_match
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_MOST = 3
_NOTHING = r.Rule()


@frozen(kw_only=True)
class Miss:
    """A rule that one condition kept from taking the packet: what it asks for, what the packet has.

    ``kind`` is what an audit calls it where it is silk's rule for these two apps with another mark.
    """

    chain: str
    position: int
    rule: r.Rule
    asks: str
    has: str
    kind: Kind | None


def misses(
    trace: Iterable[Step], packet: Packet, apps: tuple[str, str], *, from_outside: bool = False
) -> tuple[Miss, ...]:
    """The nearest misses among the rules that were tried, those for ``apps`` (source, destination) first.

    A rule for other ends is no miss, nor is one for answers; and what a container's overlay chain accepts beside them
    is meant for packets ``from_outside``. ``packet`` is as it came to the first rule.
    """
    found: list[Miss] = []
    for step in trace:
        rule = step.rule
        if rule is None or _elsewhere(rule, packet):
            continue
        if family_of(step.chain) is ChainFamily.OVERLAY and not from_outside:
            continue
        if step.matched is Certainty.NO and _lets_pass(rule.target):
            found += _missed(step, rule, packet, apps)
        elif step.matched is Certainty.YES and isinstance(rule.target, r.SetMark):
            packet = evolve(packet, mark=new_mark(rule.target, packet.mark))
    found.sort(key=lambda miss: (miss.kind is None, comment_guids(miss.rule) != apps))
    return tuple(found[:_MOST])


def _lets_pass(target: r.Target) -> bool:
    return target == r.ACCEPT or isinstance(target, r.Goto | r.Dnat)


def _missed(step: Step, rule: r.Rule, packet: Packet, apps: tuple[str, str]) -> Iterator[Miss]:
    """The miss, if exactly one condition that is not on the ends fails."""
    if rule.source is None and rule.destination is None:
        return
    failing = [part for part in _parts(rule) if not _holds(part, packet)]
    if len(failing) != 1:
        return
    (part,) = failing
    if part.in_interface is not None or part.out_interface is not None or _of_answers(part):
        return
    asks, has = _said(part, packet)
    of_mark = any(isinstance(match, r.MarkMatch) for match in part.matches)
    kind = Kind.ACCEPT_CHANGED if of_mark and all(apps) and comment_guids(rule) == apps else None
    yield Miss(chain=step.chain, position=step.position, rule=rule, asks=asks, has=has, kind=kind)


def _elsewhere(rule: r.Rule, packet: Packet) -> bool:
    """Whether ``rule`` is for other ends. Of a large chain that are most, so it is asked first."""
    to, of = rule.destination, rule.source
    if to is not None and (packet.destination & to.mask == to.value) == to.negated:
        return True
    return of is not None and (packet.source & of.mask == of.value) == of.negated


def _parts(rule: r.Rule) -> Iterator[r.Rule]:
    """Each condition beside those on the ends, as a rule of its own; ports stand with their protocol."""
    for name in ("in_interface", "out_interface"):
        if getattr(rule, name) is not None:
            yield evolve(_NOTHING, **{name: getattr(rule, name)})
    transport = tuple(match for match in rule.matches if isinstance(match, r.TransportMatch | r.MultiportMatch))
    if rule.protocol is not None or transport:
        yield evolve(_NOTHING, protocol=rule.protocol, matches=transport)
    for match in rule.matches:
        if match not in transport and not isinstance(match, r.CommentMatch):
            yield evolve(_NOTHING, matches=(match,))


def _holds(part: r.Rule, packet: Packet) -> bool:
    return Certainty.NO not in (conditions(part, packet), marked(part, packet.mark))


def _said(part: r.Rule, packet: Packet) -> tuple[str, str]:
    """What the condition asks for, and what the packet has."""
    protocol = PROTOCOL_NAMES.get(packet.protocol, str(packet.protocol))
    if part.protocol is not None or any(isinstance(match, r.TransportMatch) for match in part.matches):
        port = "" if packet.destination_port is None else f" {packet.destination_port}"
        return _flows(part), f"the packet is {protocol}{port}"
    (match,) = part.matches
    if isinstance(match, r.MarkMatch):
        mask = "" if match.mask == r.ALL_BITS else f"/0x{match.mask:x}"
        word = "any mark but" if match.negated else "mark"
        return f"{word} 0x{match.value:x}{mask}", f"the packet has mark 0x{packet.mark or 0:x}"
    if isinstance(match, r.StateMatch):
        return f"{'' if not match.negated else 'not '}{','.join(match.states)}", f"the packet is {packet.state}"
    return render_match(match), "the packet does not meet that"


def _of_answers(part: r.Rule) -> bool:
    return any(isinstance(match, r.StateMatch) and "NEW" not in match.states for match in part.matches)


def _flows(part: r.Rule) -> str:
    name = "" if part.protocol is None else PROTOCOL_NAMES.get(part.protocol.number, str(part.protocol.number))
    negated = "not " if part.protocol is not None and part.protocol.negated else ""
    ports = [
        ("not " if side.negated else "") + _range(side)
        for match in part.matches
        if isinstance(match, r.TransportMatch)
        for side in (match.destination,)
        if side is not None
    ]
    others = [render_match(match) for match in part.matches if not isinstance(match, r.TransportMatch)]
    return " ".join([f"{negated}{name}", *ports, *others]).strip()


def _range(ports: r.PortRange) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"
