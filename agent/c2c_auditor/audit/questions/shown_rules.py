"""What rules alone show: which containers run on their cell, and where a text left something out.

Listings and pasted texts come without container metadata, and may be parts. Silk's rules name each container's address,
so its place is known; and what ``iptables -L`` does not show of silk's own rules is known from silk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import evolve

from c2c_auditor.audit.checks.extra_rules import comment_guids
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Container
from c2c_auditor.model.family import Address
from c2c_auditor.silk.chain_names import ChainFamily, family_of, handle_part

Chains = Mapping[str, r.Chain]
_NOT_SHOWN = r.OpaqueMatch(module="interfaces", arguments=("not shown",))


def shown_containers(ruleset: r.Ruleset) -> tuple[Container, ...]:
    """The containers that ``ruleset`` has rules for, by address; their handles are cut, as chains' names are.

    Their apps are those of the comments, their ports those that nat translates to.
    """
    handles: dict[Address, str] = {}
    apps: dict[Address, str] = {}
    ports: dict[Address, dict[int, None]] = {}
    for name, rule in _rules(ruleset):
        source, destination = _host(rule.source), _host(rule.destination)
        app, to = comment_guids(rule)
        if isinstance(rule.target, r.SetMark) and source is not None and app:
            apps[source] = app
        if rule.target == r.ACCEPT and destination is not None and to:
            apps.setdefault(destination, to)
        if isinstance(rule.target, r.Dnat) and rule.target.addresses is not None and rule.target.ports is not None:
            inside = ruleset.family.address(rule.target.addresses[0])
            ports.setdefault(inside, {})[rule.target.ports[0]] = None
        jumped = jumped_chain(rule)
        if source is not None and family_of(jumped) in (ChainFamily.NETOUT, ChainFamily.INPUT):
            _keep_longest(handles, source, handle_part(jumped))
        if destination is not None and family_of(name) is ChainFamily.OVERLAY and isinstance(rule.target, r.Reject):
            _keep_longest(handles, destination, handle_part(name))
    found = sorted({*handles, *apps}, key=int)
    return tuple(
        Container(
            handle=handles.get(address, str(address)),
            address=address,
            app=apps.get(address, ""),
            ports=tuple(ports.get(address, ())),
        )
        for address in found
    )


def facts_of_listings(facts: CellFacts, rulesets: Sequence[r.Ruleset]) -> tuple[CellFacts, ...]:
    """``facts`` for each of several listings, which may be of several cells: with the containers that its rules name.

    Of a listing that names none of them the containers are not known; one that no listing names is the first one's.
    """
    store = facts.store
    if store is None or len(rulesets) == 1:
        return (facts,) * len(rulesets)
    named = [{container.address for container in shown_containers(ruleset)} for ruleset in rulesets]
    of = [[container for container in store.containers if container.address in addresses] for addresses in named]
    first = next((found for found in of if found), of[0])
    first += [container for container in store.containers if not any(container in found for found in of)]
    return tuple(evolve(facts, store=evolve(store, containers=tuple(found)) if found else None) for found in of)


def _rules(ruleset: r.Ruleset) -> Iterator[tuple[str, r.Rule]]:
    for table in ruleset.tables.values():
        for name, chain in table.chains.items():
            for rule in chain.rules:
                yield name, rule


def _host(match: r.AddressMatch | None) -> Address | None:
    return match.host if match is not None else None


def _keep_longest(handles: dict[Address, str], address: Address, handle: str) -> None:
    handles[address] = max(handles.get(address, ""), handle, key=len)


def walkable(inputs: Inputs) -> r.Ruleset:
    """The rules as far as they are shown: with the interfaces that silk's rules ask for.

    Where a listing leaves interfaces out, a rule that is none of silk's may ask for any.
    """
    ruleset = inputs.ruleset
    if r.Loss.INTERFACES not in ruleset.lost:
        return ruleset
    return evolve(ruleset, tables={name: _table(inputs, table) for name, table in ruleset.tables.items()})


def _table(inputs: Inputs, table: r.Table) -> r.Table:
    chains = {
        name: evolve(chain, rules=_with_interfaces(inputs, table.name, chain)) for name, chain in table.chains.items()
    }
    return evolve(table, chains=chains)


def _with_interfaces(inputs: Inputs, table: str, chain: r.Chain) -> tuple[r.Rule, ...]:
    return tuple(_with_interface(inputs, table, chain.name, rule) for rule in chain.rules)


def _with_interface(inputs: Inputs, table: str, chain: str, rule: r.Rule) -> r.Rule:
    vtep, underlay = inputs.wrapper.config.vtep_name, inputs.wrapper.underlay
    jumped = family_of(jumped_chain(rule))
    family = family_of(chain)
    if family is ChainFamily.OVERLAY and rule.source is not None and rule.target == r.ACCEPT:
        return evolve(rule, out_interface=r.InterfaceMatch(name=vtep))
    if family is ChainFamily.NETIN and table == "mangle":
        return evolve(rule, in_interface=r.InterfaceMatch(name=underlay))
    if jumped is ChainFamily.NETOUT and chain == "FORWARD":
        return evolve(rule, out_interface=r.InterfaceMatch(name=underlay))
    if isinstance(rule.target, r.Masquerade):
        return evolve(rule, out_interface=r.InterfaceMatch(name=vtep, negated=True))
    if family is not None or jumped is not None or not chain:
        return rule
    return evolve(rule, matches=(*rule.matches, _NOT_SHOWN))


def forward_of_a_part(chains: Chains, origin: str, *, into_container: bool) -> Chains:
    """``chains`` with a FORWARD that reaches what a part of the rules shows.

    What nothing shown decides meets silk's default deny on its way ``into_container``, and otherwise passes. Rules that
    were given without any chain are those of ``origin``.
    """
    forward = chains.get("FORWARD", r.Chain(name="FORWARD", whole=False))
    if forward.whole:
        return chains
    jumped = set(map(jumped_chain, forward.rules))
    policies = (name for name in sorted(chains) if family_of(name) is ChainFamily.POLICY)
    overlay = (name for name in chains if family_of(name) is ChainFamily.OVERLAY)
    nameless = chains.get("", r.Chain(name="")).rules
    rules = (*forward.rules, *_jumps(policies, jumped), *nameless, *_jumps(overlay, jumped))
    name = origin if rules == nameless else forward.name
    policy = "DROP" if into_container else "ACCEPT"
    return {**chains, "FORWARD": evolve(forward, name=name, rules=rules, policy=policy)}


def _jumps(names: Iterable[str], jumped: set[str]) -> Iterator[r.Rule]:
    return (r.Rule(target=r.Jump(chain=name)) for name in names if name not in jumped)
