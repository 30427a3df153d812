"""The agent's own settings: an empty object is enough, and nothing wrong is silently replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from attrs import fields

from c2c_auditor.config import Config, load_config, parse_config
from c2c_auditor.errors import ConfigError


def test_a_stock_cell_needs_no_settings() -> None:
    """VPA's configuration is at its usual path."""
    config = parse_config("{}", where="c")
    assert config == Config()
    assert config.server.address == "127.0.0.1"


def test_what_is_given_is_taken() -> None:
    """Nested objects, lists, paths."""
    given = {
        "interval": 5,
        "underlay_interfaces": ["eth0"],
        "ingress_tag": "0003",
        "policy_server": {"url": "https://x", "timeout": 3},
    }
    config = parse_config(json.dumps(given), where="c")
    assert (config.interval, config.underlay_interfaces, config.policy_server.timeout) == (5.0, ("eth0",), 3.0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ('{"intervall": 5}', "intervall"),
        ('{"server": {"prot": 1}}', "prot"),
        ('{"interval": "5"}', "interval: "),
        ('{"interval": true}', "interval: "),
        ('{"interval": 0}', "interval"),
        ('{"backend": "nftables"}', "backend"),
        ('{"server": 3}', "server: "),
        ('{"server": {"port": 70000}}', "port"),
        ('{"server": {"health_port": 70000}}', "health_port"),
        ('{"server": {"health_port": "9764"}}', "health_port"),
        ('{"server": {"address": "0.0.0.0"}}', "needs TLS"),
        ('{"server": {"address": "localhost"}}', "no IP address"),
        ('{"server": {"tls": {"certificate": "x"}}}', "key"),
        ('{"ingress_tag": "zz"}', "zz"),
        ('{"ingress_tag": "1_0"}', "1_0"),
        ('{"ingress_tag": "0x3"}', "0x3"),
        ('{"ingress_tag": "100000000"}', "100000000"),
        ('{"interval": NaN}', "NaN"),
        ('{"interval": 1e999}', "interval: "),
        ('{"interval": %s}' % ("9" * 400), "interval: "),
        ('{"interval": %s}' % ("9" * 5000), "JSON"),
        ('{"store": "a\\u0000b"}', "store: "),
        ('{"store": "\\ud800"}', "store: "),
        ('{"backend": "\\ud800"}', "backend: "),
        ('{"underlay_interfaces": "eth0"}', "underlay_interfaces: "),
        ('{"processes": 1}', "processes: "),
        ('{"server": {"port": 1.0}}', "server.port: "),
        ("[" * 100_000, "nested"),
        ('{"host_services": ["169.254.0.2:53"]}', "ADDRESS:PORT/udp"),
        ('{"host_services": ["169.254.0.2:0/udp"]}', "169.254.0.2:0/udp"),
        ("[]", "object"),
        ("{", "JSON"),
    ],
)
def test_what_is_wrong_is_refused_by_name(given: str, named: str) -> None:
    """With the file, the key, and what is allowed."""
    with pytest.raises(ConfigError) as caught:
        parse_config(given, where="auditor.json")
    assert "auditor.json" in str(caught.value)
    assert named in str(caught.value)


def test_plaintext_beyond_loopback_can_be_asked_for() -> None:
    """Explicitly."""
    assert parse_config('{"server": {"address": "0.0.0.0", "plaintext": true}}', where="c").server.plaintext


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the option that gives another."""
    with pytest.raises(ConfigError, match="--config"):
        load_config(tmp_path / "absent.json")


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    """A FIFO in its place would be waited for, for ever."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="a FIFO"):
        load_config(tmp_path / "fifo")


def test_the_readme_names_every_setting() -> None:
    """One home per setting, and one row in the README."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [one.name for one in fields(Config) if f"`{one.name}`" not in readme] == []
