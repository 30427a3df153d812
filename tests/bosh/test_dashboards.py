"""The Grafana dashboards: generated, laid out without overlaps, with queries that Prometheus understands.

The metrics in the queries exist.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2c_auditor.export.catalogue import METRICS, PREFIX
from repo.code import ROOT
from support.dashboards import FILES, JOB, load, panels, queries, substituted, variables
from support.erb import parse_yaml, render

RULES = ROOT / "bosh-release" / "jobs" / "c2c_auditor_alerts"
OPERATIONS = ROOT / "bosh-release" / "manifests" / "operators" / "monitor-c2c-auditor.yml"
UIDS = {"c2c_auditor_fleet.json": "c2c-auditor-fleet", "c2c_auditor_cell.json": "c2c-auditor-cell"}
VARIABLES = {
    "c2c_auditor_fleet.json": ["environment", "bosh_deployment"],
    "c2c_auditor_cell.json": ["environment", "bosh_deployment", "bosh_job_ip"],
}
# Whose they are: Prometheus', its client library's for our process, bosh_exporter's.
OUTSIDE = {"ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes", "bosh_job_process_healthy"}
_SUFFIXES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def expressions(path: Path) -> list[str]:
    """All PromQL of a dashboard: of panels and annotations."""
    return [*(asked.expression for asked in queries(path)), *(one["expr"] for one in load(path)["annotations"]["list"])]


def test_the_files_are_current(tmp_path: Path) -> None:
    """`make dashboards` would change nothing."""
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk, which takes Python 3.11")
    subprocess.run(
        (sys.executable, str(ROOT / "packaging" / "generate_dashboards.py"), str(tmp_path)), check=True, timeout=60
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in FILES
    }


def test_the_director_leaves_them_as_they_are() -> None:
    """They are ERB templates like any other: nothing in them may look like one."""
    files = render(JOB).files
    assert {name: text for name, text in files.items() if name != "monit"} == {
        path.name: path.read_text() for path in FILES
    }


@each
def test_uids_variables_and_schema_stay(path: Path) -> None:
    """Bookmarks and links hold the uid and the variables' names."""
    dashboard = load(path)
    assert (dashboard["uid"], dashboard["id"]) == (UIDS[path.name], None)
    assert list(variables(dashboard)) == VARIABLES[path.name]
    assert dashboard["schemaVersion"] == 36  # that of the builders; a newer Grafana migrates it


@each
def test_variables_are_the_labels_of_our_targets(path: Path) -> None:
    """Each variable chooses a label that the release's scrape config sets.

    It offers the cells that the variables before it leave.
    """
    operations = parse_yaml(OPERATIONS.read_text())
    (config,) = (operation["value"] for operation in operations if operation["path"].endswith("/scrape_configs/-"))
    given = {step["target_label"] for step in config["relabel_configs"] if "target_label" in step}
    found = variables(load(path))
    before: list[str] = []
    for name, (series, label) in found.items():
        assert name == label
        assert label in given
        assert re.findall(r"\$(\w+)", series) == before
        before.append(name)


@each
def test_no_datasource_but_the_input(path: Path) -> None:
    """Every panel, query, variable and annotation uses `${DS_PROMETHEUS}`, which an import sets."""
    dashboard = load(path)
    assert [one["name"] for one in dashboard["__inputs"]] == ["DS_PROMETHEUS"]
    asking = [
        *panels(dashboard),
        *(target for panel in panels(dashboard) for target in panel["targets"]),
        *dashboard["templating"]["list"],
        *dashboard["annotations"]["list"],
    ]
    assert all(one["datasource"] == {"type": "prometheus", "uid": "${DS_PROMETHEUS}"} for one in asking)
    assert len(asking) == json.dumps(dashboard).count('"datasource":')


@each
def test_panels_lie_side_by_side(path: Path) -> None:
    """Within 24 columns, none upon another, each with a number of its own."""
    taken: set[tuple[int, int]] = set()
    dashboard = load(path)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@each
