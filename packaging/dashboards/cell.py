"""The dashboard *Cell*: what is wrong on one cell and since when, what its agent knows, and what it costs."""

from __future__ import annotations

from dashboards.cell_insides import changes, cost, silk, size, sources
from dashboards.dashboard import Dashboard, Row
from dashboards.labels import DEPLOYMENT, ENVIRONMENT, ONE_CELL, VM, age, total, vm
from dashboards.panels import (
    ABSENT,
    BY_EFFECT,
    BY_FLOW,
    COLOURS,
    GOOD,
    NEUTRAL,
    UNKNOWN,
    About,
    Override,
    Panel,
    Query,
    figures,
    gained,
    graph,
    rows,
    steps,
    timeline,
    words,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from c2c_auditor.model.kind import Effect

UID = "c2c-auditor-cell"

_BREACH, _OUTAGE = COLOURS[Effect.BREACH], COLOURS[Effect.OUTAGE]


_STATES = {"clean": GOOD, "blocked": _OUTAGE, "open": _BREACH, "blind": UNKNOWN, "absent": ABSENT}


def _confirmed(title: str, effect: Effect, meaning: str) -> Panel:
    found = ONE_CELL.series("c2c_auditor_findings", f'effect="{effect.value}"', 'state="confirmed"')
    sentence = f"Confirmed findings of the last audit that {meaning}; unknown while such findings cannot be judged."
    limit = steps(GOOD, (1, COLOURS[effect]))
    return figures(About(title, sentence, 4, height=4), Query(f"sum({found})"), thresholds=limit)


def _verdict() -> list[Panel]:
    """The cell in one word, since when, and how sure that is."""
    worst = " + ".join(
        f"{weight} * max({ONE_CELL.series(f'cell:c2c_auditor_{state}:bool')})"
        for weight, state in ((1, "blocked"), (2, "open"), (4, "blind"))
    )
    said = {0: ("clean", GOOD)}
    for number in range(1, 8):
        parts = [state for bit, state in ((1, "blocked"), (2, "open"), (4, "blind")) if number & bit]
        said[number] = (", ".join(parts), _BREACH if number & 2 else _OUTAGE if number & 1 else UNKNOWN)
    oldest = ONE_CELL.series("c2c_auditor_oldest_finding_timestamp_seconds", 'effect=~"outage|breach"')
    judged = age(ONE_CELL.series("c2c_auditor_last_conclusive_audit_timestamp_seconds"))
    return [
        figures(
            About(
                "Verdict", "What is the matter with this cell now, as far as its last audit could tell.", 4, height=4
            ),
            Query(worst),
            thresholds=steps(NEUTRAL),
            mappings=words(said),
        ),
        figures(
            About(
                "Since",
                "When the oldest outage or breach of now was first seen; unknown if there is none.",
                4,
                height=4,
            ),
            Query(f"1000 * min({oldest})"),
            unit="dateTimeFromNow",
            thresholds=steps(NEUTRAL),
        ),
        _confirmed("Outages", Effect.OUTAGE, "block traffic that policies allow"),
        _confirmed("Breaches", Effect.BREACH, "let traffic pass that no policy allows"),
        figures(
            About("Not judged for", "Time since an audit could last judge everything.", 4, height=4),
            Query(judged),
            unit="s",
            thresholds=steps(GOOD, (300, UNKNOWN)),
        ),
        rows(
            About("This cell", "What BOSH calls the cell, as far as bosh_exporter tells.", 4, height=4),
            Query(f"max by ({VM}) ({vm(ONE_CELL)})"),
            columns={VM: "VM", "Value": ""},
        ),
    ]


def _state() -> Panel:
    return timeline(
        About(
            "State",
            "Blocked: allowed traffic does not pass. Open: forbidden traffic passes. Blind: not everything could be "
            "judged, and the last known findings stand. Absent: no agent answers.",
            24,
            height=7,
        ),
        *(Query(f"max({ONE_CELL.series(f'cell:c2c_auditor_{state}:bool')})", legend=state) for state in _STATES),
        mappings=words({0: ("", "transparent"), 1: ("yes", NEUTRAL)}),
        overrides=[
            Override(f"^{state}$", {"mappings": words({0: ("", "transparent"), 1: (state, name)})})
            for state, name in _STATES.items()
        ],
    )


def _findings() -> list[Panel]:
    ends = [
        Query(
            f"{gained('effect', ONE_CELL.series(f'c2c_auditor_findings_{what}_total'))} > 0",
            legend=f"{{{{effect}}}} {what}",
        )
        for what in ("confirmed", "resolved")
    ]
    return [
        *(
            graph(
                About(title, sentence, 8),
                Query(
                    total("effect, kind, state", ONE_CELL.series("c2c_auditor_findings", f'effect=~"{effects}"'))
                    + " > 0",
                    legend="{{effect}} {{kind}} ({{state}})",
                ),
                overrides=BY_EFFECT,
                nothing="Nothing found",
            )
            for title, sentence, effects in (
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
            About(
                "Confirmed and resolved",
                "Findings that outlived what silk needs to mend them by itself, and those that went away.",
                8,
            ),
            *ends,
            overrides=BY_EFFECT,
            nothing="Nothing",
        ),
    ]


def _flows() -> list[Panel]:
    flows = total("intended, actual", ONE_CELL.series("c2c_auditor_flows"))
    return [
        graph(
            About(
                "Flows",
                "What should happen to traffic between apps → what does. Flows that are as intended have the axis on "
                "the right. may: the rules leave it open, as a match does that the agent does not know.",
                12,
            ),
            Query(flows, legend="{{intended}} → {{actual}}"),
            overrides=BY_FLOW,
        ),
        graph(
            About(
                "Rules of the policy chain",
                "Expected by policies, present in the kernel, and matched: both. All three are equal on a clean cell.",
                12,
            ),
            *(
                Query(
                    total("purpose", ONE_CELL.series(f"c2c_auditor_rules_{name}")) + " > 0",
                    legend=f"{{{{purpose}}}} {name}",
                )
                for name in ("expected", "present", "matched")
            ),
        ),
    ]


_TO_FLEET = (
    DashboardLink("Fleet")
    .type(DashboardLinkType.LINK)
    .icon("dashboard")
    .url(f"/d/c2c-auditor-fleet?var-{ENVIRONMENT}=${{{ENVIRONMENT}}}&var-{DEPLOYMENT}=${{{DEPLOYMENT}}}")
    .keep_time(True)
)

DASHBOARD = Dashboard(
    uid=UID,
    title="C2C Auditor: Cell",
    description=(
        "Container-to-container rules of one Diego cell. Needs the recording rules of the job c2c_auditor_alerts."
    ),
    scope=ONE_CELL,
    several=False,
    rows=(
        Row(_verdict()),
        Row([_state()]),
        Row(_findings(), title="Findings"),
        Row(_flows(), title="Traffic"),
        Row(changes(), title="Changes and silk"),
        Row(silk()),
        Row(sources(), title="Sources"),
        Row(cost(), title="Cost"),
        Row(size()),
    ),
    link=_TO_FLEET,
    alerts=ONE_CELL.series("ALERTS", 'alertstate="firing"', 'service="c2c-auditor"'),
)
