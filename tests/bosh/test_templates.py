"""The cell's job as a cell gets it: every template rendered, and its result read by who will read it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from attrs import evolve

from c2c_auditor.cli import cli
from c2c_auditor.config import Config, PolicyServerSettings, ServerSettings, TlsSettings, parse_config
from c2c_auditor.errors import ConfigError
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.server import Answers, ServerProcess
from c2c_auditor.server.tls import Credentials, tls_context
from c2c_auditor.sources.declared import DeclaredRuleSettings
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config
from support.bosh_layout import job
from support.erb import Rendered, RenderError, parse_yaml
from support.erb import render as render_job
from support.recordings import CELLS
from support.reports import clean_report
from support.schema import violations

CERTS = Path("/var/vcap/jobs/c2c_auditor/config/certs")
_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TLS = {
    "c2c_auditor.tls.cert": _PEM,
    "c2c_auditor.tls.key": _PEM,
    "c2c_auditor.tls.ca_cert": _PEM,
    "c2c_auditor.tls.server_name": "c2c_auditor",
}
_SCRAPED = {"c2c_auditor.prom_scraper.enabled": True}
OWN = {f"c2c_auditor.policy_server.{name}": f"own {name}" for name in ("ca_cert", "client_cert", "client_key")}
VPA = {
    "vpa": {
        "properties": {
            "ca_cert": "CA",
            "client_cert": "CERT",
            "client_key": "KEY",
            "force_policy_poll_cycle_port": 8722,
        }
    }
}
CNI = {
    "iptables_logging": True,
    "iptables_denied_logs_per_sec": 7,
    "deny_networks": {"always": ["192.0.2.0/24"], "running": ["198.51.100.0/24"], "staging": []},
    "outbound_connections": {"limit": True, "burst": 20, "rate_per_sec": 30},
}
FROM_PROPERTIES = {"c2c_auditor.vpa.source": "properties"}


def render(given: Mapping[str, Any] | None = None, links: Mapping[str, Any] | None = None, **spec: Any) -> Rendered:  # noqa: ANN401 - the instance's fields
    """The job c2c_auditor."""
    return render_job(job("c2c_auditor").path, given=given, links=links, spec=spec)


def configured(given: Mapping[str, Any] | None = None, links: Mapping[str, Any] | None = None) -> Config:
    """The rendered configuration, as the agent itself reads it."""
    return parse_config(render(given, links).files["config/config.json"], where="config.json")


def vpa_told(given: Mapping[str, Any] | None = None, links: Mapping[str, Any] | None = None) -> VpaConfig:
    """What stands in for VPA's configuration, as the agent itself reads it."""
    text = render({**FROM_PROPERTIES, **(given or {})}, {**VPA, **(links or {})}).files[
        "config/vxlan-policy-agent.json"
    ]
    return parse_vpa_config(text, where="vxlan-policy-agent.json")


# What a stock cell gets


def test_a_stock_cell_runs_on_the_agents_own_defaults() -> None:
    """The defaults of spec and agent are the same; only the doors for post-start and for root are added."""
    socket = Path("/var/vcap/data/c2c_auditor/tmp/agent.sock")
    assert configured() == Config(server=ServerSettings(health_port=9764, socket=socket))


def test_a_stock_cells_process_is_bound_and_unprivileged() -> None:
    """Two capabilities, limits, nothing writable, no PATH; and of the other jobs the five files that are needed."""
    (process,) = parse_yaml(render().files["config/bpm.yml"])["processes"]
    mounted = [volume["path"] for volume in process["unsafe"].pop("unrestricted_volumes")]
    assert process == {
        "name": "c2c_auditor",
        "executable": "/var/vcap/packages/c2c_auditor/bin/c2c-auditor",
        "args": ["daemon", "--config", "/var/vcap/jobs/c2c_auditor/config/config.json"],
        "capabilities": ["NET_ADMIN", "NET_RAW"],
        "limits": {"memory": "768M", "processes": 64, "open_files": 1024},
        "additional_volumes": [{"path": "/var/vcap/data/container-metadata"}],
        "unsafe": {"host_pid_namespace": True},
    }
    told = json.loads((CELLS / "pair" / "vxlan-policy-agent.json").read_text())  # as silk's own template rendered it
    assert mounted == [
        str(Config().vpa_config),
        told["ca_cert_file"],
        told["client_cert_file"],
        told["client_key_file"],
        str(Config().cni_config),
    ]
    assert VpaConfig().store_file.startswith(process["additional_volumes"][0]["path"])


