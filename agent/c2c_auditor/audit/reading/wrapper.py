"""The settings that containers' own chains were written from: the CNI wrapper's configuration, or inferred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from attrs import evolve, frozen

from c2c_auditor.audit.comparison.masquerading import Intervals, excluded, network_of
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Container, VpaConfig
from c2c_auditor.model.cni import CniConfig, Lease, LeaseSource
from c2c_auditor.silk import chain_names
from c2c_auditor.silk.input import host_service, service_rule
from c2c_auditor.silk.masquerade import Excluded
from c2c_auditor.silk.settings import as_cni

_HOST_PREFIX = 32


@frozen(kw_only=True)
class Wrapper:
    """The CNI wrapper's settings for one reading.

    ``services`` are the rules of DNS servers and host services. ``left_out`` is what MASQUERADE rules leave out. It,
    ``underlay_interfaces`` and ``lease`` are None where they are not known. ``notes`` say what was inferred, and from
    what.
    """

    config: CniConfig
    services: tuple[r.Rule, ...] = ()
    underlay_interfaces: tuple[str, ...] | None = None
    lease: Lease | None = None
    left_out: Excluded | None = None
    notes: tuple[str, ...] = ()

    @property
    def underlay(self) -> str:
        """An interface of the underlay; where none is known, the name that a stemcell gives the first one."""
        return next(iter(self.underlay_interfaces or ()), "eth0")


def wrapper_of(facts: CellFacts, vpa: VpaConfig, ruleset: r.Ruleset) -> Wrapper:
    """What is known of the settings, and what of them the rules of most containers show."""
    containers = facts.store.containers if facts.store is not None else ()
    notes: list[str] = []
    config = _config(facts, vpa, ruleset.chains("filter"), notes)
    services = _services(facts, ruleset, notes)
    interfaces = facts.underlay_interfaces
    if interfaces is None and facts.cni is not None:
        interfaces = facts.cni.underlay_interfaces or None
    if interfaces is None and facts.store is not None:
        notes.append(
            "The underlay's interfaces are not known: jumps and marks on any one interface were taken for right."
        )
    shown = _shown_as_left_out(containers, ruleset)
    usual = _usually_left_out(shown, vpa)
    if usual is None and facts.cni is None and (custom := _custom_range(shown)) is not None:
        config = evolve(config, no_masquerade=custom)
        notes.append(
            f"no_masquerade_cidr_range is not known: it was taken for {_range_text(custom)}, which most containers' "
            "MASQUERADE rules leave out."
        )
    lease = facts.lease
    if lease is not None and any(overlay.subnet_of(lease.network) for overlay in vpa.overlay_networks):
        lease = None  # the vtep's address with the overlay's prefix: no cell leases all of it
    if lease is None and usual is not None and usual not in vpa.overlay_networks:
        lease = Lease(network=usual, source=LeaseSource.RULES)
    if lease is not None and config.no_masquerade is None and containers and "nat" in ruleset.tables:
        notes.append(f"MASQUERADE was judged by this cell's lease, {lease.network}; its source: {lease.source.value}.")
    return Wrapper(
        config=config,
        services=services,
        underlay_interfaces=interfaces,
        lease=lease,
        left_out=_left_out(config, usual, lease, vpa),
        notes=tuple(notes),
    )


def _config(facts: CellFacts, vpa: VpaConfig, chains: Mapping[str, r.Chain], notes: list[str]) -> CniConfig:
    """The wrapper's configuration, else what VPA's says of it; the rules show a dry run where neither tells."""
    config = facts.cni if facts.cni is not None else as_cni(vpa)
    if config.outbound_connections.dry_run is not None:
        return config
    dry_run = facts.store is not None and _only_logs(facts.store.containers, chains)
    if dry_run:
        notes.append(
            "Whether the limit of outbound connections is a dry run is not known: it was taken for one, because the "
            "chains for what goes beyond it only log."
        )
    return evolve(config, outbound_connections=evolve(config.outbound_connections, dry_run=dry_run))


def _services(facts: CellFacts, ruleset: r.Ruleset, notes: list[str]) -> tuple[r.Rule, ...]:
    """The rules of DNS servers and host services of the ruleset's family.

    By the agent's own setting, the wrapper's, else the usual ones.
    """
    known = facts.host_services
    if known is None and facts.cni is not None:
        known = facts.cni.host_services
    if known is not None:
        rules = map(service_rule, known)
        return tuple(rule for rule in rules if rule.destination and rule.destination.family is ruleset.family)
    containers = facts.store.containers if facts.store is not None else ()
    if containers:
        notes.append(
            "DNS servers and host services are not configured: in the input chains, what most containers have in "
            "common was taken for right."
        )
    return _usual_services(containers, ruleset.chains("filter"))


def _left_out(config: CniConfig, usual: IPv4Network | None, lease: Lease | None, vpa: VpaConfig) -> Excluded | None:
    """The destinations that a MASQUERADE rule should leave out: the operator's range, or silk's own choice."""
    if config.no_masquerade is not None:
        return config.no_masquerade
    if usual is not None:
        return usual
    if lease is not None:
        return lease.network
    return vpa.overlay_networks[0] if len(vpa.overlay_networks) == 1 else None


def _usual_services(containers: Iterable[Container], chains: Mapping[str, r.Chain]) -> tuple[r.Rule, ...]:
    """The rules of DNS servers and host services that most containers' ``input--`` chains hold.

    With two containers that disagree, a rule that has the shape belongs.
    """
    names = (chain_names.input_(container.handle) for container in containers)
    middles = [
        [rule for rule in chains[name].rules if host_service(rule)]
        for name in names
        if name in chains and chains[name].whole
    ]
    counts = Counter(rule for middle in middles for rule in dict.fromkeys(middle))
    ordered = dict.fromkeys(rule for middle in middles for rule in middle)
    return tuple(rule for rule in ordered if counts[rule] * 2 >= len(middles))


def _only_logs(containers: Iterable[Container], chains: Mapping[str, r.Chain]) -> bool:
    """Whether most chains for connections beyond the limit only log, as a dry run leaves them."""
    names = (chain_names.netout_rate_limit_log(container.handle) for container in containers)
    found = [chains[name] for name in names if name in chains and chains[name].whole]
    return sum(map(only_logs, found)) * 2 > len(found)


def only_logs(chain: r.Chain) -> bool:
    """Whether a chain holds a LOG and nothing else."""
    return len(chain.rules) == 1 and isinstance(chain.rules[0].target, r.Log)


def _shown_as_left_out(containers: Iterable[Container], ruleset: r.Ruleset) -> Counter[Intervals | None]:
    """What the MASQUERADE rules of single containers leave out.

    None for one that leaves out less than the container.
    """
    chain = ruleset.chains("nat").get("POSTROUTING")
    hosts = {int(container.address) for container in containers}
    found: Counter[Intervals | None] = Counter()
    for rule in chain.rules if chain is not None else ():
        if rule.source is not None and rule.source.host is not None and rule.source.value in hosts:
            left_out = excluded(rule)
            holds = left_out is not None and any(first <= rule.source.value <= last for first, last in left_out)
            found[left_out if holds else None] += 1
    return found


def _usually_left_out(shown: Counter[Intervals | None], vpa: VpaConfig) -> IPv4Network | None:
    """The part of the overlay that most MASQUERADE rules leave out."""
    for left_out, count in shown.most_common(1):
        network = network_of(left_out)
        if network is not None and network.prefixlen < _HOST_PREFIX and count * 2 > shown.total():
            return network if any(map(network.subnet_of, vpa.overlay_networks)) else None
    return None


def _custom_range(shown: Counter[Intervals | None]) -> Excluded | None:
    """The operator's range, as most MASQUERADE rules show it; one rule alone may as well be damaged."""
    for left_out, count in shown.most_common(1):
        if left_out is not None and len(left_out) == 1 and count > 1 and count * 2 > shown.total():
            return network_of(left_out) or (IPv4Address(left_out[0][0]), IPv4Address(left_out[0][1]))
    return None


def _range_text(excluded_range: Excluded) -> str:
    return str(excluded_range) if isinstance(excluded_range, IPv4Network) else "-".join(map(str, excluded_range))
