"""What is known of a cell besides its rules: containers, policies, security groups, settings of silk's programs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from attrs import field, frozen

from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, Lease
from c2c_auditor.model.family import Address, AddressFamily
from c2c_auditor.model.rule import PortRange, Rule


@frozen(kw_only=True, cache_hash=True)
class Names:
    """The names of an app, its space and its org; empty where the metadata has none.

    Untrusted text: exporters escape it.
    """

    app: str = ""
    space: str = ""
    org: str = ""


@frozen(kw_only=True, cache_hash=True)
class Container:
    """One entry of silk's container metadata.

    ``app`` is its ``policy_group_id``, the guid that policies speak of; empty if it has none. ``address`` is the IPv4
    one, and the IPv6 one where the cell is looked at for IPv6 (`audit.reading.families`); ``interface`` then names the
    cell's end of its veth pair, which IPv6 does not tell.
    """

    handle: str
    address: Address
    ipv6: IPv6Address | None = None
    interface: str = ""
    app: str = ""
    space: str = ""
    org: str = ""
    workload: str = ""
    ports: tuple[int, ...] = ()
    names: Names = Names()


@frozen(kw_only=True)
class BadRecord:
    """One entry of a source that cannot be used, while its neighbours can: its name, its place, what is wrong with it.

    ``guids`` are the app guids in the entry and ``address`` its address, as far as these could be read.
    """

    subject: str
    where: str
    problem: str
    guids: tuple[str, ...] = ()
    address: str = ""


@frozen(kw_only=True)
class Store:
    """Container metadata, sorted by handle, and the entries that could not be understood."""

    containers: tuple[Container, ...] = ()
    unreadable: tuple[BadRecord, ...] = ()


@frozen(kw_only=True, cache_hash=True)
class Policy:
    """One network policy: ``source`` (an app's or space's guid) may reach ``destination`` on ``ports`` of ``protocol``.

    ``protocol`` is ``tcp`` or ``udp``. Tags are the marks that stand for source and destination, 1 to 0xffff with
    silk's usual tag length.
    """

    source: str
    source_tag: int
    destination: str
    destination_tag: int
    protocol: str
    ports: PortRange


@frozen(kw_only=True)
class PolicySet:
    """The policy server's answer for one cell. ``last_updated`` is its clock in ns, None if not read."""

    policies: tuple[Policy, ...] = ()
    unreadable: tuple[BadRecord, ...] = ()
    last_updated: int | None = None


@frozen(kw_only=True, cache_hash=True)
class SecurityRule:
    """One rule of a security group, as the policy server stores it; what it does not say is empty.

    Nothing is validated yet, silk's own conversion decides (`silk.asg`).
    """

    protocol: str = ""
    destination: str = ""
    ports: str = ""
    type: int = 0
    code: int = 0
    log: bool = False


@frozen(kw_only=True, cache_hash=True)
class SecurityGroup:
    """An application security group and the spaces it is bound to."""

    guid: str
    name: str
    rules: tuple[SecurityRule, ...] = ()
    staging_default: bool = False
    running_default: bool = False
    staging_spaces: frozenset[str] = frozenset()
    running_spaces: frozenset[str] = frozenset()
    problem: str = ""


@frozen(kw_only=True, cache_hash=True)
class VpaConfig:
    """The vxlan-policy-agent's settings, under its own names' meaning; periods in seconds, paths as written.

    ``overlay_networks`` are the IPv4 ones in the file's order, ``overlay_networks_ipv6`` the others. The two switches
    that leave their own kind of rule behind may be None, not known: they are then inferred from the rules.

    Source: ``jobs/vxlan-policy-agent/templates/vxlan-policy-agent.json.erb`` of silk-release.
    """

    overlay_networks: tuple[IPv4Network, ...] = (IPv4Network("10.255.0.0/16"),)
    overlay_networks_ipv6: tuple[IPv6Network, ...] = ()
    ipv6: bool = False
    poll_interval: float = 5.0
    asg_poll_interval: float = 60.0
    asg_syncing: bool = False
    c2c_logging: bool | None = False
    asg_logging: bool = False
    denied_logs_per_second: int = 1
    accepted_udp_logs_per_second: int = 100
    deny_networks_always: tuple[IPv4Network | IPv6Network, ...] = ()
    deny_networks_running: tuple[IPv4Network | IPv6Network, ...] = ()
    deny_networks_staging: tuple[IPv4Network | IPv6Network, ...] = ()
    deny_networks_ipv6: DenyNetworks = DenyNetworks()
    connection_limit: bool = False
    connection_limit_logging: bool = False
    connection_burst: int = 1000
    connection_rate_per_second: int = 100
    underlay_addresses: tuple[IPv4Address, ...] = ()
    overlay_ingress: bool | None = False
    policy_disabled: bool = False
    policy_server_url: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    client_timeout: float = 5.0
    store_file: str = "/var/vcap/data/container-metadata/store.json"

    @property
    def overlay_network(self) -> IPv4Network:
        """The first of `overlay_networks`, for the parts that know of one only."""
        return self.overlay_networks[0]


@frozen(kw_only=True)
class DeclaredRule:
    """A rule that silk does not write and that is meant to stand in ``chain`` of ``table``, with the ``reason`` why."""

    family: AddressFamily
    table: str
    chain: str
    rule: Rule
    reason: str


@frozen(kw_only=True)
class CellFacts:
    """Everything the plan is made from. None means: not known, so nothing that needs it is judged.

    ``ingress_tag`` is the mark of the policy server's INGRESS_ROUTER; None lets the plan infer it from the one mark
    that such rules share. ``underlay_interfaces`` are the names of the interfaces that hold the underlay addresses.
    ``host_services`` and ``underlay_interfaces`` override what ``cni``, the CNI wrapper's configuration, says; without
    either of them the rules of most containers tell, as they do for the ``lease``. ``declared_rules`` are others' rules
    that are meant to be there.
    """

    store: Store | None = None
    policies: PolicySet | None = None
    security_groups: tuple[SecurityGroup, ...] | None = None
    config: VpaConfig | None = None
    ingress_tag: int | None = None
    underlay_interfaces: tuple[str, ...] | None = None
    host_services: tuple[HostService, ...] | None = None
    cni: CniConfig | None = None
    lease: Lease | None = None
    declared_rules: tuple[DeclaredRule, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def ipv6(self) -> bool:
        """Whether silk writes rules of IPv6 here: VPA's ``enable_ipv6`` says so, or a container has such an address."""
        if self.config is not None and self.config.ipv6:
            return True
        return self.store is not None and any(container.ipv6 is not None for container in self.store.containers)