def test_the_cni_wrappers_configuration_is_mounted_where_it_is() -> None:
    """With VPA's, and not without."""
    given = {"c2c_auditor.cni_config": "/var/vcap/data/cni.conflist"}
    (process,) = parse_yaml(render(given).files["config/bpm.yml"])["processes"]
    assert process["unsafe"]["unrestricted_volumes"][-1] == {"path": "/var/vcap/data/cni.conflist", "mount_only": True}
    (process,) = parse_yaml(render({**given, **FROM_PROPERTIES}, VPA).files["config/bpm.yml"])["processes"]
    assert "unrestricted_volumes" not in process["unsafe"]


def test_nothing_is_created_or_written_in_another_jobs_directory() -> None:
    """A directory that bpm makes there looks like a broken job to others."""
    (process,) = parse_yaml(render().files["config/bpm.yml"])["processes"]
    for volume in (*process["additional_volumes"], *process["unsafe"]["unrestricted_volumes"]):
        assert not volume.get("writable")
        assert not volume.get("allow_executions")
    assert all(volume["mount_only"] for volume in process["unsafe"]["unrestricted_volumes"])


def test_where_prom_scraper_is_to_scrape_it_finds_the_agent() -> None:
    """In plain HTTP on loopback; the origin is what the firehose's exporter names the metrics by."""
    assert parse_yaml(render(_SCRAPED).files["config/prom_scraper_config.yml"]) == {
        "port": 9763,
        "source_id": "c2c_auditor",
        "instance_id": "6e5a1d5c-38f7-4f0c-9d6b-0c2a7f4b8e11",
        "labels": {"origin": "c2c_auditor"},
    }
    assert parse_yaml(render(_SCRAPED, id=None).files["config/prom_scraper_config.yml"])["instance_id"] == "3"


def test_a_stock_cell_holds_no_certificate() -> None:
    """VPA's own are read where they are; no copy of a key lies about."""
    files = render(links=VPA).files
    assert {name: files[name].strip() for name in files if name.startswith("config/certs/")} == dict.fromkeys(
        (f"config/certs/{name}" for name in _CERTS), ""
    )


_CERTS = (
    "server.crt",
    "server.key",
    "client_ca.crt",
    "policy_server_ca.crt",
    "policy_server_client.crt",
    "policy_server_client.key",
)


# Spec and configuration do not drift apart

# property → its value here, and the setting that it becomes
SETTINGS: Mapping[str, tuple[Any, str, Any]] = {
    "web.address": ("127.0.0.2", "server.address", "127.0.0.2"),
    "web.port": (9000, "server.port", 9000),
    "web.allow_anonymous": (True, "server.plaintext", True),
    "web.ready_max_age": (60, "server.ready_max_age", 60.0),
    "web.local_port": (9002, "server.local_port", 9002),
    "web.socket": ("/var/vcap/data/c2c_auditor/s", "server.socket", Path("/var/vcap/data/c2c_auditor/s")),
    "health.port": (9001, "server.health_port", 9001),
    "backend": ("nft", "backend", "nft"),
    "iptables_bin_dir": ("/opt/sbin", "iptables_bin_dir", Path("/opt/sbin")),
    "interval": (5, "interval", 5.0),
    "grace": (7, "grace", 7.0),
    "max_age": (8, "max_age", 8.0),
    "read_timeout": (9, "read_timeout", 9.0),
    "witness_interval": (90, "witness_interval", 90.0),
    "underlay_interfaces": (["eth1"], "underlay_interfaces", ("eth1",)),
    "cni_config": ("/var/vcap/data/cni.conflist", "cni_config", Path("/var/vcap/data/cni.conflist")),
    "ingress_tag": ("0003", "ingress_tag", "0003"),
    "host_services": (["169.254.0.2:53/udp"], "host_services", ("169.254.0.2:53/udp",)),
    "declared_rules": (
        [{"rule": "-A FORWARD -i br0 -j ACCEPT", "reason": "backup"}],
        "declared_rules",
        (DeclaredRuleSettings(rule="-A FORWARD -i br0 -j ACCEPT", reason="backup"),),
    ),
    "policy_server.timeout": (3, "policy_server.timeout", 3.0),
    "bpm.host_pid_namespace": (False, "processes", False),
}
# Settings that take more than one property: each has a test of its own below.
TOGETHER = {"vpa_config", "policy_server.ca", "policy_server.certificate", "policy_server.key"} | {
    f"server.tls.{name}" for name in ("certificate", "key", "client_ca")
}
NOT_REACHABLE = {
    "store": "bpm mounts the one directory in which silk keeps it, and VPA's configuration says which file it is",
    "policy_server.url": "VPA's configuration says it, mounted or made from c2c_auditor.vpa.policy_server_url",
    "server.user": "bpm starts the agent as vcap, which is not root and cannot become another user",
    "server.threads": "scrapers and operators are few; what they wait for is bounded otherwise",
}


