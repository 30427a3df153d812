"""The dashboard *Fleet*: how many cells are as they should be, which are not, and what that does to traffic."""

from __future__ import annotations

from dashboards import cell
from dashboards.dashboard import Dashboard, Row
from dashboards.labels import CELL, DEPLOYMENT, ENVIRONMENT, FLEET, ONE_CELL, SCRAPE_JOB
from dashboards.panels import (
    ABSENT,
    BY_EFFECT,
    BY_FLOW,
    COLOURS,
    GOOD,
    NEUTRAL,
    UNKNOWN,
    Json,
    Panel,
    Query,
    colour,
    graph,
    override,
    rate,
    stat,
    steps,
    table,
)

from c2c_auditor.model.kind import Effect

_BREACH, _OUTAGE = COLOURS[Effect.BREACH], COLOURS[Effect.OUTAGE]
_STATES = (
    ("clean", GOOD, "Cells that are neither blocked nor open nor blind."),
    (
        "blocked",
        _OUTAGE,
        "Cells on which traffic that policies allow is blocked: confirmed findings with the effect outage.",
    ),
    (
        "open",
        _BREACH,
        "Cells on which traffic passes that no policy allows: confirmed findings with the effect breach.",
    ),
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


def _cells() -> list[Panel]:
    every = Query(f"sum({FLEET.series('deployment:c2c_auditor_cells:count')})")
    panels = [
        stat("Cells", "Cells that have an agent, as Prometheus' targets say.", 4, every, thresholds=steps(NEUTRAL))
    ]
    for state, name, about in _STATES:
        query = Query(f"sum({FLEET.series(f'deployment:c2c_auditor_cells_{state}:sum')})")
        thresholds = steps(name) if state == "clean" else steps(GOOD, (1, name))
        panels.append(stat(state.capitalize(), about, 4, query, thresholds=thresholds))
    return panels


def _confirmed(effect: Effect) -> str:
    found = FLEET.series("cell_effect_kind:c2c_auditor_findings_confirmed:last", f'effect="{effect.value}"')
    return f"sum by ({_PER_CELL}) ({found})"


def _worst() -> Panel:
    """Cells in a bad way, each a link to its own dashboard."""
    oldest = FLEET.series("c2c_auditor_oldest_finding_timestamp_seconds", 'effect=~"outage|breach"')
    bad = f"{FLEET.series('cell:c2c_auditor_clean:bool')} == 0"
    variables = "&".join(f"var-{label}=${{__data.fields.{label}}}" for label in ONE_CELL.labels)
    link = {"title": "Open this cell", "url": f"/d/{cell.UID}?{variables}&${{__url_time_range}}"}
    return table(
        "Worst cells",
        "Every cell that is blocked, open, blind or absent; the figures are confirmed findings. A click on the "
        "address opens the cell.",
        24,
        Query(_confirmed(Effect.OUTAGE)),
        Query(_confirmed(Effect.BREACH)),
        Query(f"max by ({_PER_CELL}) ({FLEET.series('cell:c2c_auditor_blind:bool')}) == 1"),
        Query(f"max by ({_PER_CELL}) ({FLEET.series('cell:c2c_auditor_absent:bool')}) == 1"),
        Query(f"1000 * min by ({_PER_CELL}) ({oldest}) and on ({_PER_CELL}) {bad}"),
        columns={
            CELL: "Cell",
            DEPLOYMENT: "Deployment",
            ENVIRONMENT: "Environment",
            "Value #A": "Outages",
            "Value #B": "Breaches",
            "Value #C": "Blind",
            "Value #D": "Absent",
            "Value #E": "Oldest outage or breach",
        },
        overrides=[
            override("^Cell$", {"links": [link]}),
            _flag("^Outages$", steps(GOOD, (1, _OUTAGE))),
            _flag("^Breaches$", steps(GOOD, (1, _BREACH))),
            _flag("^Blind$", steps(GOOD, (1, UNKNOWN)), "blind"),
            _flag("^Absent$", steps(GOOD, (1, ABSENT)), "absent"),
            override("^Oldest", {"unit": "dateTimeFromNow"}),
        ],
        nothing="No cell is blocked, open, blind or absent",
    )


def _flag(names: str, thresholds: Json, word: str = "") -> Json:
    """A column coloured by its thresholds; ``word`` is shown instead of a 1."""
    properties: Json = {
        "thresholds": thresholds,
        "custom.cellOptions": {"type": "color-background", "mode": "basic"},
        "color": {"mode": "thresholds"},
    }
    if word:
        properties["mappings"] = [{"type": "value", "options": {"1": {"text": word, "index": 0}}}]
    return override(names, properties)


def _history() -> list[Panel]:
    numbers = [
        Query(f"sum({FLEET.series(f'deployment:c2c_auditor_cells_{state}:sum')})", legend=state)
        for state, _, _ in _STATES
    ]
    kinds = f"sum by (effect, kind) ({FLEET.series('deployment_effect_kind:c2c_auditor_findings_confirmed:sum')})"
    return [
        graph(
            "Cells by state",
            "A cell may be blocked, open and blind at once.",
            12,
            *numbers,
            overrides=[colour(f"^{state}$", name) for state, name, _ in _STATES],
        ),
        graph(
            "Confirmed findings by kind",
            "Over all cells. Outage: allowed traffic is blocked. Breach: forbidden traffic passes. Residue and "
            "advice concern no traffic.",
            12,
            Query(kinds, legend="{{effect}} {{kind}}"),
            overrides=BY_EFFECT,
            nothing="Nothing found",
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
    flows = f"sum by (intended, actual) ({FLEET.series('deployment_intended_actual:c2c_auditor_flows:sum')})"
    return [
        graph(
            "Convergence",
            "Seconds from when a policy was known to when the kernel carried it out, over all cells and the last "
            "30 minutes; a gap means that no "
            "policy came.",
            8,
            *percentiles,
            unit="s",
            nothing="No policy came",
        ),
        graph(
            "Policy rules waiting",
            "Rules that policies ask for and that no kernel has yet, within silk's grace.",
            8,
            Query(waiting, legend=_DEPLOYMENTS),
        ),
        graph(
            "Flows",
            "What should happen to traffic between apps → what does. may: the rules leave it open, as a match "
            "does that the agent does not know.",
            8,
            Query(flows, legend="{{intended}} → {{actual}}"),
            overrides=BY_FLOW,
        ),
    ]


def _agents() -> list[Panel]:
    audits = f"60 * sum by (result) ({rate(FLEET.series('c2c_auditor_audits_total'))})"
    down = f"sum by (source) (1 - {FLEET.series('c2c_auditor_source_up')})"
    versions = f"count by (version, backend) ({FLEET.series('c2c_auditor_build_info')})"
    return [
        graph(
            "Audits per minute",
            "By what they came to, over all cells.",
            8,
            Query(audits, legend="{{result}}"),
            unit="none",
        ),
        graph("Sources down", "Cells whose agent cannot read this source.", 8, Query(down, legend="{{source}}")),
        table(
            "Agents",
            "Versions of the agent, and the backend of iptables that holds the rules; an empty backend: rules "
            "were not read yet.",
            8,
            Query(versions),
            columns={"version": "Version", "backend": "Backend", "Value": "Cells"},
        ),
    ]


def _cost() -> list[Panel]:
    cpu, memory = (
        rate(FLEET.series("process_cpu_seconds_total", SCRAPE_JOB)),
        FLEET.series("process_resident_memory_bytes", SCRAPE_JOB),
    )
    about = "Of the process that audits: the median cell and the dearest."
    return [
        graph(
            title,
            about,
            12,
            Query(f"quantile(0.5, {series})", legend="median"),
            Query(f"max({series})", legend="highest"),
            unit=unit,
        )
        for title, series, unit in (
            ("Processor time, share of one core", cpu, "percentunit"),
            ("Resident memory", memory, "bytes"),
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
        Row(_cells(), height=4),
        Row([_worst()], height=9),
        Row(_history()),
        Row(_policies(), title="Policies"),
        Row(_agents(), title="Agents"),
        Row(_cost(), height=7),
    ),
)
