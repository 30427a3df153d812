"""The file ``native-tables.json`` of a bundle: what nftables keeps that iptables-save has no form for.

Each base chain hangs on a hook with a priority; rules are in iptables' words, as `netfilter.native` reads them, once
for each address family. A chain that nft(8) hung into one of iptables' tables stands there too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from c2c_auditor.decoding import DecodeError, Dialect, decode
from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.model.table import Hook
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.render import render_rule


@frozen(kw_only=True)
class _Chain:
    name: str
    rules: tuple[str, ...] = ()
    policy: str | None = None
    hook: Hook | None = None
    priority: int = 0
    kind: str = "filter"


@frozen(kw_only=True)
class _Table:
    name: str
    chains: tuple[_Chain, ...]


@frozen(kw_only=True)
class _File:
    ipv4: tuple[_Table, ...] = ()
    ipv6: tuple[_Table, ...] = ()


Natives = Mapping[r.AddressFamily, tuple[r.Table, ...]]
"""Tables by the address family whose packets meet their rules; of iptables' own tables the chains that hang there."""


def natives_json(rulesets: Sequence[r.Ruleset]) -> str | None:
    """The file for ``rulesets``; None where there is nothing of the kind."""
    found: dict[str, list[dict[str, object]]] = {}
    for ruleset in rulesets:
        tables = [
            *(
                _document(table, [one for one in table.chains.values() if one.base])
                for table in ruleset.tables.values()
            ),
            *(_document(table, list(table.chains.values())) for table in ruleset.natives),
        ]
        found.setdefault(ruleset.family.value, []).extend(table for table in tables if table["chains"])
    return json.dumps(found, indent=1) if any(found.values()) else None


def _document(table: r.Table, chains: Sequence[r.Chain]) -> dict[str, object]:
    return {"name": table.name, "chains": list(map(_chain_document, chains))}


def _chain_document(chain: r.Chain) -> dict[str, object]:
    base = chain.base
    where = {"hook": base.hook.value, "priority": base.priority, "kind": base.kind} if base is not None else {}
    return {"name": chain.name, "policy": chain.policy, **where, "rules": [render_rule(rule) for rule in chain.rules]}


def parse_natives(text: str) -> Natives:
    """The file's tables. Raises ValueError."""
    try:
        given = decode(text, _File, Dialect.OWN)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    by_family = {r.AddressFamily.IPV4: given.ipv4, r.AddressFamily.IPV6: given.ipv6}
    return {family: tuple(_table(table, RuleParser(family)) for table in found) for family, found in by_family.items()}


def _table(table: _Table, parser: RuleParser) -> r.Table:
    return r.Table(name=table.name, chains={chain.name: _chain(chain, parser) for chain in table.chains})


def _chain(chain: _Chain, parser: RuleParser) -> r.Chain:
    try:
        rules = tuple(parser.rule(text) for text in chain.rules)
    except NotUnderstood as error:
        message = f"chain {chain.name}: {error} is no rule"
        raise ValueError(message) from error
    base = r.Base(hook=chain.hook, priority=chain.priority, kind=chain.kind) if chain.hook is not None else None
    return r.Chain(name=chain.name, policy=chain.policy, rules=rules, base=base)


def with_natives(rulesets: Sequence[r.Ruleset], natives: Natives) -> tuple[r.Ruleset, ...]:
    """``rulesets``, of which nf_tables' one of each family gets the tables and chains; the first where none says so."""
    changed = list(rulesets)
    for family, tables in natives.items():
        places = [at for at, ruleset in enumerate(rulesets) if ruleset.family is family]
        places.sort(key=lambda at: rulesets[at].backend is not r.Backend.NFT)  # stable: else the first
        if places and tables:
            changed[places[0]] = _joined(rulesets[places[0]], tables)
    return tuple(changed)


def _joined(ruleset: r.Ruleset, natives: Sequence[r.Table]) -> r.Ruleset:
    tables = dict(ruleset.tables)
    for table in natives:
        if table.name in tables:
            tables[table.name] = r.Table(name=table.name, chains={**tables[table.name].chains, **table.chains})
    return evolve(ruleset, tables=tables, natives=tuple(table for table in natives if table.name not in tables))