def test_panels_explain_themselves(path: Path) -> None:
    """A title, a sentence, a unit, and a type that Grafana 10 to 12 have."""
    for panel in panels(load(path)):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert (
            panel["fieldConfig"]["defaults"]["unit"]
            if panel["type"] != "state-timeline"
            else panel["fieldConfig"]["defaults"]["mappings"]
        )
        assert panel["type"] in {"stat", "timeseries", "state-timeline", "table"}


@each
def test_every_series_is_chosen_by_the_variables(path: Path) -> None:
    """No query reads what was not chosen: each has selectors, and each selector begins with all variables."""
    begin = ",".join(f'{name}=~"${name}"' for name in VARIABLES[path.name])
    for expression in expressions(path):
        found = _SELECTOR.findall(expression)
        assert found
        assert all(matchers.startswith(begin) for _, matchers in found), expression
        assert not re.search(r"c2c_auditor_|bosh_job_process_h|process_[cr]", _SELECTOR.sub("", expression)), expression


def test_every_metric_exists() -> None:
    """In the catalogue, among the recording rules, or known to be somebody else's.

    And each metric of the catalogue that is asked for has the labels.
    """
    recorded = {
        rule["record"]
        for group in parse_yaml(render(RULES).files["c2c_auditor.alerts.yml"])["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    ours = {PREFIX + metric.name + suffix: metric for metric in METRICS.values() for suffix in _SUFFIXES[metric.type]}
    for path in FILES:
        asked = [
            *expressions(path),
            *(series + "{}" * ("{" not in series) for series, _ in variables(load(path)).values()),
        ]
        for name, matchers in (found for expression in asked for found in _SELECTOR.findall(expression)):
            assert name in ours or name in recorded or name in OUTSIDE, name
            if name in ours:
                labels = set(re.findall(r"(\w+)=", matchers)) - set(VARIABLES["c2c_auditor_cell.json"])
                assert labels <= set(ours[name].labels), f"{name}: {labels}"


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """With the variables replaced as Grafana replaces them."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing (Debian package prometheus)")
    values = {**dict.fromkeys(VARIABLES["c2c_auditor_cell.json"], ".*"), "__rate_interval": "4m"}
    rules = [
        {"record": "parsed", "expr": substituted(expression, values)}
        for path in FILES
        for expression in expressions(path)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "parsed", "rules": [*_distinct(rules)]}]}))
    checked = subprocess.run(
        ("promtool", "check", "rules", "--lint=none", "rules.yml"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def _distinct(rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Prometheus refuses the same rule twice in a group."""
    yield from {json.dumps(rule): rule for rule in rules}.values()


def test_every_metric_has_a_reader() -> None:
    """A thousand cells share one Prometheus: what no alert, rule or dashboard reads is not exported."""
    text = render(RULES).files["c2c_auditor.alerts.yml"] + "".join(path.read_text() for path in FILES)
    assert [name for name in METRICS if not re.search(rf"\b{PREFIX}{name}(?:_total|_bucket)?\b", text)] == []


def test_rates_hold_for_a_scrape_a_minute() -> None:
    """As prometheus-boshrelease scrapes unless told otherwise.

    Grafana makes $__rate_interval four times the least step; the rules' own windows are as long.
    """
    steps = {target.get("interval") for path in FILES for panel in panels(load(path)) for target in panel["targets"]}
    assert steps == {"1m", None}
    for path in FILES:
        for panel in panels(load(path)):
            assert all(target["instant"] or target["interval"] == "1m" for target in panel["targets"])
    text = render(RULES).files["c2c_auditor.alerts.yml"]
    windows = re.findall(r"(?:rate|increase)\([^()]*\[(\d+)m\]\)", text)
    assert len(windows) > 4
    assert min(map(int, windows)) >= 4


def test_a_click_on_a_bad_cell_opens_it() -> None:
    """The link's variables are those of the dashboard that it leads to."""
    linked = re.findall(r"/d/([\w-]+)\?([^\"]*)", json.dumps(load(JOB / "templates" / "c2c_auditor_fleet.json")))
    assert linked
    for uid, parameters in linked:
        (name,) = (name for name, known in UIDS.items() if known == uid)
        assert re.findall(r"var-(\w+)=\$\{__data\.fields\.(\w+)\}", parameters) == [
            (variable, variable) for variable in VARIABLES[name]
        ]