def _names(cls: type, at: str = "") -> set[str]:
    nested = {"server": ServerSettings, "tls": TlsSettings, "policy_server": PolicyServerSettings}
    names: set[str] = set()
    for one in attrs.fields(cls):
        names |= _names(nested[one.name], f"{at}{one.name}.") if one.name in nested else {f"{at}{one.name}"}
    return names


def _setting(config: object, name: str) -> object:
    for key in name.split("."):
        config = getattr(config, key)
    return config


def test_every_setting_has_a_property_or_a_reason() -> None:
    """A new setting of the agent is either given a property or a line here."""
    assert _names(Config) == {name for _, name, _ in SETTINGS.values()} | TOGETHER | set(NOT_REACHABLE)


def test_each_property_reaches_its_setting_and_no_other() -> None:
    """All at once, each with a value that is not the default."""
    config, stock = (
        configured({f"c2c_auditor.{name}": value for name, (value, _, _) in SETTINGS.items()}),
        configured(),
    )
    for _, name, expected in SETTINGS.values():
        assert _setting(config, name) == expected != _setting(stock, name), name
    for name in (
        _names(Config)
        - {name for _, name, _ in SETTINGS.values()}
        - {f"server.tls.{one}" for one in ("certificate", "key", "client_ca")}
    ):
        assert _setting(config, name) == _setting(stock, name), name


