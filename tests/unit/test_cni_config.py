"""The CNI wrapper's configuration is read, so that nothing in a container's own chains is inferred."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import pytest

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cni import CniConfig, DenyNetworks, HostService, OutboundConnections
from c2c_auditor.sources.facts.cni_config import parse_cni_config, read_cni_config
from support.recordings import CELLS


def _parse(**keys: object) -> CniConfig:
    return parse_cni_config(json.dumps({"plugins": [keys]}), where="c")


def _service(text: str) -> HostService:
    end, _, protocol = text.partition("/")
    address, _, port = end.rpartition(":")
    return HostService(address=ip_address(address), protocol=protocol, port=int(port))


@pytest.mark.parametrize("name", ["pair-source-cell", "pair-destination-cell"])
def test_what_boshs_template_rendered_is_understood(name: str) -> None:
    """Two recorded cells have the file."""
    assert read_cni_config(CELLS / name / "cni-wrapper-plugin.conflist") == CniConfig(
        no_masquerade=IPv4Network("10.255.0.0/16"),
        host_services=tuple(map(_service, ("169.254.0.2:53/tcp", "169.254.0.2:53/udp", "169.254.0.2:9001/tcp"))),
        underlay_addresses=(IPv4Address("10.0.0.101"),),
        instance_address=IPv4Address("10.0.0.101"),
        outbound_connections=OutboundConnections(dry_run=False),
    )


def test_absent_keys_have_the_jobs_defaults_and_later_ones_are_ignored() -> None:
    """The bandwidth plugin beside it is not read either."""
    text = '{"new": 1, "plugins": [{"newer": [1]}, {"type": "bandwidth", "ingress_tag": "ffff0000"}]}'
    assert parse_cni_config(text, where="c") == CniConfig(outbound_connections=OutboundConnections(dry_run=False))


def test_services_come_in_the_order_in_which_the_plugin_writes_them() -> None:
    """Link-local DNS servers first, tcp before udp; a server beyond the cell gets no rule."""
    config = _parse(
        host_udp_services=["169.254.0.9:7"],
        host_tcp_services=["169.254.0.2:9001", "10.0.0.9:80", "[fd00::1]:81"],
        dns_servers=["169.254.0.3", "8.8.8.8", "169.254.0.2", "fe80::1"],
    )
    expected = (
        "169.254.0.3:53/tcp",
        "169.254.0.3:53/udp",
        "169.254.0.2:53/tcp",
        "169.254.0.2:53/udp",
        "fe80::1:53/tcp",
        "fe80::1:53/udp",
        "169.254.0.2:9001/tcp",
        "10.0.0.9:80/tcp",
        "fd00::1:81/tcp",
        "169.254.0.9:7/udp",
    )
    assert config.host_services == tuple(map(_service, expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.255.0.0/16", IPv4Network("10.255.0.0/16")),
        ("10.0.0.0-10.255.255.255", (IPv4Address("10.0.0.0"), IPv4Address("10.255.255.255"))),
        ("", None),
        (None, None),
    ],
)
def test_the_range_that_is_not_masqueraded(text: str | None, expected: object) -> None:
    """A network or a range; the template renders none at all as an empty string or null."""
    assert _parse(no_masquerade_cidr_range=text).no_masquerade == expected


def test_everything_that_the_file_says_is_taken() -> None:
    """Both families, the dry run, the daemon's port."""
    config = _parse(
        temporary_underlay_interface_names=["eth1"],
        underlay_ips=["10.0.0.1", "fd01::1"],
        ingress_tag="0000ffff",
        vtep_name="vtep",
        deny_networks={"always": ["10.0.0.0/8"], "staging": ["10.1.2.3/24"]},
        deny_networks_ipv6={"running": ["fd00::/8"]},
        outbound_connections={"limit": True, "logging": True, "burst": 5, "rate_per_sec": 6, "dry_run": True},
        iptables_asg_logging=True,
        iptables_c2c_logging=True,
        iptables_denied_logs_per_sec=2,
        iptables_accepted_udp_logs_per_sec=3,
        delegate={"daemonPort": 23955},
    )
    assert config == CniConfig(
        underlay_interfaces=("eth1",),
        underlay_addresses=(IPv4Address("10.0.0.1"), IPv6Address("fd01::1")),
        ingress_tag=0xFFFF,
        vtep_name="vtep",
        deny_networks=DenyNetworks(always=(IPv4Network("10.0.0.0/8"),), staging=(IPv4Network("10.1.2.0/24"),)),
        deny_networks_ipv6=DenyNetworks(running=(IPv6Network("fd00::/8"),)),
        outbound_connections=OutboundConnections(limit=True, logging=True, burst=5, rate_per_second=6, dry_run=True),
        asg_logging=True,
        c2c_logging=True,
        denied_logs_per_second=2,
        accepted_udp_logs_per_second=3,
        daemon_port=23955,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no_masquerade_cidr_range", "10.0.0.0/99"),
        ("no_masquerade_cidr_range", "10.0.0.9-10.0.0.1"),
        ("no_masquerade_cidr_range", "10.0.0.1-"),
        ("dns_servers", ["localhost"]),
        ("dns_servers", "169.254.0.2"),
        ("host_tcp_services", ["169.254.0.2"]),
        ("host_tcp_services", ["169.254.0.2:0"]),
        ("host_udp_services", ["169.254.0.2:²"]),
        ("underlay_ips", [1]),
        ("ingress_tag", "1_0"),
        ("ingress_tag", "0xffff"),
        ("ingress_tag", 5),
        ("iptables_denied_logs_per_sec", 0),
        ("iptables_asg_logging", 1),
        ("delegate", {"daemonPort": 70000}),
        ("outbound_connections", {"dry_run": "true"}),
        ("deny_networks", {"always": [None]}),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(key: str, value: object) -> None:
    """With the file, and the option that gives another."""
    with pytest.raises(SourceError, match="--cni-config") as caught:
        _parse(**{key: value})
    assert key in str(caught.value)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plugins": []}', '{"plugins": [3]}', "[" * 100_000, "NaN"])
def test_what_is_no_list_of_plugins_is_refused(text: str) -> None:
    """Nothing is invented for it."""
    with pytest.raises(SourceError, match="--cni-config"):
        parse_cni_config(text, where="c")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As every other source's file."""
    with pytest.raises(SourceError) as caught:
        read_cni_config(tmp_path / "absent")
    assert (caught.value.reason, caught.value.source) == (Reason.MISSING, "cni_config")
