"""A real Prometheus beside the real daemon: faults raise their alerts, and all queries find data."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo import agent
from demo.cell import Cell, Files, write_cni_config, write_vpa_config
from demo.command import run
from demo.policy_faults import ACCEPT_STALE, ENFORCEMENT_DISABLED, MARK_DELETED, RULE_DUPLICATED
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.silk import Iptables, Silk
from demo.world import BACKEND, FRONTEND, SHOP, UNDERLAY_ADDRESS, UNDERLAY_INTERFACE, NetworkPolicy
from repo.code import ROOT
from support.dashboards import FILES, load, queries, substituted, variables
from support.erb import parse_yaml, render
from support.namespaces import in_namespace
from support.prometheus import Keys, Prometheus, exporter, program, prometheus, wait_for
from support.recordings import GOLDEN

TOOLS = ("ip", "setpriv", "prometheus", "ruby", "iptables-nft-save")

pytestmark = [
    pytest.mark.e2e,
    *(pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}") for tool in TOOLS),
]

RELEASE = ROOT / "bosh-release"
PORT = agent.PORT
# Three cells by address: the demo's; one that is open and blind, which always says the same;
# one without an agent.
LIVE, BROKEN, BARE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CELL = {"environment": "lab", "bosh_deployment": "cf", "bosh_job_ip": LIVE}
BOSH_EXPORTER = "127.0.0.9", 9190
SECONDS = 280
SERIES = 160  # of one cell at rest, at most: a thousand of them share one Prometheus
FLEET = {":count": 2, "_clean:sum": 1, "_blocked:sum": 0, "_open:sum": 1, "_blind:sum": 1, "_absent:sum": 1}
SLOW = 5
# How long is long, for this test: everything else in the alerts is as operators have it.
HASTE = {
    "evaluation_interval": "1s",
    "grafana_url": "https://grafana.example.com",
    "resolve_time": "1s",
    "traffic_blocked.evaluation_time": "2s",
    "traffic_open.evaluation_time": "2s",
    "enforcement_disabled.evaluation_time": "2s",
    "policies_slow.evaluation_time": "2s",
    "policies_slow.threshold": SLOW,
    "policies_slow.minimum_policies": 1,
    "auditor_blind.evaluation_time": "2s",
    "source_down.evaluation_time": "2s",
    "auditor_absent.evaluation_time": "2s",
}


def _bosh_exporter() -> str:
    """What bosh_exporter says of the three cells: silk's agent runs on each."""
    processes = ("vxlan-policy-agent", "silk-daemon", "netmon", "garden")
    labels = 'environment="lab",bosh_name="lab",bosh_deployment="cf",bosh_job_name="diego-cell"'
    return "# TYPE bosh_job_process_healthy gauge\n" + "".join(
        f'bosh_job_process_healthy{{{labels},bosh_job_id="{index}",bosh_job_ip="{address}",'
        f'bosh_job_process_name="{process}"}} 1\n'
        for index, address in enumerate((LIVE, BROKEN, BARE))
        for process in processes
    )


def _broken() -> str:
    """What the golden file says, of an agent that could not judge everything lately."""
    text = (GOLDEN / "metrics.txt").read_text()
    return re.sub(
        r"^(c2c_auditor_last_conclusive_audit_timestamp_seconds) .*$", r"\1 1.7953e+09", text, flags=re.MULTILINE
    )


def _scrape_config(directory: Path, keys: Keys) -> Any:  # noqa: ANN401 - Prometheus' own
    """The release's own, from its ops file, every second.

    Only the files lie elsewhere, the certificate has another name, and the list of targets is our own.
    """
    operations = parse_yaml(
        (RELEASE / "manifests" / "operators" / "monitor-c2c-auditor.yml")
        .read_text()
        .replace("((metrics_environment))", "lab")
    )
    (config,) = (operation["value"] for operation in operations if operation["path"].endswith("/scrape_configs/-"))
    groups = [
        {
            "targets": [LIVE, BROKEN],
            "labels": {"__meta_bosh_deployment": "cf", "__meta_bosh_job_process_name": "c2c_auditor"},
        },
        {"targets": [LIVE, BARE], "labels": {"__meta_bosh_deployment": "cf", "__meta_bosh_job_process_name": "rep"}},
    ]
    (directory / "bosh_target_groups.json").write_text(json.dumps(groups))
    config["scrape_interval"] = "1s"
    config["file_sd_configs"] = [{"files": [str(directory / "bosh_target_groups.json")]}]
    tls = {name: value for name, value in config["tls_config"].items() if not name.endswith(("_contents", "_file"))}
    config["tls_config"] = {
        **tls,
        "server_name": keys.name,
        "ca_file": str(keys.ca),
        "cert_file": str(keys.client),
        "key_file": str(keys.client_key),
    }
    return config


