"""The settings of silk's CNI wrapper plugin and the cell's lease, which decide what a container's own chains hold."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from attrs import frozen


@frozen(kw_only=True, cache_hash=True)
class HostService:
    """A service of the cell that containers may reach: DNS, metrics. ``protocol`` is ``tcp`` or ``udp``."""

    address: IPv4Address | IPv6Address
    protocol: str
    port: int


@frozen(kw_only=True, cache_hash=True)
class DenyNetworks:
    """Networks that no container may reach, whatever its security groups allow: by the kind of its workload."""

    always: tuple[IPv4Network | IPv6Network, ...] = ()
    running: tuple[IPv4Network | IPv6Network, ...] = ()
    staging: tuple[IPv4Network | IPv6Network, ...] = ()


@frozen(kw_only=True, cache_hash=True)
class OutboundConnections:
    """The limit of a container's new connections to one address and port: ``burst`` at once, then ``rate_per_second``.

    ``dry_run`` logs what the limit would refuse and refuses nothing. It is None, not known, where only VPA's
    configuration was read, which lacks the key.
    """

    limit: bool = False
    logging: bool = False
    burst: int = 1000
    rate_per_second: int = 100
    dry_run: bool | None = None


@frozen(kw_only=True, cache_hash=True)
class CniConfig:
    """``plugins[0]`` of the CNI wrapper's configuration, under its own names' meaning.

    ``no_masquerade`` is a network, or the first and last address of a range; None lets newer silk take the lease.
    ``host_services`` are the link-local DNS servers (port 53, tcp then udp) and the host services of both families, in
    the order in which the plugin writes them. ``underlay_interfaces`` are those that the operator named; empty means
    that the plugin finds them by ``underlay_addresses``.

    Source: ``jobs/silk-cni/templates/cni-wrapper-plugin.conflist.erb``, ``cni-wrapper-plugin/lib/lib.go`` and
    ``cni-wrapper-plugin/main.go`` of silk-release.
    """

    no_masquerade: IPv4Network | tuple[IPv4Address, IPv4Address] | None = None
    host_services: tuple[HostService, ...] = ()
    underlay_interfaces: tuple[str, ...] = ()
    underlay_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    instance_address: IPv4Address | None = None
    ingress_tag: int = 0xFFFF0000
    vtep_name: str = "silk-vtep"
    deny_networks: DenyNetworks = DenyNetworks()
    deny_networks_ipv6: DenyNetworks = DenyNetworks()
    outbound_connections: OutboundConnections = OutboundConnections()
    asg_logging: bool = False
    c2c_logging: bool = False
    denied_logs_per_second: int = 1
    accepted_udp_logs_per_second: int = 100
    daemon_port: int = 23954


class LeaseSource(str, Enum):
    """Where a cell's lease was read from, the most reliable source first."""

    SILK_DAEMON = "silk-daemon"
    VTEP = "the address of silk-vtep"
    RULES = "what most containers' rules have in common"


@frozen(kw_only=True, cache_hash=True)
class Lease:
    """The overlay addresses that silk leased to this cell."""

    network: IPv4Network
    source: LeaseSource
