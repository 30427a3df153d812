"""Makes rulesets of the tables of nf_tables that are held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from c2c_auditor.model import rule as r
from c2c_auditor.model.rule import Base
from c2c_auditor.model.table import TABLES, Hook, TableSpec
from c2c_auditor.netfilter.native.messages import FAMILY_NAMES, INET
from c2c_auditor.sources.rules.applied import TableKey
from c2c_auditor.sources.rules.held import DECODED, HeldChain, HeldTable

_SPECS = {table.name: table for table in TABLES}
_OWN_HOOKS = {
    (table.name, hook.value): Base(hook=hook, priority=table.priority(hook, nft=True), kind=_kind)
    for table in TABLES
    for hook in table.hooks
    for _kind in (
        ("nat" if table.name == "nat" else "route" if (table.name, hook) == ("mangle", Hook.OUTPUT) else "filter"),
    )
}
"""What iptables-nft makes of its built-in chains (iptables/nft.c, ``xtables_ipv4``)."""


_EMPTY = {
    table.name: r.Table(
        name=table.name, chains={hook.value: r.Chain(name=hook.value, policy="ACCEPT") for hook in table.hooks}
    )
    for table in TABLES
}


def ruleset(tables: Mapping[TableKey, HeldTable], family: r.AddressFamily, wanted: Sequence[TableSpec]) -> r.Ruleset:
    """What ``tables`` hold for packets of ``family``: of iptables' own tables those that are ``wanted``."""
    natives = [
        (key, table) for key, table in sorted(tables.items(), key=lambda item: item[0]) if _is_native(key, family)
    ]
    return r.Ruleset(
        tables={spec.name: _own_table(spec, tables.get((family.nfproto, spec.name))) for spec in wanted},
        natives=tuple(_native_table(key, table, family) for key, table in natives),
        family=family,
        backend=r.Backend.NFT,
        origin="netlink",
        reader="nf_tables",
        warnings=tuple(_warnings(tables, family)),
    )


def _is_native(key: TableKey, family: r.AddressFamily) -> bool:
    proto, name = key
    return proto == INET or (proto == family.nfproto and name not in _SPECS)


def _own_table(spec: TableSpec, held: HeldTable | None) -> r.Table:
    """One of iptables' tables. Built-in chains accept everything if they are not there, or the table is dormant."""
    if held is None or held.message.dormant:
        return _EMPTY[spec.name]
    if held.made is None:
        chains = {**_EMPTY[spec.name].chains}
        renewed: Iterable[HeldChain] = held.chains.values()
    else:
        chains = {**held.made.chains}
        renewed = [held.chains[handle] for handle in held.renewed if handle in held.chains]
    for chain in renewed:
        chains[chain.message.name] = chain.made[0] or _own_chain(spec.name, chain)
    held.renewed.clear()
    held.made = r.Table(name=spec.name, chains=chains)
    return held.made


def _own_chain(table: str, chain: HeldChain) -> r.Chain:
    return chain.frozen(0, own=_OWN_HOOKS.get((table, chain.message.name)) == chain.message.base)


def _native_table(key: TableKey, held: HeldTable, family: r.AddressFamily) -> r.Table:
    """A dormant table's chains hang on no hook."""
    at = DECODED[key[0]].index(family)
    return r.Table(
        name=f"{FAMILY_NAMES[key[0]]} {key[1]}",
        chains={chain.message.name: chain.frozen(at, own=held.message.dormant) for chain in held.chains.values()},
    )


def _warnings(tables: Mapping[TableKey, HeldTable], family: r.AddressFamily) -> Iterator[str]:
    for (proto, name), table in sorted(tables.items(), key=lambda item: item[0]):
        words = f"nftables' table {FAMILY_NAMES.get(proto, str(proto))} {name}"
        if proto not in DECODED:
            yield f"{words} is there and was not read: it concerns no packets that are routed here."
        elif family in DECODED[proto]:
            if table.message.dormant:
                yield f"{words} is dormant: no packet meets its rules."
            if table.elsewhere:
                yield f"{words} has chains on a hook of a device (ingress), which no verdict here takes into account."
