"""The alerts and recording rules as a Prometheus VM gets them: rendered, loaded by promtool, and played through."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from c2c_auditor.errors import Reason
from c2c_auditor.export.catalogue import METRICS, PREFIX, PROCESS_METRICS
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Kind
from repo.code import ROOT
from support.dashboards import FILES, load, variables
from support.erb import parse_yaml, render
from support.schema import violations

JOB = ROOT / "bosh-release" / "jobs" / "c2c_auditor_alerts"
RULES = "c2c_auditor.alerts.yml"
(REPOSITORY,) = re.findall(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
RUNBOOKS = ROOT / "docs" / "runbooks"
PLAYED = sorted((Path(__file__).parent / "alerts").glob("*.yml"))
# What is not ours: Prometheus' own, and bosh_exporter's.
_OTHERS = {"up", "bosh_job_process_healthy"}
_FUNCTIONS = {"clamp_max", "histogram_quantile", "max_over_time", "min_over_time"}
GRAFANA = "https://grafana.example.com"


@pytest.fixture(scope="module")
def rules() -> str:
    """The rule file as rendered without a single property."""
    return render(JOB).files[RULES]


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What promtool says; Debian's package prometheus brings it."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing (Debian package prometheus)")
    return subprocess.run(("promtool", *arguments), cwd=cwd, capture_output=True, text=True, check=False)


def all_rules(text: str) -> list[dict[str, Any]]:
    """Every rule of every group, in order."""
    return [rule for group in parse_yaml(text)["groups"] for rule in group["rules"]]


def alerting(text: str) -> list[dict[str, Any]]:
    """The alerting rules, in order."""
    return [rule for rule in all_rules(text) if "alert" in rule]


def alerts(text: str) -> dict[str, dict[str, Any]]:
    """The first alerting rule of each name: the one for a single cell, where there are several."""
    return {rule["alert"]: rule for rule in reversed(alerting(text))}


def test_promtool_takes_the_rules(rules: str, tmp_path: Path) -> None:
    """Prometheus loads the rendered file, and its linter has nothing to say."""
    (tmp_path / RULES).write_text(rules)
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("played", PLAYED, ids=lambda path: path.stem)
def test_played_through(played: Path, rules: str, tmp_path: Path) -> None:
    """Series go in, and exactly the expected alerts and recorded series come out at the expected times."""
    (tmp_path / RULES).write_text(rules)
    shutil.copy(played, tmp_path)
    result = promtool("test", "rules", played.name, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_is_played_at_its_boundary(rules: str) -> None:
    """For each alert: one evaluation at which it does not fire, and the very next at which it does."""
    without = [name for name in alerts(rules) if not _has_boundary(name)]
    assert without == []


def _has_boundary(alert: str) -> bool:
    for played in PLAYED:
        content = parse_yaml(played.read_text())
        step = _seconds(content["evaluation_interval"])
        for test in content["tests"]:
            expected = {
                _seconds(at["eval_time"]): at for at in test.get("alert_rule_test", ()) if at["alertname"] == alert
            }
            for (before, quiet), (after, loud) in pairwise(sorted(expected.items())):
                if after - before == step and not quiet.get("exp_alerts") and loud.get("exp_alerts"):
                    return True
    return False


def _seconds(duration: str) -> int:
    return sum(
        int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", duration)
    )


def test_what_every_alert_says() -> None:
    """Severity, service, a fixed sentence with a full stop, what is known, a page and a dashboard."""
    text = render(JOB, given={"c2c_auditor_alerts.grafana_url": f"{GRAFANA}/"}).files[RULES]
    for alert in alerting(text):
        name, labels, said = alert["alert"], alert["labels"], alert["annotations"]
        assert re.fullmatch(r"C2C(?:[A-Z][a-z]+)+", name)
        assert labels["severity"] in {"critical", "warning", "info"}
        assert (labels["service"], labels["scope"] in {"cell", "deployment"}) == ("c2c-auditor", True)
        assert set(said) == {"summary", "description", "runbook_url", "dashboard_url"}
        assert said["summary"].endswith(".")
        assert "{{" not in said["summary"]
        assert "{{ $labels.environment }}/{{ $labels.bosh_deployment }}" in said["description"]
        assert "for" not in alert, "a restart of Prometheus would end it: see `lasting` in the template"


def test_links_lead_to_what_exists() -> None:
    """Each runbook is a file of this repository below the address where it is published.

    Each dashboard is one of the release's, opened at the alert's own cell or deployment.
    """
    default = render(JOB).files[RULES]
    assert all("dashboard_url" not in alert["annotations"] for alert in alerting(default))
    published = f"{REPOSITORY}/blob/main/"
    for alert in alerting(render(JOB, given={"c2c_auditor_alerts.grafana_url": GRAFANA}).files[RULES]):
        said = alert["annotations"]
        assert (ROOT / said["runbook_url"].removeprefix(published)).is_file()
        board, _, query = said["dashboard_url"].removeprefix(f"{GRAFANA}/d/").partition("?")
        (dashboard,) = (one for one in map(load, FILES) if one["uid"] == board)
        scope = [f"var-{name}={{{{ $labels.{name} | urlquery }}}}" for name in variables(dashboard)]
        assert query.split("&") == scope
        assert ("bosh_job_ip" in query) == (alert["labels"]["scope"] == "cell")


def test_properties_reach_the_rules() -> None:
    """Times, severities, the number of cells and the runbooks' address are the operator's."""
    given = {
        "runbook_url": "https://wiki.example.com/c2c/",
        "evaluation_interval": "15s",
        "most_cells": 8,
        "resolve_time": "7m",
        "traffic_blocked.evaluation_time": "11m",
        "traffic_blocked.severity": "warning",
        "traffic_open.evaluation_time": "12m",
        "enforcement_disabled.severity": "info",
        "enforcement_disabled.evaluation_time": "13m",
        "policies_slow.threshold": 12.5,
        "policies_slow.minimum_policies": 9,
        "policies_slow.evaluation_time": "14m",
        "auditor_blind.evaluation_time": "16m",
        "source_down.evaluation_time": "17m",
        "auditor_absent.evaluation_time": "18m",
    }
    text = render(JOB, given={f"c2c_auditor_alerts.{name}": value for name, value in given.items()}).files[RULES]
    assert [group["interval"] for group in parse_yaml(text)["groups"]] == ["15s"]
    recorded = {rule["record"]: rule["expr"] for rule in all_rules(text) if "record" in rule}
    windows = {
        "cell:c2c_auditor_blocked:firing": {"11m", "7m"},
        "cell:c2c_auditor_open:firing": {"12m", "7m"},
        "cell:c2c_auditor_enforcement_disabled:firing": {"13m", "7m"},
        "cell:c2c_auditor_slow:firing": {"14m"},
        "cell:c2c_auditor_blind:firing": {"16m"},
        "deployment_source:c2c_auditor_cells_source_down:firing": {"17m"},
        "cell:c2c_auditor_absent:firing": {"18m"},
    }
    assert {name: set(re.findall(r"\b(\d+m)\b", recorded[name])) for name in windows} == windows
    severities = {name: alert["labels"]["severity"] for name, alert in alerts(text).items()}
    assert severities.pop("C2CTrafficBlocked") == "warning"
    assert severities.pop("C2CTrafficOpen") == "critical"
    assert severities.pop("C2CEnforcementDisabled") == "info"
    assert set(severities.values()) == {"warning"}
    blocked = alerts(text)["C2CTrafficBlocked"]
    assert blocked["expr"].rstrip().endswith("[7m])) > 8")
    assert blocked["annotations"]["runbook_url"] == "https://wiki.example.com/c2c/C2CTrafficBlocked.md"
    assert "p90_30m > 12.5" in recorded["cell:c2c_auditor_slow:bool"]
    assert "count_30m >= 9" in recorded["cell:c2c_auditor_slow:bool"]


def test_schema_and_spec_say_the_same() -> None:
    """The director's schema knows exactly the properties of the spec, and takes every default."""
    spec = parse_yaml((JOB / "spec").read_text())["properties"]
    schema = json.loads((JOB / "properties_schema.json").read_text())
    assert set(_leaves(schema)) == set(spec)
    defaults = render(JOB).properties
    assert [line for line in violations(defaults, schema, schema) if "are not checked here" not in line] == []


