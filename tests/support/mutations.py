"""Every way to damage one rule of a chain: delete, duplicate, move, edit each field.

Used exhaustively on small cells and sampled on large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from attrs import evolve, frozen

from c2c_auditor.model import rule as r
from c2c_auditor.model.family import Address, AddressFamily
from c2c_auditor.netfilter import canonical

_NOBODYS: dict[AddressFamily, Address] = {
    AddressFamily.IPV4: IPv4Address("10.255.99.99"),
    AddressFamily.IPV6: IPv6Address("2001:db8:9999::9"),
}


@frozen(kw_only=True)
class Mutation:
    """One damage: what was done, the ruleset after it, and the rules that may be named for it."""

    what: str
    ruleset: r.Ruleset
    touched: frozenset[r.Rule]


def with_rules(ruleset: r.Ruleset, chain: str, rules: tuple[r.Rule, ...], table: str = "filter") -> r.Ruleset:
    """``ruleset`` with the rules of one chain replaced."""
    chains = dict(ruleset.chains(table))
    chains[chain] = evolve(chains[chain], rules=rules, packets=None)
    return evolve(ruleset, tables={**ruleset.tables, table: r.Table(name=table, chains=chains)})


def mutations(
    ruleset: r.Ruleset, chain: str, index: int, addresses: tuple[Address, ...], *, table: str = "filter"
) -> Iterator[Mutation]:
    """All damages to rule ``index`` of ``chain``; ``addresses`` are of live containers.

    Harmless ones are not among them (docs/findings.md).
    """
    rules = ruleset.chains(table)[chain].rules
    rule = rules[index]

    def made(what: str, changed: tuple[r.Rule, ...], *also: r.Rule) -> Mutation:
        return Mutation(what=what, ruleset=with_rules(ruleset, chain, changed, table), touched=frozenset((rule, *also)))

    yield made("deleted", rules[:index] + rules[index + 1 :])
    yield made("duplicated beside itself", (*rules[: index + 1], *rules[index:]))
    yield made("duplicated at the end", (*rules, rule))
    for what, edited in edits(rule, addresses):
        if edited != rule and edited not in rules:
            yield made(f"edited: {what}", (*rules[:index], edited, *rules[index + 1 :]), edited)


def edits(rule: r.Rule, addresses: tuple[Address, ...]) -> Iterator[tuple[str, r.Rule]]:
    """Each field of ``rule`` changed in turn."""
    yield from _addresses(rule, addresses)
    yield from _protocols(rule)
    for match in rule.matches:
        for what, changed in _matches(match):
            rest = [other for other in rule.matches if other is not match]
            yield what, evolve(rule, matches=canonical.matches_in_order([*rest, *changed]))
    yield from _targets(rule)
    yield "a condition on the interface", evolve(rule, in_interface=r.InterfaceMatch(name="eth0"))
    yield "a limit", evolve(rule, matches=canonical.matches_in_order([*rule.matches, r.LimitMatch(period=10_000)]))


def _addresses(rule: r.Rule, addresses: tuple[Address, ...]) -> Iterator[tuple[str, r.Rule]]:
    for what, match in _address_edits(rule.source, addresses):
        yield f"source {what}", evolve(rule, source=match)
    for what, match in _address_edits(rule.destination, addresses):
        yield f"destination {what}", evolve(rule, destination=match)


def _address_edits(
    match: r.AddressMatch | None, addresses: tuple[Address, ...]
) -> Iterator[tuple[str, r.AddressMatch | None]]:
    if match is None:
        return
    for address in (*addresses[:3], _NOBODYS[match.family]):
        yield str(address), canonical.host(address)
    mask = match.family.prefix_mask(match.family.width - 8)
    yield "wider", evolve(match, value=match.value & mask, mask=mask, negated=False)
    yield "negated", evolve(match, negated=not match.negated)
    yield "gone", None


def _protocols(rule: r.Rule) -> Iterator[tuple[str, r.Rule]]:
    if rule.protocol is None:
        return
    other = r.UDP if rule.protocol.number == r.TCP else r.TCP
    matches = [
        evolve(match, protocol=other) if isinstance(match, r.TransportMatch) else match for match in rule.matches
    ]
    yield "protocol", evolve(rule, protocol=canonical.protocol(other), matches=canonical.matches_in_order(matches))


def _matches(match: r.Match) -> Iterator[tuple[str, list[r.Match]]]:
    if isinstance(match, r.TransportMatch) and match.destination is not None:
        ports = match.destination
        yield "port one higher", [evolve(match, destination=r.PortRange(first=ports.first + 1, last=ports.last + 1))]
        yield "range one wider", [evolve(match, destination=r.PortRange(first=ports.first, last=ports.last + 1))]
        yield (
            "range begins lower",
            [evolve(match, destination=r.PortRange(first=max(0, ports.first - 1), last=ports.last))],
        )
        yield "ports negated", [evolve(match, destination=evolve(ports, negated=True))]
        yield "source port instead", [evolve(match, destination=None, source=ports)]
        yield "ports gone", []
    elif isinstance(match, r.MarkMatch):
        yield "mark", [evolve(match, value=match.value + 0x1000)]
        yield "mark's mask", [evolve(match, mask=0xFF)]
        yield "mark negated", [evolve(match, negated=True)]
        yield "mark gone", []
    elif isinstance(match, r.CommentMatch):
        yield "guid in the comment", [r.CommentMatch(text=match.text[:-1] + ("0" if match.text[-1] != "0" else "1"))]
        yield "source in the comment", [r.CommentMatch(text=match.text.replace("src:", "src:0", 1))]
        yield "comment gone", []
    elif isinstance(match, r.StateMatch):
        yield "states", [r.StateMatch(states=("NEW",))]


def _targets(rule: r.Rule) -> Iterator[tuple[str, r.Rule]]:
    if isinstance(rule.target, r.SetMark):
        yield "tag", evolve(rule, target=r.SetMark(value=rule.target.value + 0x1000))
        yield "tag's mask", evolve(rule, target=evolve(rule.target, mask=0xFF))
    if isinstance(rule.target, r.Log):
        yield "log prefix", evolve(rule, target=evolve(rule.target, prefix="other "))
        yield "log level", evolve(rule, target=evolve(rule.target, level=7))
    for target in (r.ACCEPT, r.DROP, r.RETURN, r.REJECT, r.NO_TARGET, r.Jump(chain="elsewhere")):
        yield f"target {target}", evolve(rule, target=target)


def moves(ruleset: r.Ruleset, chain: str) -> Iterator[Mutation]:
    """The moves where order matters.

    A MARK behind the first ACCEPT that needs it, that ACCEPT before the MARK, a LOG behind its ACCEPT.
    """
    rules = ruleset.chains("filter")[chain].rules
    for at, rule in enumerate(rules):
        if isinstance(rule.target, r.SetMark):
            needing = [
                index
                for index, other in enumerate(rules)
                if canonical.mark(rule.target.value) in other.matches and other.target == r.ACCEPT
            ]
            if needing and needing[0] > at:
                yield _moved(ruleset, chain, at, needing[0])
                yield _moved(ruleset, chain, needing[0], at)
        elif isinstance(rule.target, r.Log) and at + 1 < len(rules):
            yield _moved(ruleset, chain, at, at + 1)
            yield _moved(ruleset, chain, at, len(rules) - 1)


def _moved(ruleset: r.Ruleset, chain: str, start: int, end: int) -> Mutation:
    rules = list(ruleset.chains("filter")[chain].rules)
    rule = rules.pop(start)
    rules.insert(end, rule)
    touched = (
        {rule} if abs(end - start) > 1 else {rule, ruleset.chains("filter")[chain].rules[end]}
    )  # neighbours: either was moved
    return Mutation(
        what=f"moved from {start} to {end}",
        ruleset=with_rules(ruleset, chain, tuple(rules)),
        touched=frozenset(touched),
    )
