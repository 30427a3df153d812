"""What an operator applies to get the agent onto cells, interpolated by the real CLI.

Monitoring has its own tests beside this.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from c2c_auditor.config import Config, TlsSettings, parse_config
from c2c_auditor.server.tls import Credentials, tls_context
from support.bosh_cli import bosh
from support.bosh_layout import RELEASE, job
from support.erb import parse_yaml, render
from support.schema import violations

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

RUNTIME = RELEASE / "manifests" / "runtime-config.yml"
OPERATORS = RELEASE / "manifests" / "operators"
ADD = OPERATORS / "cf" / "add-c2c-auditor.yml"
LOOPBACK = OPERATORS / "loopback-only.yml"
SCRAPER_CA = OPERATORS / "metric-scraper-ca.yml"
VERSION = {"c2c_auditor_version": "1.2.3"}

# Shaped like cf-deployment where our ops file meets it.
CF = """
name: cf
releases:
- name: diego
  version: 2.0.0
addons:
- name: bpm
  include: {stemcell: [{os: ubuntu-noble}]}
  jobs: [{name: bpm, release: bpm}]
instance_groups:
- name: diego-cell
  jobs:
  - {name: rep, release: diego}
  - {name: vxlan-policy-agent, release: silk}
variables:
- name: metric_scraper_ca
  type: certificate
  options: {is_ca: true, common_name: metricScraperCA}
"""


def applied(
    base: str | Path,
    *operations: Path,
    tmp_path: Path,
    variables: Mapping[str, str] = VERSION,
    more: tuple[str, ...] = (),
) -> dict[str, Any]:
    """``base``, a file or the text of one, with ``operations`` applied; ``more`` are further options of the CLI."""
    path = base if isinstance(base, Path) else tmp_path / "base.yml"
    if isinstance(base, str):
        path.write_text(base)
    arguments = [argument for operation in operations for argument in ("-o", str(operation))]
    arguments += [argument for name, value in variables.items() for argument in ("-v", f"{name}={value}")]
    manifest: dict[str, Any] = parse_yaml(bosh("int", path, *arguments, *more))
    return manifest


def _only(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [item for item in items if item["name"] == name]
    return found


def _flat(tree: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return flat


def _agent(manifest: Mapping[str, Any]) -> Config:
    """The agent's configuration on a cell that the manifest's addon lands on."""
    addon = _only(manifest["addons"], "c2c_auditor")
    assert addon["include"] == {"jobs": [{"name": "rep", "release": "diego"}]}
    (one,) = addon["jobs"]
    assert (one["name"], one["release"]) == ("c2c_auditor", "c2c-auditor")
    properties = _flat(one.get("properties", {}))
    assert set(properties) <= set(job("c2c_auditor").properties)
    rendered = render(job("c2c_auditor").path, given=properties)
    schema = job("c2c_auditor").schema
    assert list(violations(rendered.properties, schema, schema)) == []
    return parse_config(rendered.files["config/config.json"], where="config.json")


@pytest.fixture
def cf(tmp_path: Path) -> dict[str, Any]:
    """cf-deployment with the agent on its cells.

    Every variable is there, certificates made as a director makes them.
    """
    return applied(CF, ADD, tmp_path=tmp_path, more=("--vars-store", str(tmp_path / "vars.yml"), "--var-errs"))


def test_cf_deployment_gets_the_release_and_the_agent_on_every_cell(tmp_path: Path) -> None:
    """Beside what was there; by the rule that finds isolation segments' cells too, and touching no instance group."""
    cf = applied(CF, ADD, tmp_path=tmp_path)
    assert cf["releases"] == [{"name": "diego", "version": "2.0.0"}, {"name": "c2c-auditor", "version": "1.2.3"}]
    assert [addon["name"] for addon in cf["addons"]] == ["bpm", "c2c_auditor"]
    assert cf["instance_groups"] == parse_yaml(CF)["instance_groups"]
    assert [variable["name"] for variable in cf["variables"]] == ["metric_scraper_ca", "c2c_auditor_tls"]