def _bounds(schema: Mapping[str, Any], root: Mapping[str, Any], at: str = "") -> dict[str, tuple[float, float]]:
    """The numbers of the schema with both bounds, by property."""
    if "$ref" in schema:
        return _bounds(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "minimum" in schema and "maximum" in schema:
        return {at: (schema["minimum"], schema["maximum"])}
    inner = schema.get("properties", {}).items()
    return {
        name: bounds
        for key, value in inner
        for name, bounds in _bounds(value, root, f"{at}.{key}" if at else key).items()
    }


_SCHEMA = json.loads((Path(__file__).parents[2] / "bosh-release/jobs/c2c_auditor/properties_schema.json").read_text())
_BOUNDS = _bounds(_SCHEMA, _SCHEMA)


@pytest.mark.parametrize("name", _BOUNDS)
def test_bounds_are_the_same_for_director_template_and_agent(name: str) -> None:
    """What the schema takes is rendered and runs.

    What is beyond is refused by the schema, by the template, and by the agent.
    """
    setting = SETTINGS.get(name.removeprefix("c2c_auditor."), (None, "", None))[1]
    least, most = _BOUNDS[name]
    for value, taken in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
        nested = {**render_tree(name, value)}
        assert (not any(violations(nested, _SCHEMA, _SCHEMA))) is taken
        if taken:
            configured({name: value})
            continue
        with pytest.raises(RenderError, match=name.replace(".", r"\.")):
            render({name: value})
        if setting:
            with pytest.raises(ConfigError, match=setting.rpartition(".")[2]):
                parse_config(json.dumps(render_tree(setting, value if value != 0 else -1)), where="x")


def render_tree(name: str, value: object) -> dict[str, Any]:
    """``a.b`` and a value as nested objects."""
    *path, last = name.split(".")
    tree: dict[str, Any] = {last: value}
    for key in reversed(path):
        tree = {key: tree}
    return tree


# TLS


def test_with_tls_everything_is_served_and_scraped_over_it(tmp_path: Path) -> None:
    """The rendered files are a certificate, its key and a bundle of CAs that the agent's own server takes."""
    ca, other = trustme.CA(), trustme.CA()
    leaf = ca.issue_cert("auditor.cell")
    given = {
        "c2c_auditor.tls.cert": leaf.cert_chain_pems[0].bytes().decode(),
        "c2c_auditor.tls.key": leaf.private_key_pem.bytes().decode(),
        "c2c_auditor.tls.ca_cert": ca.cert_pem.bytes().decode() + other.cert_pem.bytes().decode(),
        "c2c_auditor.tls.server_name": "c2c_auditor",
        "c2c_auditor.web.address": "0.0.0.0",  # noqa: S104 - what Prometheus needs
        **_SCRAPED,
    }
    rendered = render(given)
    server = configured(given).server
    assert server.tls == TlsSettings(
        certificate=CERTS / "server.crt", key=CERTS / "server.key", client_ca=CERTS / "client_ca.crt"
    )
    assert not server.plaintext
    for name in ("server.crt", "server.key", "client_ca.crt"):
        (tmp_path / name).write_text(rendered.files[f"config/certs/{name}"])
    files = TlsSettings(
        certificate=tmp_path / "server.crt", key=tmp_path / "server.key", client_ca=tmp_path / "client_ca.crt"
    )
    context = tls_context(Credentials.read(files))
    assert len(context.get_ca_certs()) == 2
    scrape = parse_yaml(rendered.files["config/prom_scraper_config.yml"])
    assert (scrape["scheme"], scrape["server_name"]) == ("https", "c2c_auditor")


def test_a_stock_cell_is_not_scraped_twice() -> None:
    """Prometheus scrapes it. prom_scraper skips an empty file, and TLS then needs no name."""
    given = {**TLS, "c2c_auditor.tls.server_name": None}
    assert render(given).files["config/prom_scraper_config.yml"].strip() == ""


def test_a_name_is_quoted_as_yaml_wants_it() -> None:
    """Whatever it is made of."""
    given = {**TLS, **_SCRAPED, "c2c_auditor.tls.server_name": "*.cell: # yes"}
    assert parse_yaml(render(given).files["config/prom_scraper_config.yml"])["server_name"] == "*.cell: # yes"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tls.cert": _PEM}, "tls.key is not"),
        ({"tls.key": _PEM}, "tls.cert is not"),
        ({"tls.ca_cert": _PEM}, "no TLS to demand client certificates in"),
        ({"tls.cert": "x", "tls.key": _PEM, "tls.server_name": "x"}, "tls.cert is no PEM"),
        ({"tls.cert": _PEM, "tls.key": _PEM, "prom_scraper.enabled": True}, "tls.server_name must be set"),
        (
            {"tls.cert": _PEM, "tls.key": _PEM, "tls.server_name": "", "prom_scraper.enabled": True},
            "prom_scraper panics",
        ),
        ({"web.address": "0.0.0.0"}, "app containers included"),  # noqa: S104 - refused is what it is to be
        ({"web.address": "0.0.0.0", "tls.cert": _PEM, "tls.key": _PEM, "tls.server_name": "x"}, "allow_anonymous"),  # noqa: S104 - as above
        (
            {"web.address": "10.0.0.101", "web.allow_anonymous": True, "prom_scraper.enabled": True},
            "out of reach for prom_scraper",
        ),
        ({"web.address": "localhost"}, "must be an IP address"),
        ({"web.port": 9764}, "are both 9764"),
        ({"web.port": "9763"}, 'whole number from 1 to 65535, not "9763"'),
        ({"web.port": 97.5}, "whole number"),
        ({"web.allow_anonymous": "yes"}, "true or false"),
        ({"interval": "15"}, "must be a number"),
        ({"witness_interval": 30}, "or at least 60"),
        ({"backend": "nftables"}, "auto, nft, legacy"),
        ({"ingress_tag": 3}, "in quotes"),
        ({"ingress_tag": "0000"}, "hexadecimal"),
        ({"ingress_tag": "0x3"}, "hexadecimal"),
        ({"cni_config": "cni.conflist"}, "absolute path"),
        ({"underlay_interfaces": "eth0"}, "list of names"),
        ({"host_services": ["169.254.0.2:53"]}, "169.254.0.2:53/udp"),
        ({"declared_rules": "-A FORWARD -j ACCEPT"}, "list of rule and reason"),
        ({"declared_rules": [{"rule": "-A FORWARD -j ACCEPT"}]}, "each rule needs reason"),
        ({"declared_rules": [{"rule": "-A FORWARD -j ACCEPT", "reason": "x", "table": "raw"}]}, "rule, reason, ipv6"),
        ({"policy_server.ca_cert": "x"}, "all or none"),
        ({"vpa.source": "guess"}, "mounted, properties"),
        ({"vpa.source": "properties"}, "certificates for the policy server"),
        ({"bpm.memory_limit": "768"}, "a number and M or G"),
        ({"prom_scraper.enabled": "true"}, "true or false"),
        ({"post_start.required": 1}, "true or false"),
    ],
)
def test_what_contradicts_itself_is_refused(given: Mapping[str, Any], named: str) -> None:
    """At deployment, by name, before any cell is touched."""
    with pytest.raises(RenderError, match=named):
        render({f"c2c_auditor.{name}": value for name, value in given.items()})


