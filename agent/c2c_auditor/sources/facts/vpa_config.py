"""Reads the vxlan-policy-agent's own configuration, so that an operator need not repeat its settings.

Source: silk-release jobs/vxlan-policy-agent/templates/vxlan-policy-agent.json.erb, vxlan-policy-agent/config/config.go.
Keys that later versions add are ignored; a key of the wrong type is named. Since 2025 ``overlay_network`` is a list,
and it and ``underlay_ips`` may hold IPv6. VPA's file has no nulls; in one that was made for the agent, where VPA's
cannot be read, null stands for a switch that is not known.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from attrs import frozen

from c2c_auditor.decoding import Address, Count, DecodeError, Network, Positive, parse_json, structure
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.cni import DenyNetworks
from c2c_auditor.sources.files import read_text_file

_USUAL = VpaConfig()


@frozen(kw_only=True)
class _Denied:
    always: tuple[IPv4Network, ...] = ()
    running: tuple[IPv4Network, ...] = ()
    staging: tuple[IPv4Network, ...] = ()


@frozen(kw_only=True)
class _DeniedIPv6:
    always: tuple[IPv6Network, ...] = ()
    running: tuple[IPv6Network, ...] = ()
    staging: tuple[IPv6Network, ...] = ()


@frozen(kw_only=True)
class _Limits:
    limit: bool = False
    logging: bool = False
    burst: Count = Count(_USUAL.connection_burst)
    rate_per_sec: Count = Count(_USUAL.connection_rate_per_second)


@frozen(kw_only=True)
class _File:
    """The file's keys, as far as they decide what is written to iptables or where to read."""

    overlay_network: tuple[Network, ...] = _USUAL.overlay_networks
    enable_ipv6: bool = False
    poll_interval: Positive = Positive(_USUAL.poll_interval)
    asg_poll_interval: Positive = Positive(_USUAL.asg_poll_interval)
    enable_asg_syncing: bool = False
    iptables_c2c_logging: bool | None = False
    iptables_asg_logging: bool = False
    iptables_denied_logs_per_sec: Count = Count(_USUAL.denied_logs_per_second)
    iptables_accepted_udp_logs_per_sec: Count = Count(_USUAL.accepted_udp_logs_per_second)
    deny_networks: _Denied = _Denied()
    deny_networks_ipv6: _DeniedIPv6 = _DeniedIPv6()
    outbound_connections: _Limits = _Limits()
    underlay_ips: tuple[Address, ...] = ()
    enable_overlay_ingress_rules: bool | None = False
    disable_container_network_policy: bool = False
    policy_server_url: str = ""
    ca_cert_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    client_timeout_seconds: Positive = Positive(_USUAL.client_timeout)
    cni_datastore_path: str = _USUAL.store_file


def read_vpa_config(path: Path) -> VpaConfig:
    """The configuration in ``path``. Raises SourceError that names file and key."""
    return parse_vpa_config(read_text_file(path, source="vpa_config", most=16 << 20), where=str(path))


@lru_cache(maxsize=1)  # it is read at each audit, and changes with a deployment
def parse_vpa_config(text: str, *, where: str) -> VpaConfig:
    """``text`` as a VpaConfig; absent keys have the value that VPA gives them. Raises SourceError."""
    try:
        given = parse_json(text)
        if isinstance(given, dict) and isinstance(given.get("overlay_network"), str):
            given = {**given, "overlay_network": [given["overlay_network"]]}
        return _config(structure(given, _File))
    except DecodeError as error:
        raise SourceError(
            source="vpa_config",
            reason=Reason.MALFORMED,
            where=where,
            problem=str(error),
            remedy="it is rendered by BOSH from silk-release; give another one with --vpa-config",
        ) from error


def _config(given: _File) -> VpaConfig:
    overlay = tuple(network for network in given.overlay_network if isinstance(network, IPv4Network))
    if not overlay:
        raise DecodeError("overlay_network: expected at least one IPv4 network")
    denied, denied_ipv6, limits = given.deny_networks, given.deny_networks_ipv6, given.outbound_connections
    return VpaConfig(
        overlay_networks=overlay,
        overlay_networks_ipv6=tuple(network for network in given.overlay_network if isinstance(network, IPv6Network)),
        ipv6=given.enable_ipv6,
        poll_interval=given.poll_interval,
        asg_poll_interval=given.asg_poll_interval,
        asg_syncing=given.enable_asg_syncing,
        c2c_logging=given.iptables_c2c_logging,
        asg_logging=given.iptables_asg_logging,
        denied_logs_per_second=given.iptables_denied_logs_per_sec,
        accepted_udp_logs_per_second=given.iptables_accepted_udp_logs_per_sec,
        deny_networks_always=denied.always,
        deny_networks_running=denied.running,
        deny_networks_staging=denied.staging,
        deny_networks_ipv6=DenyNetworks(
            always=denied_ipv6.always, running=denied_ipv6.running, staging=denied_ipv6.staging
        ),
        connection_limit=limits.limit,
        connection_limit_logging=limits.logging,
        connection_burst=limits.burst,
        connection_rate_per_second=limits.rate_per_sec,
        underlay_addresses=tuple(address for address in given.underlay_ips if isinstance(address, IPv4Address)),
        overlay_ingress=given.enable_overlay_ingress_rules,
        policy_disabled=given.disable_container_network_policy,
        policy_server_url=given.policy_server_url,
        ca_file=given.ca_cert_file,
        certificate_file=given.client_cert_file,
        key_file=given.client_key_file,
        client_timeout=given.client_timeout_seconds,
        store_file=given.cni_datastore_path,
    )