def _configuration(directory: Path, keys: Keys) -> dict[str, Any]:
    """Prometheus': the release's scrape config and rules, every second."""
    given = {f"c2c_auditor_alerts.{name}": value for name, value in HASTE.items()}
    (directory / "c2c_auditor.alerts.yml").write_text(
        render(RELEASE / "jobs" / "c2c_auditor_alerts", given=given).files["c2c_auditor.alerts.yml"]
    )
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(directory / "*.alerts.yml")],
        "scrape_configs": [
            _scrape_config(directory, keys),
            {"job_name": "bosh", "static_configs": [{"targets": ["{}:{}".format(*BOSH_EXPORTER)]}]},
        ],
    }


@contextmanager
def _cell(directory: Path) -> Iterator[Cell]:
    """The demo's cell in this namespace, with its policy server and something that is called like silk's program."""
    for line in (
        "link set lo up",
        f"link add {UNDERLAY_INTERFACE} type veth peer name underlay",
        f"address add {UNDERLAY_ADDRESS}/24 dev {UNDERLAY_INTERFACE}",
    ):
        run(("ip", *line.split()))
    certificates = make_certificates(directory)
    files = Files.below(directory)
    silk = directory / "vxlan-policy-agent"
    silk.symlink_to(shutil.which("sleep") or "")
    with (
        PolicyServer(certificates, Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)).serving() as server,
        program((str(silk), str(SECONDS)), directory / "silk.log"),
    ):
        write_vpa_config(files, url=server.url, certificates=certificates)
        write_cni_config(files)
        nft, legacy = (Iptables(backend=backend, run=run) for backend in ("nft", "legacy"))
        cell = Cell(files=files, silk=Silk(iptables=nft, groups=SHOP.groups), other=legacy, server=server)
        for instance in SHOP.instances:
            cell.create(instance)
        yield cell


@contextmanager
def _agent(directory: Path, cell: Cell, keys: Keys) -> Iterator[None]:
    """The agent on that cell; it serves as on BOSH, and forgets as fast as it may when a source is away."""
    settings = dict(agent.configuration(cell.files))
    tls = {"certificate": str(keys.server), "key": str(keys.server_key), "client_ca": str(keys.ca)}
    settings.update(grace=1.0, max_age=1.0, server={"address": LIVE, "port": PORT, "tls": tls})
    (directory / "auditor.json").write_text(json.dumps(settings))
    command = (sys.executable, "-m", "c2c_auditor", "daemon", "--config", str(directory / "auditor.json"))
    with program(command, directory / "auditor.log"):
        yield


@contextmanager
def _stage(directory: Path) -> Iterator[tuple[Prometheus, Cell, Callable[[], AbstractContextManager[None]]]]:
    """Everything but the agent: Prometheus, the cell, and how to start an agent on it."""
    keys = Keys(directory)
    with (
        _cell(directory) as cell,
        exporter((BROKEN, PORT), _broken(), tls=keys.context()),
        exporter(BOSH_EXPORTER, _bosh_exporter()),
        prometheus(directory, _configuration(directory, keys)) as watching,
    ):
        yield watching, cell, lambda: _agent(directory, cell, keys)


def _damage(cell: Cell) -> None:
    for fault in (MARK_DELETED, ACCEPT_STALE, RULE_DUPLICATED):
        fault.inject(cell)


def _hide_store(cell: Cell) -> None:
    cell.files.store.rename(cell.files.store.with_suffix(".away"))


def _show_store(cell: Cell) -> None:
    cell.files.store.with_suffix(".away").rename(cell.files.store)


def _policies(first: int, count: int) -> tuple[NetworkPolicy, ...]:
    return tuple(
        NetworkPolicy(source=FRONTEND.guid, destination=BACKEND.guid, first=port, last=port)
        for port in range(first, first + count)
    )


def _sluggish_silk(cell: Cell) -> None:
    """A policy that silk takes longer for than the threshold allows."""
    cell.server.truth = cell.server.truth.adding(*_policies(9000, 1))
    time.sleep(SLOW + 1)
    cell.replan()


def _brisk_silk(cell: Cell) -> None:
    """So many that arrive at once that the slow one is no longer among the slowest tenth."""
    cell.server.truth = cell.server.truth.adding(*_policies(9100, 30))
    cell.replan()


# What goes wrong, the alerts that it must raise with a word of their descriptions, and how it is mended.
STEPS: tuple[tuple[Callable[[Cell], None], dict[str, str], Callable[[Cell], None]], ...] = (
    (_damage, {"C2CTrafficBlocked": "mark_missing 1", "C2CTrafficOpen": "accept_stale 1"}, Cell.put_back),
    (ENFORCEMENT_DISABLED.inject, {"C2CEnforcementDisabled": LIVE}, Cell.put_back),
    (_hide_store, {"C2CSourceDown": "source store", "C2CAuditorBlind": "store"}, _show_store),
    (_sluggish_silk, {"C2CPoliciesSlow": "90th percentile"}, _brisk_silk),
)