def test_beyond_loopback_the_switch_or_client_certificates_are_enough() -> None:
    """Each by itself."""
    everywhere = {"c2c_auditor.web.address": "0.0.0.0"}  # noqa: S104 - under test
    assert configured({**everywhere, **TLS}).server.tls is not None
    assert configured({**everywhere, "c2c_auditor.web.allow_anonymous": True}).server.plaintext


# Links


def test_the_iptables_of_garden_are_used_unless_others_are_named() -> None:
    """Its link tells the directory; a garden that tells none leaves it to PATH."""
    link = {"iptables": {"properties": {"garden": {"iptables_bin_dir": "/var/vcap/packages/iptables/sbin"}}}}
    assert configured(links=link).iptables_bin_dir == Path("/var/vcap/packages/iptables/sbin")
    assert configured({"c2c_auditor.iptables_bin_dir": "/sbin"}, link).iptables_bin_dir == Path("/sbin")
    assert (
        configured(links={"iptables": {"properties": {"garden": {"iptables_bin_dir": None}}}}).iptables_bin_dir is None
    )


def test_own_certificates_for_the_policy_server_come_before_vpas() -> None:
    """Wherever VPA's settings come from."""
    for given in (OWN, {**OWN, **FROM_PROPERTIES}):
        rendered = render(given, VPA)
        assert rendered.files["config/certs/policy_server_client.key"].strip() == "own client_key"
        server = configured(given, VPA).policy_server
        assert (server.ca, server.certificate, server.key) == tuple(
            CERTS / f"policy_server_{name}" for name in ("ca.crt", "client.crt", "client.key")
        )


def test_where_vpas_files_are_not_mounted_its_link_brings_the_certificates() -> None:
    """And nothing of another job is mounted."""
    rendered = render(FROM_PROPERTIES, VPA)
    held = [
        rendered.files[f"config/certs/policy_server_{name}"].strip() for name in ("ca.crt", "client.crt", "client.key")
    ]
    assert held == ["CA", "CERT", "KEY"]
    config = configured(FROM_PROPERTIES, VPA)
    assert config.policy_server.key == CERTS / "policy_server_client.key"
    assert config.vpa_config == Path("/var/vcap/jobs/c2c_auditor/config/vxlan-policy-agent.json")
    assert "unrestricted_volumes" not in parse_yaml(rendered.files["config/bpm.yml"])["processes"][0]["unsafe"]


# VPA's settings from properties and links


def test_from_properties_alone_vpa_is_as_silk_ships_it() -> None:
    """Settings that are not given, and that the rules can show, are not known."""
    assert vpa_told() == evolve(
        VpaConfig(),
        policy_server_url="https://policy-server.service.cf.internal:4003",
        asg_syncing=True,
        underlay_addresses=(IPv4Address("10.0.0.101"),),
        c2c_logging=None,
        overlay_ingress=None,
    )


def test_links_tell_the_rest_of_silk() -> None:
    """The overlay, and what silk-cni and VPA share."""
    told = vpa_told(
        links={"cf_network": {"properties": {"network": "10.200.0.0/16"}}, "cni_config": {"properties": CNI}}
    )
    assert told.overlay_networks == (IPv4Network("10.200.0.0/16"),)
    assert (told.asg_logging, told.connection_limit_logging, told.denied_logs_per_second) == (True, True, 7)
    assert (told.deny_networks_always, told.deny_networks_running) == (
        (IPv4Network("192.0.2.0/24"),),
        (IPv4Network("198.51.100.0/24"),),
    )
    assert (told.connection_limit, told.connection_burst, told.connection_rate_per_second) == (True, 20, 30)


