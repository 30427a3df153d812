"""Reads the configuration of silk's CNI wrapper plugin, which decides each container's own chains and MASQUERADE rule.

Source: silk-release jobs/silk-cni/templates/cni-wrapper-plugin.conflist.erb, cni-wrapper-plugin/lib/lib.go (the keys),
cni-wrapper-plugin/main.go and netrules/netout.go (what becomes of them). The file is a CNI list; the wrapper is its
first plugin, the others are CNI's own. Keys that later versions add are ignored; a key of the wrong type is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from attrs import frozen

from c2c_auditor.decoding import Address, Count, DecodeError, Network, Port, Tag, decode
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, OutboundConnections
from c2c_auditor.sources.files import read_text_file

SOURCE = "cni_config"
_USUAL = CniConfig()
_DNS_PORT = 53
_PORT = re.compile("[0-9]{1,5}")
_LAST_PORT = 65535


@frozen(kw_only=True)
class _Denied:
    always: tuple[Network, ...] = ()
    running: tuple[Network, ...] = ()
    staging: tuple[Network, ...] = ()


@frozen(kw_only=True)
class _Limits:
    limit: bool = False
    logging: bool = False
    burst: Count = Count(_USUAL.outbound_connections.burst)
    rate_per_sec: Count = Count(_USUAL.outbound_connections.rate_per_second)
    dry_run: bool = False


@frozen(kw_only=True)
class _Delegate:
    daemonPort: Port = Port(_USUAL.daemon_port)  # noqa: N815 - the key's name


@frozen(kw_only=True)
class _Wrapper:
    """The first plugin's keys, as far as they decide what is written to iptables."""

    no_masquerade_cidr_range: str = ""
    dns_servers: tuple[Address, ...] = ()
    host_tcp_services: tuple[str, ...] = ()
    host_udp_services: tuple[str, ...] = ()
    temporary_underlay_interface_names: tuple[str, ...] = ()
    underlay_ips: tuple[Address, ...] = ()
    instance_address: Address | None = None
    ingress_tag: Tag = Tag(_USUAL.ingress_tag)
    vtep_name: str = _USUAL.vtep_name
    deny_networks: _Denied = _Denied()
    deny_networks_ipv6: _Denied = _Denied()
    outbound_connections: _Limits = _Limits()
    iptables_asg_logging: bool = False
    iptables_c2c_logging: bool = False
    iptables_denied_logs_per_sec: Count = Count(_USUAL.denied_logs_per_second)
    iptables_accepted_udp_logs_per_sec: Count = Count(_USUAL.accepted_udp_logs_per_second)
    delegate: _Delegate = _Delegate()


@frozen(kw_only=True)
class _List:
    plugins: tuple[_Wrapper, ...] = ()


def read_cni_config(path: Path) -> CniConfig:
    """The configuration in ``path``. Raises SourceError that names file and key."""
    return parse_cni_config(read_text_file(path, source=SOURCE, most=16 << 20), where=str(path))


@lru_cache(maxsize=1)  # it is read at each audit, and changes with a deployment
def parse_cni_config(text: str, *, where: str) -> CniConfig:
    """``text`` as a CniConfig; absent keys have the job's defaults. Raises SourceError."""
    try:
        return _config(decode(text, _List))
    except DecodeError as error:
        raise SourceError(
            source=SOURCE,
            reason=Reason.MALFORMED,
            where=where,
            problem=str(error),
            remedy="it is rendered by BOSH from silk-release's job silk-cni; give another one with --cni-config",
        ) from error


def _config(whole: _List) -> CniConfig:
    if not whole.plugins:
        raise DecodeError("plugins: expected the CNI wrapper as the first plugin, found none")
    given = whole.plugins[0]
    return CniConfig(
        no_masquerade=_range(given.no_masquerade_cidr_range),
        host_services=tuple(_services(given)),
        underlay_interfaces=given.temporary_underlay_interface_names,
        underlay_addresses=given.underlay_ips,
        instance_address=given.instance_address if isinstance(given.instance_address, IPv4Address) else None,
        ingress_tag=given.ingress_tag,
        vtep_name=given.vtep_name,
        deny_networks=_denied(given.deny_networks),
        deny_networks_ipv6=_denied(given.deny_networks_ipv6),
        outbound_connections=_limits(given.outbound_connections),
        asg_logging=given.iptables_asg_logging,
        c2c_logging=given.iptables_c2c_logging,
        denied_logs_per_second=given.iptables_denied_logs_per_sec,
        accepted_udp_logs_per_second=given.iptables_accepted_udp_logs_per_sec,
        daemon_port=given.delegate.daemonPort,
    )


def _denied(given: _Denied) -> DenyNetworks:
    return DenyNetworks(always=given.always, running=given.running, staging=given.staging)


def _limits(given: _Limits) -> OutboundConnections:
    return OutboundConnections(
        limit=given.limit,
        logging=given.logging,
        burst=given.burst,
        rate_per_second=given.rate_per_sec,
        dry_run=given.dry_run,
    )


def _range(text: str) -> IPv4Network | tuple[IPv4Address, IPv4Address] | None:
    """A network, or the first and last address of a range: the plugin hands either to iptables as it stands."""
    key = "plugins[0].no_masquerade_cidr_range"
    first, dash, last = text.partition("-")
    try:
        if not dash:
            return IPv4Network(text, strict=False) if text else None
        ends = IPv4Address(first), IPv4Address(last)
    except ValueError as error:
        raise DecodeError(f"{key}: {text!r:.80} is neither an IPv4 network nor a range") from error
    if ends[0] > ends[1]:
        raise DecodeError(f"{key}: {text!r:.80} is the wrong way round")
    return ends


def _services(given: _Wrapper) -> Iterator[HostService]:
    """In the plugin's order: each DNS server's tcp and udp, the tcp services, the udp services (`appendInputRules`).

    Containers reach DNS servers beyond the cell through their security groups, so the plugin writes a rule only for
    link-local ones (`getLocalDNSServers`). Those of IPv6 belong to ip6tables (`validateAddressAndVersion`).
    """
    for server in given.dns_servers:
        if server.is_link_local:
            yield HostService(address=server, protocol="tcp", port=_DNS_PORT)
            yield HostService(address=server, protocol="udp", port=_DNS_PORT)
    for protocol, services in (("tcp", given.host_tcp_services), ("udp", given.host_udp_services)):
        for index, text in enumerate(services):
            address, port = _endpoint(text, f"plugins[0].host_{protocol}_services[{index}]")
            yield HostService(address=address, protocol=protocol, port=port)


def _endpoint(text: str, key: str) -> tuple[Address, int]:
    """``ADDRESS:PORT``, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError as error:
        raise DecodeError(f"{key}: {text!r:.80} is not of the form ADDRESS:PORT") from error
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _LAST_PORT:
        raise DecodeError(f"{key}: {text!r:.80} has no port from 1 to {_LAST_PORT}")
    return address, int(port)
