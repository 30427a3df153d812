"""Holds what two readers read of the same kernel against each other, rule by rule.

Of a match or target that has no word of its own a text has the options and netlink the bytes: there the name counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.render import render_rule


def disagreements(read: r.Ruleset, witnessed: r.Ruleset) -> Iterator[r.Disagreement]:
    """Where ``witnessed``, read by a program of iptables, contradicts ``read``; of the tables that both have."""
    for name, table in read.tables.items():
        if name in witnessed.tables:
            yield from _in_table(table, witnessed.chains(name), witnessed.reader)


def _in_table(table: r.Table, chains: Mapping[str, r.Chain], witness: str) -> Iterator[r.Disagreement]:
    for name in sorted(table.chains.keys() | chains.keys()):
        one, other = table.chains.get(name), chains.get(name)
        if one is not None and other is not None and (one.policy, one.rules) == (other.policy, other.rules):
            continue
        yield from _in_chain(table.name, one or r.Chain(name=name), other or r.Chain(name=name), witness)
        if one is None or other is None or one.policy != other.policy:
            yield r.Disagreement(
                table=table.name,
                chain=name,
                position=0,
                read=_declared(one),
                witnessed=_declared(other),
                witness=witness,
            )


def _in_chain(table: str, one: r.Chain, other: r.Chain, witness: str) -> Iterator[r.Disagreement]:
    for position, (mine, theirs) in enumerate(zip_longest(one.rules, other.rules), 1):
        if mine is theirs or (mine is not None and theirs is not None and by_names(mine) == by_names(theirs)):
            continue
        yield r.Disagreement(
            table=table,
            chain=one.name,
            position=position,
            read="" if mine is None else render_rule(mine, one.name),
            witnessed="" if theirs is None else render_rule(theirs, one.name),
            witness=witness,
        )


def by_names(rule: r.Rule) -> r.Rule:
    """``rule``, in which opaque matches and targets have their names alone."""
    target = rule.target
    opaque = isinstance(target, r.OpaqueTarget)
    if not opaque and not any(isinstance(match, r.OpaqueMatch) for match in rule.matches):
        return rule
    matches = [r.OpaqueMatch(module=one.module) if isinstance(one, r.OpaqueMatch) else one for one in rule.matches]
    return r.Rule(
        source=rule.source,
        destination=rule.destination,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
        protocol=rule.protocol,
        fragment=rule.fragment,
        matches=canonical.matches_in_order(sorted(matches, key=repr)),
        target=r.OpaqueTarget(name=target.name) if isinstance(target, r.OpaqueTarget) else target,
    )


def _declared(chain: r.Chain | None) -> str:
    return "" if chain is None else f":{chain.name} {chain.policy or '-'}"
