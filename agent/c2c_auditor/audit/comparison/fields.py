"""A rule as fields that people know, and where two rules differ in them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from attrs import evolve

from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Difference
from c2c_auditor.netfilter import render

M = TypeVar("M", r.TransportMatch, r.MarkMatch, r.CommentMatch)

ADDRESS, PROTOCOL, PORTS, MARK, COMMENT, TARGET, OTHER = (
    "address",
    "protocol",
    "ports",
    "mark",
    "comment",
    "target",
    "conditions",
)
FIELDS = (MARK, PORTS, PROTOCOL, COMMENT, TARGET, OTHER, ADDRESS)


def only(rule: r.Rule, kind: type[M]) -> M | None:
    """The rule's one match of ``kind``; None if it has none or several."""
    found = [match for match in rule.matches if isinstance(match, kind)]
    return found[0] if len(found) == 1 else None


def fields_of(rule: r.Rule) -> Mapping[str, Hashable]:
    """The rule cut into `FIELDS`.

    Together they are the whole rule, so two rules are equal exactly when all fields are.
    """
    ports, mark, comment = only(rule, r.TransportMatch), only(rule, r.MarkMatch), only(rule, r.CommentMatch)
    named = {id(match) for match in (ports, mark, comment) if match is not None}
    target = rule.target
    return {
        ADDRESS: (rule.source, rule.destination),
        PROTOCOL: rule.protocol,
        PORTS: evolve(ports, protocol=0) if ports is not None else None,
        MARK: (mark, target if isinstance(target, r.SetMark) else None),
        COMMENT: comment,
        TARGET: "MARK" if isinstance(target, r.SetMark) else target,
        OTHER: (
            rule.in_interface,
            rule.out_interface,
            rule.fragment,
            tuple(match for match in rule.matches if id(match) not in named),
        ),
    }


def differing(expected: r.Rule, found: r.Rule) -> tuple[str, ...]:
    """The names of the fields in which two rules differ, in the order of `FIELDS`."""
    left, right = fields_of(expected), fields_of(found)
    return tuple(name for name in FIELDS if left[name] != right[name])


def differences(expected: r.Rule, found: r.Rule) -> tuple[Difference, ...]:
    """The same, with both values as iptables writes them."""
    return tuple(
        Difference(field=name, expected=shown(expected, name), found=shown(found, name))
        for name in differing(expected, found)
    )


def shown(rule: r.Rule, name: str) -> str:
    """One field of a rule as iptables writes it; ``none`` if the rule says nothing about it."""
    return " ".join(_texts(rule, name)) or "none"


def _texts(rule: r.Rule, name: str) -> Iterable[str]:
    if name == ADDRESS:
        return [render.render_address(match) for match in (rule.source, rule.destination) if match is not None]
    if name == PROTOCOL:
        return [render.render_protocol(rule.protocol.number)] if rule.protocol is not None else []
    if name == PORTS:
        ports = only(rule, r.TransportMatch)
        return [render.render_match(ports).split(" ", 2)[2]] if ports is not None else []
    if name == MARK:
        mark = only(rule, r.MarkMatch)
        setter = [render.render_target(rule.target)[len("-j MARK ") :]] if isinstance(rule.target, r.SetMark) else []
        return (
            [render.render_match(mark)[len("-m mark --mark ") :]] if mark is not None and not mark.negated else setter
        )
    if name == COMMENT:
        comment = only(rule, r.CommentMatch)
        return [comment.text] if comment is not None else []
    if name == TARGET:
        return [render.render_target(rule.target)[3:]]
    return [render.render_rule(_unnamed(rule))] if rule != _named(rule) else []


def _unnamed(rule: r.Rule) -> r.Rule:
    """What is left of a rule beside the fields that have names."""
    named = (r.TransportMatch, r.MarkMatch, r.CommentMatch)
    rest = tuple(match for match in rule.matches if not isinstance(match, named))
    return evolve(rule, source=None, destination=None, protocol=None, matches=rest, target=r.NO_TARGET)


def _named(rule: r.Rule) -> r.Rule:
    named = (r.TransportMatch, r.MarkMatch, r.CommentMatch)
    return evolve(
        rule,
        in_interface=None,
        out_interface=None,
        fragment=None,
        matches=tuple(match for match in rule.matches if isinstance(match, named)),
    )


def values_of(rule: r.Rule) -> tuple[Hashable, ...]:
    """The values of `fields_of` in the order of `FIELDS`."""
    values = fields_of(rule)
    return tuple(values[name] for name in FIELDS)
