"""Parts of a rule: what stands between two conditions or actions, and how rules are made of them.

Most rules name each field once, in parts that say one thing each: these are put together without more ado. The others
take the way of `draft`. A property holds the two to each other.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

from attrs import frozen

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.cached import cached
from c2c_auditor.netfilter.native.asked import asked_as_before, remember_how
from c2c_auditor.netfilter.native.attributes import text
from c2c_auditor.netfilter.native.conditions import parts_of
from c2c_auditor.netfilter.native.draft import PORTS, WITH_PORTS, Draft
from c2c_auditor.netfilter.native.effects import effects_of, ends_with_comparison
from c2c_auditor.netfilter.native.loads import TRANSPORT, Ask, Load
from c2c_auditor.netfilter.native.walk import Act, Effect, End, Never, Unknown

_CHANGES_THE_MARK = frozenset({"CONNMARK", "HMARK"})
_PORTS = frozenset(Load(kind="payload", key=(TRANSPORT, offset), length=2) for offset in PORTS)
_FIELDS = ("source", "destination", "in_interface", "out_interface", "protocol", "fragment", "target")


Entry = r.Rule | tuple[r.Rule, ...]
"""What one rule of the kernel does to packets of one family: mostly one `Rule`; else one for each action, or none."""


@frozen(eq=False)
class Part:
    """One part, from its bytes. ``name`` is that of the field which it gives ``value``, empty if it says more or else.

    Besides a rule's fields there are ``source ports``, ``destination ports`` and matches by rank (``match 3``).
    """

    data: bytes
    effects: tuple[Effect, ...]
    name: str
    value: object


def _comment_head() -> bytes:
    """What stands before the text in the part that is a comment of xtables, revision 0."""
    match = struct.pack("=HH8sHHIHH", 12, 1, b"comment\0", 8, 2, 0, 4 + _COMMENT_SIZE, 3)
    head = struct.pack("=HH8sHH", 10, 1, b"match\0\0\0", 4 + len(match) + _COMMENT_SIZE, 2)
    return struct.pack("=HH", 4 + len(head) + len(match) + _COMMENT_SIZE, 1) + head + match


_COMMENT_SIZE = 256
_COMMENT_HEAD = _comment_head()
_COMMENT = f"match {canonical.rank(canonical.comment(''))}"


def part_of(data: bytes, family: r.AddressFamily) -> Part:
    """The part that is ``data``. Raises NotUnderstood if that is none, or uses what an earlier part loaded."""
    if data.startswith(_COMMENT_HEAD) and len(data) == len(_COMMENT_HEAD) + _COMMENT_SIZE:
        comment = canonical.comment(text(data[len(_COMMENT_HEAD) :]))  # most distinct parts of a cell are these
        return Part(data, (comment,), _COMMENT, comment)
    asked = asked_as_before(data)
    if asked is not None:
        effects: tuple[Effect, ...] = (asked,)
        name, value = _ports_field(asked) if asked.load in _PORTS else _field(effects, family)
        return Part(data, effects, name, value)
    effects = effects_of(data, family)
    if len(effects) == 1 and isinstance(effects[0], Ask) and ends_with_comparison(data):
        remember_how(data, effects[0])
    name, value = _field(effects, family)
    return Part(data, effects, name, value)


def _field(effects: tuple[Effect, ...], family: r.AddressFamily) -> tuple[str, object]:
    if len(effects) == 2 and isinstance(effects[1], End):  # noqa: PLR2004 - a verdict and what it ends
        effects = effects[:1]
    if len(effects) != 1:
        return "", None
    (effect,) = effects
    if isinstance(effect, Act):
        return "target", effect.target
    if isinstance(effect, Ask):
        asked = parts_of(family, effect)
        if len(asked) != 1:
            return "", None
        name, value = asked[0]
        if isinstance(value, Ask):
            return _ports_field(value)
        if name in _FIELDS:
            return name, value
        return (f"match {canonical.rank(value)}", value) if name == "match" else ("", None)  # type: ignore[arg-type]  # a "match" part is a Match
    if isinstance(effect, Never | Unknown | End):
        return "", None
    return f"match {canonical.rank(effect)}", effect


def _ports_field(ask: Ask) -> tuple[str, object]:
    side = PORTS.get(ask.load.key[1]) if ask.load.length == 2 and ask.load.mask is None else None  # noqa: PLR2004 - a port's bytes
    between = ask.interval() if side is not None else None
    ports = canonical.ports(between[0], between[1], negated=between[2]) if between is not None else None
    return (f"{side} ports", canonical.shared(ports)) if ports is not None else ("", None)


_NOTHING, _NO_TARGET = Part(b"", (), "", None), Part(b"", (), "target", r.NO_TARGET)
"""What gives the fields that no part of a rule gives: they stand behind the parts, at -1 and -2."""


@frozen(eq=False)
class _Plan:
    """Which part gives which argument of a rule: indexes."""

    fields: tuple[int, int, int, int, int, int, int]
    matches: tuple[int, ...]
    ported: tuple[int, int, int] | None


@cached
def _plan(names: tuple[str, ...]) -> _Plan | None:
    """How rules of parts with these names are put together; None if `draft` must."""
    if len(set(names)) < len(names) or "" in names or ("target" in names and names[-1] != "target"):
        return None
    at = {name: index for index, name in enumerate(names)}
    ranks = sorted((int(name.removeprefix("match ")), index) for name, index in at.items() if name.startswith("match "))
    ported = "source ports" in at or "destination ports" in at
    if ported and ("protocol" not in at or f"match {canonical.FIRST_RANK}" in at):
        return None
    source, destination, came, goes, protocol, fragment = (at.get(name, -1) for name in _FIELDS[:-1])
    return _Plan(
        fields=(source, destination, came, goes, protocol, fragment, at.get("target", -2)),
        matches=tuple(index for _, index in ranks),
        ported=(protocol, at.get("source ports", -1), at.get("destination ports", -1)) if ported else None,
    )


@cached
def _transport(protocol: Part, source: Part, destination: Part) -> r.TransportMatch | None:
    """The match of ports; None if the protocol has none. Parts are compared by identity, which is fast."""
    asked = protocol.value
    assert isinstance(asked, r.ProtocolMatch)  # noqa: S101 - the field's own type
    if asked.negated or asked.number not in WITH_PORTS:
        return None
    match = r.TransportMatch(protocol=asked.number, source=source.value, destination=destination.value)  # type: ignore[arg-type]  # what `_ports_field` gave
    return canonical.shared(match)


def entry_of(parts: Sequence[Part], family: r.AddressFamily, comment: str = "") -> Entry:
    """What a sequence of parts does to packets of ``family``; ``comment`` is what stands beside the rule."""
    plan = _plan(tuple([part.name for part in parts])) if not comment else None
    rule = None if plan is None else _put_together(plan, parts)
    if rule is not None:
        return rule
    rules = drafted(parts, family, comment)
    return rules[0] if len(rules) == 1 else rules


def flat(entries: Collection[Entry]) -> tuple[r.Rule, ...]:
    """All of their rules."""
    if set(map(type, entries)) <= {r.Rule}:
        return tuple(entries)  # type: ignore[arg-type]  # rules, as nearly always
    return tuple([rule for one in entries for rule in ((one,) if isinstance(one, r.Rule) else one)])


def _put_together(plan: _Plan, parts: Sequence[Part]) -> r.Rule | None:
    given = (*parts, _NO_TARGET, _NOTHING)
    matches = [given[at].value for at in plan.matches]
    if plan.ported is not None:
        protocol, source, destination = plan.ported
        ports = _transport(given[protocol], given[source], given[destination])
        if ports is None:
            return None
        matches.insert(0, ports)
    source, destination, came, goes, protocol, fragment, target = plan.fields
    return r.Rule(
        source=given[source].value,  # type: ignore[arg-type]  # parts are named after Rule's fields
        destination=given[destination].value,  # type: ignore[arg-type]
        in_interface=given[came].value,  # type: ignore[arg-type]
        out_interface=given[goes].value,  # type: ignore[arg-type]
        protocol=given[protocol].value,  # type: ignore[arg-type]
        fragment=given[fragment].value,  # type: ignore[arg-type]
        matches=tuple(matches),  # type: ignore[arg-type]
        target=given[target].value,  # type: ignore[arg-type]
    )


def drafted(parts: Sequence[Part], family: r.AddressFamily, comment: str = "") -> tuple[r.Rule, ...]:
    """The rules of any parts, one for each action; none if no packet of ``family`` meets them."""
    draft, acted, unknown = Draft(family), False, ""
    rules: list[r.Rule | None] = []
    if comment:
        draft.add(canonical.comment(comment))
    for effect in (effect for part in parts for effect in part.effects):
        if isinstance(effect, Never):
            draft.never = True
        elif isinstance(effect, Unknown):
            unknown = effect.name
        elif isinstance(effect, Act):
            acted = True
            rules.append(draft.rule(effect.target))
            if _changes_the_mark(effect.target):
                draft.forget_mark()
        elif isinstance(effect, End):
            unknown = ""
            break
        else:
            draft.add(effect)
    if unknown:
        rules.append(draft.rule(r.OpaqueTarget(name="nft", arguments=(unknown,))))
    elif not acted:
        rules.append(draft.rule(r.NO_TARGET))
    return tuple(rule for rule in rules if rule is not None)


def _changes_the_mark(target: r.Target) -> bool:
    return isinstance(target, r.SetMark) or (isinstance(target, r.OpaqueTarget) and target.name in _CHANGES_THE_MARK)


def not_understood(data: bytes) -> Part:
    """A part that asks for what is not there to be asked for; the kernel takes no such rule."""
    match = r.OpaqueMatch(module="nft", arguments=(f"0x{data.hex()}",))
    return Part(data, (match, Unknown("expressions")), "", None)
