"""The one home of every metric's name, type, labels and help text; docs/metrics.md is generated from it."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Metric:
    """One metric family; ``name`` without the prefix ``c2c_auditor_`` and without ``_total``."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


PREFIX = "c2c_auditor_"

PROCESS_METRICS = ("process_cpu_seconds_total", "process_resident_memory_bytes")
"""What of the client library's metrics of processes is exported."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="findings",
            type="gauge",
            labels=("kind", "effect", "state"),
            help="Findings of the last audit, once for each effect; absent for kinds that it could not judge.",
        ),
        Metric(
            name="unknown_kinds",
            type="gauge",
            labels=("kind",),
            help="Kinds of findings that the last audit could not judge, always 1; absent for those that it could.",
        ),
        Metric(
            name="findings_confirmed",
            type="counter",
            labels=("effect",),
            help="Findings that lasted longer than silk needs to correct them by itself.",
        ),
        Metric(
            name="findings_resolved",
            type="counter",
            labels=("effect",),
            help="Confirmed findings that an audit no longer saw.",
        ),
        Metric(
            name="oldest_finding_timestamp_seconds",
            type="gauge",
            labels=("effect",),
            help="When the oldest finding of this effect was first seen.",
        ),
        Metric(
            name="rules_expected",
            type="gauge",
            labels=("purpose",),
            help="Rules that the policies ask for in the policy chain.",
        ),
        Metric(
            name="rules_present",
            type="gauge",
            labels=("purpose",),
            help="Rules that are in the policy chain.",
        ),
        Metric(
            name="rules_matched",
            type="gauge",
            labels=("purpose",),
            help="Rules of the policy chain that are both expected and present.",
        ),
        Metric(
            name="flows",
            type="gauge",
            labels=("intended", "actual"),
            help=(
                "Port ranges between two ends, by what policies say (allow, deny) and what the rules do "
                "(allow, deny, may)."
            ),
        ),
        Metric(name="containers", type="gauge", help="Containers in the cell's metadata."),
        Metric(name="policies", type="gauge", help="Policies that concern this cell."),
        Metric(
            name="policy_convergence_seconds",
            type="histogram",
            help="Time from when a policy was known to when the kernel carried it out.",
        ),
        Metric(
            name="policy_chain_timestamp_seconds",
            type="gauge",
            help="When silk made the policy chain that is in force.",
        ),
        Metric(
            name="ruleset_changes",
            type="counter",
            labels=("by",),
            help="Commits to the rules, by author (vpa, cni, foreign).",
        ),
        Metric(
            name="packets",
            type="counter",
            labels=("verdict",),
            help=(
                "Packets that ACCEPT rules of the policy chain let in (accepted) and that containers' default deny "
                "refused, read once a minute; what a chain counted after its last reading, until silk replaced it, is "
                "missing. Absent before the first reading."
            ),
        ),
        Metric(
            name="netlink_buffer_bytes",
            type="gauge",
            help="How many bytes of nf_tables' announcements may wait to be read; absent where none are heard.",
        ),
        Metric(
            name="netlink_overflows",
            type="counter",
            help="How often more was announced than the buffer holds; everything is listed again then.",
        ),
        Metric(
            name="netlink_listings",
            type="counter",
            help="How often all rules of nf_tables were listed: at the start, and after each loss of announcements.",
        ),
        Metric(
            name="witness_timestamp_seconds",
            type="gauge",
            help="When the rules were last held against what iptables-nft prints; absent if they never were.",
        ),
        Metric(
            name="log_lines_dropped",
            type="counter",
            help="Log lines that could not be written: no space, no reader, or a reader that is too slow.",
        ),
        Metric(
            name="source_up", type="gauge", labels=("source",), help="Whether the last audit could read this source."
        ),
        Metric(
            name="source_last_success_timestamp_seconds",
            type="gauge",
            labels=("source",),
            help="When this source was last read.",
        ),
        Metric(
            name="source_errors",
            type="counter",
            labels=("source", "reason"),
            help="Audits for which this source failed, by reason.",
        ),
        Metric(name="audits", type="counter", labels=("result",), help="Audits by result."),
        Metric(
            name="audit_duration_seconds",
            type="histogram",
            labels=("phase",),
            help="Time that each phase of an audit took: facts, rules, judge (what settles findings included).",
        ),
        Metric(name="last_audit_timestamp_seconds", type="gauge", help="When the last audit was made."),
        Metric(
            name="last_conclusive_audit_timestamp_seconds",
            type="gauge",
            help="When an audit could last judge everything.",
        ),
        Metric(
            name="silk_process_up",
            type="gauge",
            labels=("process",),
            help="Whether this program (of silk, or garden) runs.",
        ),
        Metric(
            name="silk_process_start_time_seconds",
            type="gauge",
            labels=("process",),
            help="When this program was started.",
        ),
        Metric(
            name="build_info",
            type="gauge",
            labels=("version", "backend"),
            help="The agent's version and the backend that holds the rules; always 1.",
        ),
    )
}


def markdown() -> str:
    """The catalogue as the page docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        (
            "Generated from `export/catalogue.py` by `make docs`; do not edit. All names begin with `c2c_auditor_`; "
            "counters end in `_total`."
        ),
        (
            "Labels take their values from closed sets only. After an audit that could judge everything every kind "
            "of confirmed finding is present, with 0;"
        ),
        (
            "kinds that could not be judged are absent, never 0. Pending findings are there while there are any, "
            "missing policy rules with 0 too."
        ),
        f"Of the process that audits: {', '.join(f'`{name}`' for name in PROCESS_METRICS)}.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in METRICS.values():
        suffix = "_total" if metric.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{PREFIX}{metric.name}{suffix}` | {metric.type} | {labels} | {metric.help} |")
    return "\n".join([*lines, ""])