def test_faults_raise_alerts_and_dashboards_find_data(tmp_path: Path) -> None:
    """Each alert fires, and is gone once the fault is.

    Every query of both dashboards, for all cells and for one, finds data.

    The scrape config, with mutual TLS, and the rules are those of the release.
    """
    _play(tmp_path)


@in_namespace
def _play(directory: Path) -> None:
    signal.alarm(SECONDS)  # a busy machine may need longer than most tests in a namespace do
    began = time.time()
    with _stage(directory) as (watching, cell, start_agent):
        with start_agent():
            wait_for(
                "a clean cell", lambda: watching.query(f'cell:c2c_auditor_clean:bool{{bosh_job_ip="{LIVE}"}} == 1')
            )
            (scraped,) = watching.query(f'scrape_samples_post_metric_relabeling{{bosh_job_ip="{LIVE}"}}')
            assert float(scraped["value"][1]) <= SERIES
            for inject, alerts, mend in STEPS:
                since = time.time()
                inject(cell)
                _fire(watching, alerts)
                mend(cell)
                _end(watching, alerts, since)
        since = time.time()
        _fire(watching, {"C2CAuditorAbsent": LIVE})
        with start_agent():
            _end(watching, {"C2CAuditorAbsent": LIVE}, since)
            wait_for("the fleet's true numbers", lambda: _fleet(watching) == FLEET)
            MARK_DELETED.inject(cell)
            wait_for("one blocked cell more", lambda: _fleet(watching) == {**FLEET, "_clean:sum": 0, "_blocked:sum": 1})
            _dashboards_find_data(watching, began)


def _fleet(watching: Prometheus) -> dict[str, float]:
    """The figures of the dashboard Fleet's first row."""
    series = watching.query('{__name__=~"deployment:c2c_auditor_cells.*"}')
    return {
        one["metric"]["__name__"].removeprefix("deployment:c2c_auditor_cells"): float(one["value"][1]) for one in series
    }


def _labels(alert: str) -> dict[str, str]:
    """Those of an alert on the live cell.

    Enforcement and sources concern a deployment, and so do blind cells that are most of it.
    """
    deployment = {"bosh_job_ip": ""}
    own = {
        "C2CEnforcementDisabled": deployment,
        "C2CSourceDown": {**deployment, "source": "store"},
        "C2CAuditorBlind": {**deployment, "severity": "critical"},
    }
    labels = {"alertname": alert, "service": "c2c-auditor", **CELL, **own.get(alert, {})}
    return {name: value for name, value in labels.items() if value}


def _fire(watching: Prometheus, alerts: dict[str, str]) -> None:
    for name, word in alerts.items():
        (alert,) = wait_for(
            f"{name} firing",
            lambda: [alert for alert in watching.alerts(**_labels(name)) if alert["state"] == "firing"],  # noqa: B023 - called before the loop goes on
        )
        assert word in alert["annotations"]["description"]
        assert alert["annotations"]["runbook_url"].endswith(f"/{name}.md")
        assert alert["annotations"]["dashboard_url"].startswith("https://grafana.example.com/d/c2c-auditor-")


def _end(watching: Prometheus, alerts: dict[str, str], since: float) -> None:
    """Gone from Prometheus' list, and in its records."""
    for name in alerts:
        wait_for(f"the end of {name}", lambda: not watching.alerts(**_labels(name)))  # noqa: B023 - called at once
        labels = ",".join(f'{label}="{value}"' for label, value in _labels(name).items())
        fired = watching.query(f'ALERTS{{{labels},alertstate="firing"}}[1h]')
        assert any(moment > since for series in fired for moment, _ in series["values"]), name


def _dashboards_find_data(watching: Prometheus, since: float) -> None:
    """What Grafana would ask, and in its words: all cells first, then the live one."""
    empty = []
    for path in FILES:
        chosen = _chosen(watching, load(path))
        for values in (dict.fromkeys(CELL, ".*"), chosen):
            for asked in queries(path):
                expression = substituted(asked.expression, {**values, "__rate_interval": "15s"})
                found = watching.query(expression) if asked.instant else watching.query_range(expression, since=since)
                if not any(_figures(series) for series in found):
                    empty.append(f"{asked} {values}")
    assert empty == []


def _figures(series: dict[str, Any]) -> list[str]:
    """The values of a series that are numbers."""
    values = series["values"] if "values" in series else [series["value"]]
    return [value for _, value in values if value != "NaN"]


def _chosen(watching: Prometheus, dashboard: dict[str, Any]) -> dict[str, str]:
    """One value of each variable, from the list that its query gives; the live cell is in it."""
    chosen: dict[str, str] = {}
    for name, (series, label) in variables(dashboard).items():
        offered = watching.get(f"label/{label}/values", **{"match[]": substituted(series, chosen)})
        assert CELL[name] in offered
        chosen[name] = CELL[name]
    return chosen
