"""The dashboard *Fleet*: how many cells are as they should be, which are not, and what that does to traffic."""

from __future__ import annotations

from dashboards import cell
from dashboards.dashboard import Dashboard, Row
from dashboards.labels import CELL, DEPLOYMENT, ENVIRONMENT, FLEET, ONE_CELL, RUNBOOKS, VM, vm
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
    colour,
    figures,
    graph,
    link,
    rows,
    steps,
    words,
)

from c2c_auditor.model.kind import Effect

_BREACH, _OUTAGE = COLOURS[Effect.BREACH], COLOURS[Effect.OUTAGE]
_STATES = (
    ("clean", GOOD, "Cells that are neither blocked nor open nor blind."),
    ("blocked", _OUTAGE, "Cells on which traffic that policies allow is blocked."),
    ("open", _BREACH, "Cells on which traffic passes that no policy allows."),
    (
        "blind",
        UNKNOWN,
        "Cells of which not everything could be judged, or whose agent does not answer. Blind is not clean.",
    ),
    (
        "absent",
        ABSENT,
        "Cells that run vxlan-policy-agent and have no agent that answers; they are not among those that have one.",
    ),
)
_PER_CELL = f"{ENVIRONMENT}, {DEPLOYMENT}, {CELL}"
_DEPLOYMENTS = f"{{{{{ENVIRONMENT}}}}}/{{{{{DEPLOYMENT}}}}}"
_TO_CELL = link(
    "Open this cell",
    f"/d/{cell.UID}?{'&'.join(f'var-{label}=${{__data.fields.{label}}}' for label in ONE_CELL.labels)}"
    "&${__url_time_range}",
)


def _cells() -> list[Panel]:
    every = Query(f"sum({FLEET.series('deployment:c2c_auditor_cells:count')})")
    about = About("Cells", "Cells that have an agent, as Prometheus' targets say.", 4, height=4)
    panels: list[Panel] = [figures(about, every, thresholds=steps(NEUTRAL))]
    for state, name, meaning in _STATES:
        query = Query(f"sum({FLEET.series(f'deployment:c2c_auditor_cells_{state}:sum')})")
        thresholds = steps(name) if state == "clean" else steps(GOOD, (1, name))
        panels.append(figures(About(state.capitalize(), meaning, 4, height=4), query, thresholds=thresholds))
    return panels


def _alerts() -> Panel:
    firing = FLEET.series("ALERTS", 'alertstate="firing"', 'service="c2c-auditor"')
    by = f"alertname, severity, source, {_PER_CELL}"
    return rows(
        About(
            "Alerts that fire",
            "A click on the alert opens its runbook, a click on the address the cell; without an address it is "
            "about the deployment.",
            24,
            height=7,
        ),
        Query(f"count by ({by}) ({firing})"),
        columns={
            "alertname": "Alert",
            "severity": "Severity",
            CELL: "Cell",
            "source": "Source",
            DEPLOYMENT: "Deployment",
            ENVIRONMENT: "Environment",
            "Value": "",
        },
        first="Severity",
        overrides=[
            Override("^Alert$", {"links": [link("Open the runbook", f"{RUNBOOKS}/${{__data.fields.alertname}}.md")]}),
            Override("^Cell$", {"links": [_TO_CELL]}),
        ],
        nothing="No alert fires",
    )


def _confirmed(effect: Effect) -> str:
    found = FLEET.series("cell_effect_kind:c2c_auditor_findings_confirmed:last", f'effect="{effect.value}"')
    return f"sum by ({_PER_CELL}) ({found})"


def _worst() -> Panel:
    """Cells in a bad way, each a link to its own dashboard."""
    oldest = FLEET.series("c2c_auditor_oldest_finding_timestamp_seconds", 'effect=~"outage|breach"')
    bad = f"{FLEET.series('cell:c2c_auditor_clean:bool')} == 0"
    absent = f"max by ({_PER_CELL}) ({FLEET.series('cell:c2c_auditor_absent:bool')}) == 1"
    return rows(
        About(
            "Worst cells",
            "Every cell that is blocked, open, blind or absent; the figures are confirmed findings. A click on the "
            "address opens the cell.",
            24,
            height=9,
        ),
        Query(_confirmed(Effect.OUTAGE)),
        Query(_confirmed(Effect.BREACH)),
        Query(f"max by ({_PER_CELL}) ({FLEET.series('cell:c2c_auditor_blind:bool')}) == 1"),
        Query(absent),
        Query(f"1000 * min by ({_PER_CELL}) ({oldest}) and on ({_PER_CELL}) {bad}"),
        Query(f"max by ({_PER_CELL}, {VM}) ({vm(FLEET)}) and on ({_PER_CELL}) ({bad} or {absent})"),
        columns={
            VM: "VM",
            CELL: "Cell",
            DEPLOYMENT: "Deployment",
            ENVIRONMENT: "Environment",
            "Value #A": "Outages",
            "Value #B": "Breaches",
            "Value #C": "Blind",
            "Value #D": "Absent",
            "Value #E": "Oldest outage or breach",
            "Value #F": "",
        },
        overrides=[
            Override("^Cell$", {"links": [_TO_CELL]}),
            _flag("^Outages$", (1, _OUTAGE)),
            _flag("^Breaches$", (1, _BREACH)),
            _flag("^Blind$", (1, UNKNOWN), "blind"),
            _flag("^Absent$", (1, ABSENT), "absent"),
            Override("^Oldest", {"unit": "dateTimeFromNow"}),
        ],
        nothing="No cell is blocked, open, blind or absent",
    )