def test_its_metrics_are_for_clients_of_the_scrapers_ca(cf: Mapping[str, Any], tmp_path: Path) -> None:
    """On all addresses, over TLS, with a server's certificate of cf-deployment's own CA.

    The certificate bears the name under which the server is requested.
    """
    server = _agent(cf).server
    assert server.address == "0.0.0.0"  # noqa: S104 - what Prometheus needs
    assert server.tls is not None
    assert server.tls.client_ca is not None
    tls = _only(cf["addons"], "c2c_auditor")["jobs"][0]["properties"]["c2c_auditor"]["tls"]
    for name, text in (("server.crt", tls["cert"]), ("server.key", tls["key"]), ("ca.crt", tls["ca_cert"])):
        (tmp_path / name).write_text(text)
    files = TlsSettings(certificate=tmp_path / "server.crt", key=tmp_path / "server.key", client_ca=tmp_path / "ca.crt")
    tls_context(Credentials.read(files))
    certificate, ca = (x509.load_pem_x509_certificate(text.encode()) for text in (tls["cert"], tls["ca_cert"]))
    certificate.verify_directly_issued_by(ca)
    assert "metricScraperCA" in ca.subject.rfc4514_string()
    extensions = certificate.extensions
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == [
        tls["server_name"]
    ]
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert isinstance(certificate.public_key(), rsa.RSAPublicKey)  # loggregator's TLS 1.2 takes no other


def test_an_ops_file_without_addons_to_add_to_makes_them(tmp_path: Path) -> None:
    """A manifest need not have any."""
    bare = CF.replace(CF[CF.index("addons:") : CF.index("instance_groups:")], "")
    manifest = applied(bare, ADD, tmp_path=tmp_path)
    assert [addon["name"] for addon in manifest["addons"]] == ["c2c_auditor"]


def test_runtime_config_and_ops_file_install_the_same(tmp_path: Path) -> None:
    """Whichever an operator prefers, with cf-deployment's own CA."""
    runtime, cf = applied(RUNTIME, SCRAPER_CA, tmp_path=tmp_path), applied(CF, ADD, tmp_path=tmp_path)
    assert runtime["addons"] == [_only(cf["addons"], "c2c_auditor")]
    assert runtime["releases"] == [_only(cf["releases"], "c2c-auditor")]
    assert runtime["variables"] == [_only(cf["variables"], "c2c_auditor_tls")]
    assert runtime["variables"][0]["options"]["ca"] == "metric_scraper_ca"


def test_a_runtime_config_needs_a_version(tmp_path: Path) -> None:
    """A director takes no `latest` in one."""
    assert applied(RUNTIME, tmp_path=tmp_path, variables={})["releases"][0]["version"] == "((c2c_auditor_version))"


def test_loopback_only_leaves_the_agents_own_defaults(tmp_path: Path) -> None:
    """No certificate, no variable, nothing beyond 127.0.0.1; metrics leave by prom_scraper."""
    runtime = applied(RUNTIME, LOOPBACK, tmp_path=tmp_path)
    assert runtime["addons"][0]["jobs"][0]["properties"] == {"c2c_auditor": {"prom_scraper": {"enabled": True}}}
    assert "variables" not in runtime
    server = _agent(runtime).server
    assert (server.address, server.tls, server.plaintext) == ("127.0.0.1", None, False)


def test_a_runtime_config_needs_no_variable_of_a_deployment(tmp_path: Path) -> None:
    """A CA of the agents' own is made before what it signs, one for all deployments, and serves as cf-deployment's."""
    more = ("--vars-store", str(tmp_path / "vars.yml"), "--var-errs")
    variables = applied(RUNTIME, tmp_path=tmp_path)["variables"]
    assert [variable["name"] for variable in variables] == ["/c2c_auditor_ca", "c2c_auditor_tls"]
    server = _agent(applied(RUNTIME, tmp_path=tmp_path, more=more)).server
    assert (server.address, server.tls is not None) == ("0.0.0.0", True)  # noqa: S104
    made = parse_yaml((tmp_path / "vars.yml").read_text())
    assert made["c2c_auditor_tls"]["ca"] == made["/c2c_auditor_ca"]["certificate"]


def test_the_monitoring_asks_for_what_the_agents_serve(cf: Mapping[str, Any]) -> None:
    """The same port, and the name that is in the certificate."""
    (config,) = [
        operation["value"]
        for operation in parse_yaml((OPERATORS / "monitor-c2c-auditor.yml").read_text())
        if isinstance(operation.get("value"), dict) and operation["value"].get("job_name") == "c2c_auditor"
    ]
    tls = _only(cf["addons"], "c2c_auditor")["jobs"][0]["properties"]["c2c_auditor"]["tls"]
    assert config["tls_config"]["server_name"] == tls["server_name"]
    assert [
        rule
        for rule in config["relabel_configs"]
        if str(rule.get("replacement", "")).endswith(f":{_agent(cf).server.port}")
    ]


def test_every_manifest_is_tested() -> None:
    """A new one is applied here or in the monitoring's tests, or it is not known to work."""
    names = ("monitor-c2c-auditor", "monitor-c2c-auditor-plaintext", "alertmanager-c2c-auditor")
    monitoring = {OPERATORS / f"{name}.yml" for name in names}
    assert set((RELEASE / "manifests").rglob("*.yml")) == {RUNTIME, ADD, LOOPBACK, SCRAPER_CA, *monitoring}
