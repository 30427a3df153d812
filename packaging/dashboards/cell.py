"""The dashboard *Cell*: what is wrong on one cell and since when, what its agent knows, and what it costs."""

from __future__ import annotations

from dashboards.cell_insides import cost, silk, sources
from dashboards.dashboard import Dashboard, Row
from dashboards.labels import DEPLOYMENT, ENVIRONMENT, ONE_CELL, age, total
from dashboards.panels import (
    ABSENT,
    BY_EFFECT,
    BY_FLOW,
    COLOURS,
    DATASOURCE,
    GOOD,
    NEUTRAL,
    UNKNOWN,
    Json,
    Panel,
    Query,
    gained,
    graph,
    override,
    stat,
    steps,
    table,
    timeline,
    words,
)

from c2c_auditor.model.kind import Effect

UID = "c2c-auditor-cell"

_BREACH, _OUTAGE = COLOURS[Effect.BREACH], COLOURS[Effect.OUTAGE]


def _confirmed(title: str, effect: Effect, meaning: str) -> Panel:
    found = ONE_CELL.series("c2c_auditor_findings", f'effect="{effect.value}"', 'state="confirmed"')
    about = f"Confirmed findings of the last audit that {meaning}; unknown while such findings cannot be judged."
    return stat(title, about, 4, Query(f"sum({found})"), thresholds=steps(GOOD, (1, COLOURS[effect])))


def _now() -> list[Panel]:
    judged = age(ONE_CELL.series("c2c_auditor_last_conclusive_audit_timestamp_seconds"))
    containers, policies = (
        Query(f"sum({ONE_CELL.series(f'c2c_auditor_{name}')})") for name in ("containers", "policies")
    )
    return [
        _confirmed("Outages", Effect.OUTAGE, "block traffic that policies allow"),
        _confirmed("Breaches", Effect.BREACH, "let traffic pass that no policy allows"),
        stat(
            "Not judged for",
            "Time since an audit could last judge everything.",
            4,
            Query(judged),
            unit="s",
            thresholds=steps(GOOD, (300, UNKNOWN)),
        ),
        stat("Containers", "Containers in the cell's metadata.", 4, containers, thresholds=steps(NEUTRAL)),
        stat("Policies", "Policies that concern this cell.", 4, policies, thresholds=steps(NEUTRAL)),
        table(
            "Agent",
            "The agent's version, and the backend of iptables that holds the rules.",
            4,
            Query(f"count by (version, backend) ({ONE_CELL.series('c2c_auditor_build_info')})"),
            columns={"version": "Version", "backend": "Backend", "Value": "Cells"},
        ),
    ]


def _state() -> Panel:
    states = {"clean": GOOD, "blocked": _OUTAGE, "open": _BREACH, "blind": UNKNOWN, "absent": ABSENT}
    return timeline(
        "State",
        "Blocked: allowed traffic does not pass. Open: forbidden traffic passes. Blind: not everything could be "
        "judged, and the last known findings "
        "stand. Absent: no agent answers.",
        24,
        *(Query(f"max({ONE_CELL.series(f'cell:c2c_auditor_{state}:bool')})", legend=state) for state in states),
        mappings=words({0: ("", "transparent"), 1: ("yes", NEUTRAL)}),
        overrides=[
            override(f"^{state}$", {"mappings": words({0: ("", "transparent"), 1: (state, name)})})
            for state, name in states.items()
        ],
    )


def _findings() -> list[Panel]:
    oldest = f"time() - min by (effect) ({ONE_CELL.series('c2c_auditor_oldest_finding_timestamp_seconds')})"
    return [
        *(
            graph(
                title,
                about,
                8,
                Query(
                    total("effect, kind, state", ONE_CELL.series("c2c_auditor_findings", f'effect=~"{effects}"'))
                    + " > 0",
                    legend="{{effect}} {{kind}} ({{state}})",
                ),
                overrides=BY_EFFECT,
                nothing="Nothing found",
            )
            for title, about, effects in (
                (
                    "Outages and breaches",
                    (
                        "Outage: allowed traffic is blocked. Breach: forbidden traffic passes. Pending findings may "
                        "still be mended by silk."
                    ),
                    "outage|breach",
                ),
                (
                    "Residue and advice",
                    "Left-overs without effect, such as rules of deleted containers, and hints.",
                    "residue|advice",
                ),
            )
        ),
        graph(
            "Age of the oldest finding",
            "Since the oldest finding of each effect was first seen.",
            8,
            Query(oldest, legend="{{effect}}"),
            unit="s",
            overrides=BY_EFFECT,
            nothing="Nothing found",
        ),
    ]


def _rules() -> list[Panel]:
    ends = [
        Query(
            f"{gained('effect', ONE_CELL.series(f'c2c_auditor_findings_{what}_total'))} > 0",
            legend=f"{{{{effect}}}} {what}",
        )
        for what in ("confirmed", "resolved")
    ]
    return [
        graph(
            "Confirmed and resolved",
            "Findings that outlived what silk needs to mend them by itself, and those that went away.",
            8,
            *ends,
        ),
        graph(
            "Rules of the policy chain",
            "Expected by policies, present in the kernel, and matched: both. All three are equal on a clean cell.",
            8,
            *(
                Query(
                    total("purpose", ONE_CELL.series(f"c2c_auditor_rules_{name}")) + " > 0",
                    legend=f"{{{{purpose}}}} {name}",
                )
                for name in ("expected", "present", "matched")
            ),
        ),
        stat(
            "Flows",
            "What should happen to traffic between apps → what does. may: the rules leave it open, as a match "
            "does that the agent does not know.",
            8,
            Query(total("intended, actual", ONE_CELL.series("c2c_auditor_flows")), legend="{{intended}} → {{actual}}"),
            thresholds=steps(NEUTRAL),
            overrides=BY_FLOW,
        ),
    ]


_TO_FLEET: Json = {
    "title": "Fleet",
    "type": "link",
    "icon": "dashboard",
    "url": f"/d/c2c-auditor-fleet?var-{ENVIRONMENT}=${{{ENVIRONMENT}}}&var-{DEPLOYMENT}=${{{DEPLOYMENT}}}",
    "keepTime": True,
    "targetBlank": False,
    "asDropdown": False,
    "includeVars": False,
    "tags": [],
    "tooltip": "",
}
_ALERTS: Json = {
    "name": "Alerts",
    "datasource": DATASOURCE,
    "enable": True,
    "hide": False,
    "iconColor": _BREACH,
    "expr": ONE_CELL.series("ALERTS", 'alertstate="firing"', 'service="c2c-auditor"'),
    "step": "60s",
    "titleFormat": "{{alertname}}",
    "textFormat": "",
    "tagKeys": "severity",
    "useValueForTime": False,
}

DASHBOARD = Dashboard(
    uid=UID,
    title="C2C Auditor: Cell",
    description=(
        "Container-to-container rules of one Diego cell. Needs the recording rules of the job c2c_auditor_alerts."
    ),
    scope=ONE_CELL,
    several=False,
    rows=(
        Row(_now(), height=4),
        Row([_state()], height=7),
        Row(_findings(), title="Findings"),
        Row(_rules()),
        Row(silk()[:3], title="silk"),
        Row(silk()[3:], height=7),
        Row(sources(), title="Sources"),
        Row(cost(), title="Cost"),
    ),
    links=(_TO_FLEET,),
    annotations=(_ALERTS,),
)
