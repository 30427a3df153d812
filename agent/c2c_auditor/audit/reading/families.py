"""What is known of a cell, as it concerns one address family.

Silk writes a container's chains once more, to ip6tables, where IPv6 is on: from the same settings, with the container's
other address (silk-release src/code.cloudfoundry.org/vxlan-policy-agent/cmd/vxlan-policy-agent/main.go @06c1e5be,
cni-wrapper-plugin/netrules/netout.go). Policies between containers, mapped ports and MASQUERADE are IPv4's only. So
what is known is turned into what IPv6's rules are made from, and everything that plans, compares and judges takes it
like IPv4's.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from attrs import evolve

from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import BadRecord, CellFacts, Container, PolicySet, Store, VpaConfig
from c2c_auditor.model.family import Address, AddressFamily
from c2c_auditor.silk.chain_names import ChainFamily, container_interface, family_of


def of_family(facts: CellFacts, family: AddressFamily) -> CellFacts:
    """What of ``facts`` the rules of ``family`` are made from; IPv4's are ``facts`` themselves."""
    if family is AddressFamily.IPV4:
        return facts
    interfaces = facts.underlay_interfaces
    store, config, cni = facts.store, facts.config, facts.cni
    return CellFacts(
        store=_store(store) if store is not None else None,
        policies=PolicySet(),
        security_groups=facts.security_groups,
        config=_config(config) if config is not None else None,
        # Of several interfaces it is not known which of them IPv6 leaves by.
        underlay_interfaces=interfaces if interfaces is not None and len(interfaces) == 1 else None,
        host_services=tuple(service for service in facts.host_services or () if service.address.version == 6)  # noqa: PLR2004 - IP version 6
        or None,
        cni=evolve(
            cni,
            deny_networks=cni.deny_networks_ipv6,
            no_masquerade=None,
            underlay_interfaces=cni.underlay_interfaces if len(cni.underlay_interfaces) == 1 else (),
        )
        if cni is not None
        else None,
        declared_rules=facts.declared_rules,
        notes=facts.notes,
    )


def networks_of(facts: CellFacts, ruleset: r.Ruleset) -> tuple[IPv4Network | IPv6Network, ...]:
    """Where the containers' addresses of the ruleset's family are; ``facts`` are those of that family.

    IPv6 needs no overlay: there it is the addresses themselves, of the store or, without one, of silk's own jumps.
    """
    config = facts.config if facts.config is not None else VpaConfig()
    if ruleset.family is AddressFamily.IPV4:
        return config.overlay_networks
    store, chains = facts.store, ruleset.chains("filter")
    addresses = {container.address for container in store.containers} if store is not None else _jumping(chains)
    hosts = [IPv6Network(address) for address in addresses if isinstance(address, IPv6Address)]
    return tuple(collapse_addresses([*hosts, *config.overlay_networks_ipv6]))


def _jumping(chains: Mapping[str, r.Chain]) -> set[Address]:
    """The sources of the jumps into containers' chains."""
    rules = chains["INPUT"].rules if "INPUT" in chains else ()
    found = (rule.source.host for rule in rules if rule.source is not None and _into_input(rule))
    return {address for address in found if address is not None}


def _into_input(rule: r.Rule) -> bool:
    return family_of(jumped_chain(rule)) is ChainFamily.INPUT


def _store(store: Store) -> Store:
    """The containers that have an address of IPv6, at that address.

    Of the others there is nothing to plan from; they are there all the same, so chains of theirs are no orphans.
    """
    without = [container.handle for container in store.containers if container.ipv6 is None]
    return Store(
        containers=tuple(
            _container(container, container.ipv6) for container in store.containers if container.ipv6 is not None
        ),
        unreadable=(
            *store.unreadable,
            *(BadRecord(subject=handle, where="store", problem="it has no address of IPv6") for handle in without),
        ),
    )


def _container(container: Container, address: IPv6Address) -> Container:
    """Without ports: those that its metadata lists are the mapped ones."""
    return evolve(container, address=address, interface=container_interface(container), ports=())


def _config(config: VpaConfig) -> VpaConfig:
    denied = config.deny_networks_ipv6
    return evolve(
        config,
        deny_networks_always=denied.always,
        deny_networks_running=denied.running,
        deny_networks_staging=denied.staging,
        overlay_ingress=False,
        policy_disabled=False,
    )