def _leaves(schema: dict[str, Any], at: str = "") -> Iterator[str]:
    for name, inner in schema["properties"].items():
        path = f"{at}.{name}" if at else name
        yield from _leaves(inner, path) if "properties" in inner else (path,)


def test_every_metric_exists(rules: str) -> None:
    """Rules and annotations use only metrics of the catalogue, recorded ones, and two that others export."""
    exported = {
        PREFIX + metric.name + suffix
        for metric in METRICS.values()
        for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric.type, ("",))
    }
    recorded = {rule["record"] for rule in all_rules(rules) if "record" in rule}
    asked = {name for rule in all_rules(rules) for name in _asked(rule)}
    exported.update(PROCESS_METRICS)
    assert asked - exported - recorded - _OTHERS == set()
    assert asked >= _OTHERS


def _asked(rule: dict[str, Any]) -> Iterator[str]:
    """The metrics of one rule: names before a selector, a range, or with a colon in them."""
    description = rule.get("annotations", {}).get("description", "")
    queries = [re.sub(r'"[^"]*"', '""', rule["expr"]), *re.findall(r'printf "([^"]*)"', description)]
    for query in queries:
        bare = re.sub(r"\b(?:by|on) \([^)]*\)|'[^']*'|\{[^}]*\}", "", query)
        names = re.findall(r"[A-Za-z_][\w:]*", bare)
        yield from (name for name in names if name == "up" or ("_" in name and name not in _FUNCTIONS))


