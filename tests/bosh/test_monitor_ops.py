"""The ops file for prometheus-boshrelease's manifest, applied by the real bosh CLI.

What comes out is what Prometheus takes.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.bosh_cli import bosh
from support.bosh_layout import RELEASE, job
from support.erb import parse_yaml

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

ALERTMANAGER = RELEASE / "manifests" / "operators" / "alertmanager-c2c-auditor.yml"
MONITOR = RELEASE / "manifests" / "operators" / "monitor-c2c-auditor.yml"

VARIABLES = {
    "metrics_environment": "prod",
    "c2c_auditor_version": "1.2.3",
    "grafana_url": "https://grafana.example.com",
    "c2c_auditor_receiver": "default",
    "c2c_auditor_critical_receiver": "pager",
    "c2c_auditor_scrape_ca_name": "/director/cf/metric_scraper_ca",
}

# The parts of prometheus-boshrelease's manifest that are touched, and a neighbour of each that must stay.
MANIFEST = """
name: prometheus
instance_groups:
- name: alertmanager
  jobs:
  - name: alertmanager
    release: prometheus
    properties:
      alertmanager:
        route: {receiver: default}
        receivers: [{name: default}, {name: pager}]
- name: prometheus
  jobs:
  - name: prometheus
    release: prometheus
    properties:
      prometheus:
        rule_files: [/var/vcap/jobs/prometheus_alerts/*.alerts.yml]
        scrape_configs:
        - job_name: prometheus
          static_configs: [{targets: ["localhost:9090"]}]
  - name: prometheus_alerts
    release: prometheus
- name: grafana
  jobs:
  - name: grafana
    release: prometheus
    properties:
      grafana:
        prometheus:
          dashboard_folders:
          - name: Prometheus
            files: [/var/vcap/jobs/prometheus_dashboards/*.json]
variables:
- name: grafana_password
  type: password
releases:
- name: prometheus
  version: 31.0.0
"""


def applied(directory: Path, operations: Path = MONITOR, manifest: str = MANIFEST) -> dict[str, Any]:
    """The manifest after ``operations``, every variable given that an operator gives."""
    path = directory / "prometheus.yml"
    path.write_text(manifest)
    variables = [argument for name, value in VARIABLES.items() for argument in ("-v", f"{name}={value}")]
    result: dict[str, Any] = parse_yaml(bosh("int", str(path), "-o", str(operations), *variables))
    return result


def jobs(manifest: dict[str, Any], group: str) -> dict[str, Any]:
    """One instance group's jobs by name."""
    (found,) = (each for each in manifest["instance_groups"] if each["name"] == group)
    return {job["name"]: job for job in found["jobs"]}


def scrape_config(manifest: dict[str, Any], name: str = "prometheus") -> dict[str, Any]:
    """Ours."""
    configs = jobs(manifest, name)[name]["properties"]["prometheus"]["scrape_configs"]
    (ours,) = (config for config in configs if config["job_name"] == "c2c_auditor")
    return dict(ours)


def test_jobs_rules_and_dashboards(tmp_path: Path) -> None:
    """Both jobs come from this release, and nothing that was there goes.

    Their files are where the manifest looks for them.
    """
    manifest = applied(tmp_path)
    assert manifest["releases"] == [
        {"name": "prometheus", "version": "31.0.0"},
        {"name": "c2c-auditor", "version": "1.2.3"},
    ]
    prometheus, grafana = jobs(manifest, "prometheus"), jobs(manifest, "grafana")
    alerts = prometheus["c2c_auditor_alerts"]
    assert (alerts["name"], alerts["release"]) == ("c2c_auditor_alerts", "c2c-auditor")
    assert alerts["properties"] == {"c2c_auditor_alerts": {"grafana_url": "https://grafana.example.com"}}
    assert scrape_config(manifest)["scrape_interval"] == "30s"
    assert "c2c_auditor_alerts.grafana_url" in job("c2c_auditor_alerts").properties
    assert grafana["c2c_auditor_dashboards"] == {"name": "c2c_auditor_dashboards", "release": "c2c-auditor"}
    assert set(prometheus) == {"prometheus", "prometheus_alerts", "c2c_auditor_alerts"}
    kept, rules = prometheus["prometheus"]["properties"]["prometheus"]["rule_files"]
    assert kept == "/var/vcap/jobs/prometheus_alerts/*.alerts.yml"
    folders = grafana["grafana"]["properties"]["grafana"]["prometheus"]["dashboard_folders"]
    assert [folder["name"] for folder in folders] == ["Prometheus", "c2c-auditor"]
    (dashboards,) = folders[1]["files"]
    for name, pattern in (("c2c_auditor_alerts", rules), ("c2c_auditor_dashboards", dashboards)):
        rendered = [f"/var/vcap/jobs/{name}/{destination}" for destination in job(name).spec["templates"].values()]
        assert fnmatch.filter(rendered, pattern) == rendered != []


def test_alertmanager_takes_the_routes(tmp_path: Path) -> None:
    """Both receivers get theirs: grouped by deployment; and nothing that was there goes."""
    properties = jobs(applied(tmp_path, ALERTMANAGER), "alertmanager")["alertmanager"]["properties"]["alertmanager"]
    assert properties["route"]["receiver"] == "default"
    amtool = shutil.which("amtool")
    if amtool is None:
        pytest.skip("amtool is missing (Debian package prometheus-alertmanager)")
    config = tmp_path / "alertmanager.json"
    config.write_text(json.dumps(properties))
    subprocess.run((amtool, "check-config", str(config)), check=True, capture_output=True)
    for severity, receiver in (("critical", "pager"), ("warning", "default")):
        routed = (amtool, "config", "routes", "test", f"--config.file={config}", "service=c2c-auditor")
        found = subprocess.run((*routed, f"severity={severity}"), check=True, capture_output=True, text=True)
        assert found.stdout.strip() == receiver


def test_scrapers_certificate(tmp_path: Path) -> None:
    """A client certificate of the CA that cells trust.

    The director makes it, and the manifest hands it to Prometheus' job.
    """
    manifest = applied(tmp_path)
    kept, ours = manifest["variables"]
    assert kept == {"name": "grafana_password", "type": "password"}
    assert ours["name"] == "c2c_auditor_scrape_tls"
    assert ours["type"] == "certificate"
    assert ours["options"]["ca"] == "/director/cf/metric_scraper_ca"
    assert ours["options"]["extended_key_usage"] == ["client_auth"]
    tls = scrape_config(manifest)["tls_config"]
    assert [tls[f"{part}_contents"] for part in ("ca", "cert", "key")] == [
        f"((c2c_auditor_scrape_tls.{part}))" for part in ("ca", "certificate", "private_key")
    ]
    assert len({tls[f"{part}_file"] for part in ("ca", "cert", "key")}) == 3


def test_prometheus_finds_the_cells(tmp_path: Path) -> None:
    """Prometheus takes the scrape config, finds the agents alone, and sets the labels that the alerts join on."""
    targets = tmp_path / "targets.json"
    targets.write_text(
        json.dumps(
            [
                {
                    "targets": ["10.0.1.5", "10.0.1.6"],
                    "labels": {"__meta_bosh_deployment": "cf", "__meta_bosh_job_process_name": "c2c_auditor"},
                },
                {
                    "targets": ["10.0.1.5"],
                    "labels": {"__meta_bosh_deployment": "cf", "__meta_bosh_job_process_name": "rep"},
                },
            ]
        )
    )
    discovered = _discovered(_on_this_machine(scrape_config(applied(tmp_path)), targets), tmp_path)
    port = job("c2c_auditor").properties["c2c_auditor.web.port"]["default"]
    assert discovered == [
        {
            "__address__": f"{address}:{port}",
            "__scheme__": "https",
            "instance": f"{address}:{port}",
            "job": "c2c_auditor",
            "environment": "prod",
            "bosh_deployment": "cf",
            "bosh_job_ip": address,
        }
        for address in ("10.0.1.5", "10.0.1.6")
    ]
    assert "check process c2c_auditor\n" in (job("c2c_auditor").path / "monit").read_text()


def _on_this_machine(config: dict[str, Any], targets: Path) -> dict[str, Any]:
    """The scrape config as the job of prometheus-boshrelease writes it.

    Contents are in files, here, and the config names only files.
    """
    authority = trustme.CA()
    pair = authority.issue_cert("scraper.example.com")
    contents = {"ca": authority.cert_pem, "cert": pair.cert_chain_pems[0], "key": pair.private_key_pem}
    for part, pem in contents.items():
        path = targets.parent / Path(config["tls_config"][f"{part}_file"]).name
        pem.write_to_path(path)
        del config["tls_config"][f"{part}_contents"]
        config["tls_config"][f"{part}_file"] = str(path)
    assert config["file_sd_configs"] == [{"files": ["/var/vcap/store/bosh_exporter/bosh_target_groups.json"]}]
    return config | {"file_sd_configs": [{"files": [str(targets)]}]}


def _discovered(config: dict[str, Any], directory: Path) -> list[dict[str, str]]:
    """What Prometheus makes of the targets: those that stay, without what it adds to every target."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    path = directory / "scrape.yml"
    path.write_text(json.dumps({"scrape_configs": [config]}))  # JSON is YAML
    subprocess.run(("promtool", "check", "config", str(path)), check=True, capture_output=True)
    command = ("promtool", "check", "service-discovery", "--timeout=1s", str(path), "c2c_auditor")
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    usual = {"__metrics_path__", "__scrape_interval__", "__scrape_timeout__"}
    return [
        {name: value for name, value in target["labels"].items() if name not in usual}
        for target in found
        if target["labels"]
    ]


def test_older_manifests(tmp_path: Path) -> None:
    """The command in the file's own head makes it fit manifests whose group and job are called prometheus2."""
    (script,) = re.findall(r"^#   sed -E '(.*)' monitor-c2c-auditor.yml$", MONITOR.read_text(), re.MULTILINE)
    older = tmp_path / "monitor.yml"
    older.write_bytes(subprocess.run(("sed", "-E", script, str(MONITOR)), check=True, capture_output=True).stdout)
    manifest = applied(
        tmp_path,
        older,
        manifest=MANIFEST.replace("- name: prometheus\n  jobs:", "- name: prometheus2\n  jobs:").replace(
            "- name: prometheus\n    release: prometheus\n    properties",
            "- name: prometheus2\n    release: prometheus\n    properties",
        ),
    )
    assert set(jobs(manifest, "prometheus2")) == {"prometheus2", "prometheus_alerts", "c2c_auditor_alerts"}
    tls = scrape_config(manifest, "prometheus2")["tls_config"]
    assert {str(Path(tls[f"{part}_file"]).parent) for part in ("ca", "cert", "key")} == {
        "/var/vcap/jobs/prometheus2/certs"
    }