def test_an_overlay_of_two_families_is_taken_as_silk_gives_it() -> None:
    """Newer silk has a list; IPv4 is what is audited."""
    told = vpa_told(links={"cf_network": {"properties": {"network": ["10.200.0.0/16", "fd00::/64"]}}})
    assert told.overlay_networks == (IPv4Network("10.200.0.0/16"),)


def test_a_link_without_its_properties_is_as_good_as_none() -> None:
    """Providers of other versions."""
    assert vpa_told(links={"cf_network": {"properties": {}}, "cni_config": {"properties": {}}}) == vpa_told()


# property → its value here, and the field of VPA's configuration that it becomes
TOLD: Mapping[str, tuple[Any, str, Any]] = {
    "policy_server_url": ("https://x:1", "policy_server_url", "https://x:1"),
    "policy_poll_interval_seconds": (9, "poll_interval", 9.0),
    "enable_asg_syncing": (False, "asg_syncing", False),
    "asg_poll_interval_seconds": (90, "asg_poll_interval", 90.0),
    "iptables_logging": (True, "c2c_logging", True),
    "iptables_accepted_udp_logs_per_sec": (50, "accepted_udp_logs_per_second", 50),
    "enable_overlay_ingress_rules": (True, "overlay_ingress", True),
    "disable_container_network_policy": (True, "policy_disabled", True),
    "overlay_network": (
        ["10.1.0.0/16", "10.2.0.0/16"],
        "overlay_networks",
        tuple(map(IPv4Network, ("10.1.0.0/16", "10.2.0.0/16"))),
    ),
    "cni.iptables_logging": (False, "asg_logging", False),
    "cni.iptables_denied_logs_per_sec": (2, "denied_logs_per_second", 2),
    "cni.deny_networks": ({"staging": ["10.9.0.0/16"]}, "deny_networks_staging", (IPv4Network("10.9.0.0/16"),)),
    "cni.outbound_connections": ({"limit": True, "burst": 5}, "connection_burst", 5),
}
# The rest of VPA's configuration, and where it is from.
TOLD_OTHERWISE = {
    "underlay_addresses": "the instance's own networks",
    "overlay_networks_ipv6": "c2c_auditor.vpa.overlay_network",
    "ipv6": "silk's default; on a cell with IPv6 VPA's own configuration is to be mounted",
    "deny_networks_ipv6": "as above",
    "ca_file": "policy_server of the agent's configuration",
    "certificate_file": "as above",
    "key_file": "as above",
    "client_timeout": "c2c_auditor.policy_server.timeout",
    "store_file": "silk's own fixed path",
    "deny_networks_always": "c2c_auditor.vpa.cni.deny_networks",
    "deny_networks_running": "as above",
    "connection_limit": "c2c_auditor.vpa.cni.outbound_connections",
    "connection_limit_logging": "c2c_auditor.vpa.cni.iptables_logging",
    "connection_rate_per_second": "c2c_auditor.vpa.cni.outbound_connections",
}


def test_every_setting_of_vpa_can_be_told() -> None:
    """A new one that the agent reads is given a property or a line here."""
    assert {one.name for one in attrs.fields(VpaConfig)} == {name for _, name, _ in TOLD.values()} | set(TOLD_OTHERWISE)