def test_every_label_value_exists(rules: str) -> None:
    """A kind, effect or state that the agent never exports would make a rule silent for ever."""
    known = {
        "kind": {kind.value for kind in Kind},
        "effect": {effect.value for effect in Effect},
        "state": {state.value for state in State},
    }
    texts = [rule["expr"] + rule.get("annotations", {}).get("description", "") for rule in all_rules(rules)]
    found = [
        match for text in texts for match in re.findall(r"\b(kind|effect|state)(?:=|!=|=~|!~)[\"']([^\"']*)[\"']", text)
    ]
    assert len(found) > 10
    assert [(label, value) for label, values in found for value in values.split("|") if value not in known[label]] == []


def test_recording_rules_are_listed(rules: str) -> None:
    """The head of the file names every recorded series, for those who build dashboards on them."""
    head = rules.partition("groups:")[0]
    recorded = {rule["record"] for rule in all_rules(rules) if "record" in rule}
    listed = set(re.findall(r"\w+:c2c_auditor\w*:\w+", head))
    assert recorded - listed == {
        f"deployment:c2c_auditor_policy_convergence_seconds:p{percentile}_30m" for percentile in (95, 99)
    }
    assert listed <= recorded


def test_golden_metrics_pass_promtool() -> None:
    """The agent's own output breaks no rule of Prometheus' for names, types and help."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing (Debian package prometheus)")
    with (ROOT / "tests/golden/metrics.txt").open() as metrics:
        checked = subprocess.run(
            ("promtool", "check", "metrics"), stdin=metrics, capture_output=True, text=True, check=False
        )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_alert_has_its_runbook(rules: str) -> None:
    """One page for each alert and none besides; the index names them with their severities."""
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == set(alerts(rules))
    index = (RUNBOOKS / "README.md").read_text()
    for name, alert in alerts(rules).items():
        assert f"| [{name}]({name}.md) | {alert['labels']['severity']} |" in index


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("C2C*.md")), ids=lambda path: path.stem)
def test_what_every_runbook_answers(page: Path) -> None:
    """A runbook says what traffic does, how to confirm and how to mend it, and how to see that it is mended.

    It confirms with the agent and with plain iptables on both backends.
    """
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What traffic does", "Confirm", "Mend", "Mended when"]
    confirm = text.partition("## Confirm")[2].partition("## Mend")[0]
    assert "/var/vcap/jobs/c2c_auditor/bin/c2c-auditor audit" in confirm
    assert "iptables -S" in confirm
    assert "iptables-legacy-save -t filter" in confirm


def test_runbooks_name_every_kind_that_pages() -> None:
    """The page of a kind's alert has it: outages, breaches, and every reason for which a source fails."""
    blocked, opened = ((RUNBOOKS / f"C2CTraffic{what}.md").read_text() for what in ("Blocked", "Open"))
    down = (RUNBOOKS / "C2CSourceDown.md").read_text()
    elsewhere = {Kind.ENFORCEMENT_DISABLED}
    assert [kind.value for kind in Kind if kind.effect is Effect.OUTAGE and f"`{kind.value}`" not in blocked] == []
    assert [
        kind.value
        for kind in Kind
        if kind.effect is Effect.BREACH and kind not in elsewhere and f"`{kind.value}`" not in opened
    ] == []
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in down] == []