def _flag(names: str, limit: tuple[float, str], word: str = "") -> Override:
    """A column coloured by its threshold; ``word`` is shown instead of a 1."""
    properties: dict[str, object] = {
        "thresholds": steps(GOOD, limit).build(),
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
        "color": {"mode": "thresholds"},
    }
    if word:
        properties["mappings"] = words({1: (word, limit[1])})
    return Override(names, properties)


def _history() -> list[Panel]:
    wrong = [(state, name) for state, name, _ in _STATES if state != "clean"]
    numbers = [
        Query(f"sum({FLEET.series(f'deployment:c2c_auditor_cells_{state}:sum')})", legend=state) for state, _ in wrong
    ]
    harmful = FLEET.series("deployment_effect_kind:c2c_auditor_findings_confirmed:sum", 'effect=~"outage|breach"')
    return [
        graph(
            About("Cells that are not clean", "A cell may be blocked, open and blind at once.", 12),
            *numbers,
            overrides=[colour(f"^{state}$", name) for state, name in wrong],
        ),
        graph(
            About(
                "Findings by cause",
                "Confirmed, over all cells. Outage: allowed traffic is blocked. Breach: forbidden traffic passes.",
                12,
            ),
            Query(f"sum by (effect, kind) ({harmful})", legend="{{effect}} {{kind}}"),
            overrides=BY_EFFECT,
            nothing="Nothing found",
        ),
    ]


def _traffic() -> list[Panel]:
    flows = f"sum by (intended, actual) ({FLEET.series('deployment_intended_actual:c2c_auditor_flows:sum')})"
    changes = f"60 * sum by (by) ({FLEET.series('deployment_by:c2c_auditor_ruleset_changes:rate5m')})"
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
                "Changes to the rules, a minute",
                "Commits to nf_tables by who made them; foreign is anybody but silk. Legacy iptables does not tell.",
                12,
            ),
            Query(changes, legend="{{by}}"),
            unit="none",
        ),
    ]


def _policies() -> list[Panel]:
    percentiles = [
        Query(
            FLEET.series(f"deployment:c2c_auditor_policy_convergence_seconds:p{number}_30m"),
            legend=f"p{number} {_DEPLOYMENTS}",
        )
        for number in (50, 95, 99)
    ]
    waiting = f"sum by ({ENVIRONMENT}, {DEPLOYMENT}) ({FLEET.series('deployment:c2c_auditor_policies_waiting:sum')})"
    return [
        graph(
            About(
                "Convergence",
                "Seconds from when a policy was known to when the kernel carried it out, over all cells and the last "
                "30 minutes; a gap means that no policy came.",
                12,
            ),
            *percentiles,
            unit="s",
            nothing="No policy came",
        ),
        graph(
            About(
                "Policy rules waiting",
                "Rules that policies ask for and that no kernel has yet, within silk's grace.",
                12,
            ),
            Query(waiting, legend=_DEPLOYMENTS),
        ),
    ]


def _agents() -> list[Panel]:
    audits = f"60 * sum by (result) ({FLEET.series('deployment_result:c2c_auditor_audits:rate5m')})"
    down = f"sum by (source) ({FLEET.series('deployment_source:c2c_auditor_cells_source_down:sum')})"
    versions = f"count by (version, backend) ({FLEET.series('c2c_auditor_build_info')})"
    return [
        graph(
            About("Audits per minute", "By what they came to, over all cells.", 8),
            Query(audits, legend="{{result}}"),
            unit="none",
        ),
        graph(About("Sources down", "Cells whose agent cannot read this source.", 8), Query(down, legend="{{source}}")),
        rows(
            About(
                "Agents",
                "Versions of the agent, and the backend of iptables that holds the rules; an empty backend: rules "
                "were not read yet.",
                8,
            ),
            Query(versions),
            columns={"version": "Version", "backend": "Backend", "Value": "Cells"},
        ),
    ]


def _cost() -> list[Panel]:
    return [
        graph(
            About(title, "Of the process that audits: the median cell and the dearest.", 12, height=7),
            *(
                Query(FLEET.series(f"deployment:c2c_auditor_{series}{which}"), legend=f"{legend} {_DEPLOYMENTS}")
                for which, legend in (("median", "median"), ("max", "highest"))
            ),
            unit=unit,
        )
        for title, series, unit in (
            ("Processor time, share of one core", "process_cpu_seconds:rate5m_", "percentunit"),
            ("Resident memory", "process_resident_memory_bytes:", "bytes"),
        )
    ]


DASHBOARD = Dashboard(
    uid="c2c-auditor-fleet",
    title="C2C Auditor: Fleet",
    description=(
        "Container-to-container rules of all Diego cells. Needs the recording rules of the job c2c_auditor_alerts."
    ),
    scope=FLEET,
    several=True,
    rows=(
        Row(_cells()),
        Row([_alerts()]),
        Row([_worst()]),
        Row(_history()),
        Row(_traffic(), title="Traffic"),
        Row(_policies(), title="Policies"),
        Row(_agents(), title="Agents"),
        Row(_cost()),
    ),
)