def test_each_property_comes_before_the_links() -> None:
    """All at once, beside links that say something else."""
    links = {"cf_network": {"properties": {"network": "10.200.0.0/16"}}, "cni_config": {"properties": CNI}}
    told = vpa_told({f"c2c_auditor.vpa.{name}": value for name, (value, _, _) in TOLD.items()}, links)
    for _, name, expected in TOLD.values():
        assert getattr(told, name) == expected, name
    assert (told.deny_networks_always, told.connection_limit_logging) == ((), False)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("policy_server_url", "http://x", "with https"),
        ("policy_poll_interval_seconds", 0, "above 0"),
        ("enable_asg_syncing", "yes", "true or false"),
        ("iptables_logging", "no", "true or false"),
        ("overlay_network", "10.255.0.0/99", "address range"),
        ("overlay_network", 10, "address range"),
        ("cni.deny_networks", {"always": ["all"]}, "address range"),
        ("cni.outbound_connections", {"burst": 0}, "above 0"),
    ],
)
def test_what_cannot_be_vpas_is_refused(name: str, value: object, named: str) -> None:
    """By name, at deployment."""
    with pytest.raises(RenderError, match=rf"c2c_auditor\.vpa\.{name.replace('.', '[.]')}.*{named}"):
        render({**FROM_PROPERTIES, f"c2c_auditor.vpa.{name}": value}, VPA)


# Scripts


def test_scripts_are_sound(tmp_path: Path) -> None:
    """Bash parses them, whatever else they do."""
    for name, text in render().files.items():
        if name.startswith("bin/"):
            script = tmp_path / Path(name).name
            script.write_text(text)
            subprocess.run(("bash", "-n", str(script)), check=True)


def test_operators_get_the_cells_own_configuration(tmp_path: Path) -> None:
    """For each command that takes one; `daemon` is not for operators, and what needs no configuration gets none."""
    script = tmp_path / "c2c-auditor"
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script.write_text(
        render().files["bin/c2c-auditor"].replace("/var/vcap/packages/c2c_auditor/bin/c2c-auditor", str(program))
    )
    for name, command in cli.commands.items():
        done = subprocess.run(
            ("bash", str(script), name, "--format", "x y"), capture_output=True, text=True, check=True
        )
        takes = name != "daemon" and any("--config" in parameter.opts for parameter in command.params)
        config = "--config /var/vcap/jobs/c2c_auditor/config/config.json " if takes else ""
        assert done.stdout == f"{name} {config}--format x y\n"
    assert subprocess.run(("bash", str(script)), capture_output=True, text=True, check=True).stdout == "\n"


def _post_start(tmp_path: Path, given: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    for tool in ("bash", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    script = tmp_path / "post-start"
    script.write_text(render({"c2c_auditor.post_start.timeout": 1, **given}).files["bin/post-start"])
    return subprocess.run(("bash", str(script)), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """The agent's real server, which refuses clients without a certificate."""
    ca = trustme.CA()
    leaf = ca.issue_cert("auditor.cell")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "server.crt"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    tls = TlsSettings(certificate=tmp_path / "server.crt", key=tmp_path / "server.key", client_ca=tmp_path / "ca.crt")
    with ServerProcess(ServerSettings(port=0, health_port=0, tls=tls), Answers().answer) as running:
        yield running


def _health_port(server: ServerProcess) -> dict[str, Any]:
    assert server.health_address is not None
    return {"c2c_auditor.health.port": int(server.health_address.rpartition(":")[2])}


def test_post_start_waits_until_the_agent_is_ready(guarded: ServerProcess, tmp_path: Path) -> None:
    """Without a certificate, although the agent demands them of everybody else."""
    guarded.publish(evolve(clean_report(), time=time.time(), last_conclusive=time.time()))
    done = _post_start(tmp_path, {**_health_port(guarded), "c2c_auditor.post_start.timeout": 10})
    assert (done.returncode, done.stderr) == (0, "")
    assert "ready: the last conclusive audit was" in done.stdout


def test_post_start_fails_with_what_to_do_when_the_agent_is_blind(guarded: ServerProcess, tmp_path: Path) -> None:
    """Within its time, where that is wanted. Without being told so it stops no deployment."""
    done = _post_start(tmp_path, {**_health_port(guarded), "c2c_auditor.post_start.required": True})
    assert done.returncode == 1
    assert "not ready within 1 s: no audit could judge everything yet" in done.stderr
    assert "bin/c2c-auditor audit" in done.stderr
    done = _post_start(tmp_path, _health_port(guarded))
    assert done.returncode == 0
    assert "goes on all the same" in done.stderr


def test_post_start_tells_an_agent_that_is_not_there_from_one_that_is_blind(tmp_path: Path) -> None:
    """Nobody listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = _post_start(tmp_path, {"c2c_auditor.health.port": port})
    assert done.returncode == 0
    assert "does not answer" in done.stderr
    assert "stderr.log" in done.stderr
