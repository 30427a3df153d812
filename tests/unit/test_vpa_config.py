"""VPA's own configuration is read, so that an operator configures nothing."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from c2c_auditor.errors import SourceError
from c2c_auditor.model.cni import DenyNetworks
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config, read_vpa_config
from support.recordings import CELL_NAMES, CELLS, recording


@pytest.mark.parametrize("name", CELL_NAMES)
def test_what_boshs_template_rendered_is_understood(name: str) -> None:
    """Against an independent reading of the same file."""
    text = (CELLS / name / "vxlan-policy-agent.json").read_text()
    given, expected = parse_vpa_config(text, where=name), recording(name).facts.config
    assert expected is not None
    assert given.overlay_networks == expected.overlay_networks
    assert (given.c2c_logging, given.asg_logging, given.overlay_ingress) == (
        expected.c2c_logging,
        expected.asg_logging,
        expected.overlay_ingress,
    )
    assert given.deny_networks_always == expected.deny_networks_always
    assert given.policy_server_url == "https://policy-server.service.cf.internal:4003"


def test_keys_of_later_versions_are_ignored() -> None:
    """And absent ones have VPA's defaults."""
    config = parse_vpa_config('{"something_new": {"a": 1}}', where="x")
    assert config.overlay_networks == (IPv4Network("10.255.0.0/16"),)


def test_a_null_is_a_switch_that_nobody_told() -> None:
    """Only for those that the rules themselves can tell; an absent key is VPA's own "off"."""
    config = parse_vpa_config('{"iptables_c2c_logging": null, "enable_overlay_ingress_rules": null}', where="x")
    assert (config.c2c_logging, config.overlay_ingress) == (None, None)
    absent = parse_vpa_config("{}", where="x")
    assert (absent.c2c_logging, absent.overlay_ingress) == (False, False)
    assert parse_vpa_config('{"disable_container_network_policy": null}', where="x").policy_disabled is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlay_network", "10.255.0.0/99"),
        ("poll_interval", "5"),
        ("poll_interval", 0),
        ("enable_asg_syncing", "yes"),
        ("underlay_ips", "10.0.0.1"),
        ("underlay_ips", ["10.0.0.300"]),
        ("overlay_network", []),
        ("overlay_network", [7]),
        ("overlay_network", {"10.255.0.0/16": 1}),
        ("enable_ipv6", 1),
        ("deny_networks_ipv6", {"always": ["10.0.0.0/8"]}),
        ("deny_networks", {"always": ["fd00::/8"]}),
        ("deny_networks", {"always": "10.0.0.0/8"}),
        ("outbound_connections", {"burst": 1.5}),
        ("poll_interval", 10**400),
        ("overlay_network", ["fd00::/64"]),
        ("client_timeout_seconds", True),
        ("deny_networks", []),
        ("iptables_denied_logs_per_sec", 0),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(key: str, value: object) -> None:
    """Never a silent default."""
    with pytest.raises(SourceError) as caught:
        parse_vpa_config(json.dumps({key: value}), where="vxlan-policy-agent.json")
    assert key in str(caught.value)
    assert "vxlan-policy-agent.json" in str(caught.value)


def test_a_cell_with_ipv6_is_understood() -> None:
    """Since 2025 silk renders its overlay networks as a list, and the VM's addresses of both families."""
    text = """{"overlay_network": ["10.255.0.0/16", "fd00::/48", "10.254.0.0/16"], "enable_ipv6": true,
        "underlay_ips": ["10.0.0.101", "fd01::1"], "deny_networks_ipv6": {"always": ["fd02::/16"]}}"""
    config = parse_vpa_config(text, where="x")
    assert config.overlay_networks == (IPv4Network("10.255.0.0/16"), IPv4Network("10.254.0.0/16"))
    assert config.overlay_networks_ipv6 == (IPv6Network("fd00::/48"),)
    assert config.ipv6
    assert config.deny_networks_ipv6 == DenyNetworks(always=(IPv6Network("fd02::/16"),))
    assert config.underlay_addresses == (IPv4Address("10.0.0.101"),)


def test_half_a_character_is_read_as_go_reads_it() -> None:
    """A path with one names no file, and the reader of that file says so."""
    assert parse_vpa_config('{"ca_cert_file": "/a\\ud800"}', where="x").ca_file == "/a\ufffd"


def test_a_nested_key_is_named_with_its_parent(tmp_path: Path) -> None:
    """And the file it stands in."""
    path = tmp_path / "vxlan-policy-agent.json"
    path.write_text('{"deny_networks": {"running": ["10.0.0"]}}')
    with pytest.raises(SourceError, match=r"vxlan-policy-agent\.json: deny_networks\.running\[0\]: .*10\.0\.0"):
        read_vpa_config(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, '{"x": NaN}', '{"x": %s}' % ("9" * 5000)])
def test_what_is_no_configuration_is_a_clear_error(text: str) -> None:
    """The file is named."""
    with pytest.raises(SourceError, match="some-file"):
        parse_vpa_config(text, where="some-file")
