"""The lower half of the dashboard *Cell*: silk's programs, what the agent knows the cell by, and what it costs."""

from __future__ import annotations

from dashboards.labels import ONE_CELL, SCRAPE_JOB, age, total
from dashboards.panels import (
    COLOURS,
    GOOD,
    NEUTRAL,
    About,
    Panel,
    Query,
    figures,
    gained,
    graph,
    rate,
    rows,
    steps,
    timeline,
    words,
)

from c2c_auditor.model.kind import Effect

_SILK = "vxlan-policy-agent|silk-daemon|netmon|garden"
_UP = {0: ("down", COLOURS[Effect.OUTAGE]), 1: ("up", GOOD)}


def changes() -> list[Panel]:
    """Who changes rules, whether policies arrive, and what passes by them."""
    buckets = f"increase({ONE_CELL.series('c2c_auditor_policy_convergence_seconds_bucket')}[30m])"
    return [
        graph(
            About(
                "Changes to the rules",
                "Commits to nf_tables by who made them; foreign is anybody but silk. Legacy iptables does not tell.",
                6,
            ),
            Query(gained("by", ONE_CELL.series("c2c_auditor_ruleset_changes_total")), legend="{{by}}"),
        ),
        graph(
            About(
                "Convergence",
                "Seconds from when a policy was known to when the kernel carried it out, over the last 30 minutes; a "
                "gap means that no policy came.",
                6,
            ),
            Query(f"histogram_quantile(0.5, sum by (le) ({buckets})) >= 0", legend="p50"),
            Query(f"max({ONE_CELL.series('cell:c2c_auditor_policy_convergence_seconds:p90_30m')})", legend="p90"),
            unit="s",
            nothing="No policy came",
        ),
        graph(
            About("Policies", "Rules that wait, within silk's grace, and policies that arrived in 30 minutes.", 6),
            Query(f"sum({ONE_CELL.series('cell:c2c_auditor_policies_waiting:sum')})", legend="rules waiting"),
            Query(
                f"round(sum({ONE_CELL.series('cell:c2c_auditor_policy_convergence_seconds:count_30m')}))",
                legend="policies arrived",
            ),
        ),
        graph(
            About(
                "Packets",
                "Per second, read once a minute: accepted by the policy chain, refused by containers' default deny.",
                6,
            ),
            Query(total("verdict", rate(ONE_CELL.series("c2c_auditor_packets_total"))), legend="{{verdict}}"),
            unit="none",
        ),
    ]


def silk() -> list[Panel]:
    """Whether silk's programs run."""
    chain = age(ONE_CELL.series("c2c_auditor_policy_chain_timestamp_seconds"))
    started = age(ONE_CELL.series("c2c_auditor_silk_process_start_time_seconds"), "process")
    monit = f'bosh_job_process_name=~"{_SILK}"'
    return [
        timeline(
            About(
                "silk and garden",
                "Whether they run: as monit says (bosh_exporter), and as the agent sees where it can see processes.",
                12,
                height=7,
            ),
            Query(
                f"max by (bosh_job_process_name) ({ONE_CELL.series('bosh_job_process_healthy', monit)})",
                legend="{{bosh_job_process_name}}",
            ),
            Query(f"max by (process) ({ONE_CELL.series('c2c_auditor_silk_process_up')})", legend="{{process}} (agent)"),
            mappings=words(_UP),
        ),
        graph(
            About(
                "Running for",
                "Age of the policy chain that is in force, and of silk's programs. A quiet platform has an old "
                "chain: that is no fault.",
                12,
                height=7,
            ),
            Query(chain, legend="policy chain"),
            Query(started, legend="{{process}}"),
            unit="s",
        ),
    ]


def sources() -> list[Panel]:
    """What the agent reads, whether it could, and if not why."""
    errors = gained("source, reason", ONE_CELL.series("c2c_auditor_source_errors_total"))
    return [
        timeline(
            About(
                "Sources",
                "Whether the last audit could read each source. With one down the last good expectations are used "
                "for a while, then findings are unknown.",
                8,
            ),
            Query(f"min by (source) ({ONE_CELL.series('c2c_auditor_source_up')})", legend="{{source}}"),
            mappings=words(_UP),
        ),
        graph(
            About("Last read", "Time since each source was last read.", 8),
            Query(
                age(ONE_CELL.series("c2c_auditor_source_last_success_timestamp_seconds"), "source"), legend="{{source}}"
            ),
            unit="s",
        ),
        graph(
            About("Failures", "Audits for which a source failed, by reason.", 8),
            Query(f"{errors} > 0", legend="{{source}}: {{reason}}"),
            nothing="None",
        ),
        graph(
            About(
                "Rules listed as a whole",
                "Since the agent's start: once then, and after each loss of what nf_tables announced (overflows).",
                8,
            ),
            *(
                Query(f"sum({ONE_CELL.series(f'c2c_auditor_netlink_{name}_total')})", legend=name)
                for name in ("listings", "overflows")
            ),
            unit="none",
        ),
        graph(
            About("Room for announcements", "Bytes of nf_tables' announcements that may wait to be read.", 8),
            Query(f"sum({ONE_CELL.series('c2c_auditor_netlink_buffer_bytes')})", legend="buffer"),
            unit="bytes",
        ),
        graph(
            About("Second witness", "Time since the rules were last held against what iptables-nft prints.", 8),
            Query(age(ONE_CELL.series("c2c_auditor_witness_timestamp_seconds")), legend="iptables-nft"),
            unit="s",
        ),
    ]


def cost() -> list[Panel]:
    """What auditing takes."""
    took = {
        part: rate(ONE_CELL.series(f"c2c_auditor_audit_duration_seconds_{part}")) for part in ("sum", "count", "bucket")
    }
    audits = f"60 * {total('result', rate(ONE_CELL.series('c2c_auditor_audits_total')))}"
    cpu = rate(ONE_CELL.series("process_cpu_seconds_total", SCRAPE_JOB))
    return [
        graph(About("Audits per minute", "By what they came to.", 6), Query(audits, legend="{{result}}"), unit="none"),
        graph(
            About("Audit duration", "Each phase of an audit: the mean, and the 95th percentile.", 6),
            Query(f"{total('phase', took['sum'])} / {total('phase', took['count'])}", legend="{{phase}}"),
            Query(f"histogram_quantile(0.95, {total('phase, le', took['bucket'])})", legend="{{phase}} p95"),
            unit="s",
        ),
        graph(
            About("Processor time", "Of the process that audits, as a share of one core.", 6),
            Query(f"sum({cpu})", legend="agent"),
            unit="percentunit",
        ),
        graph(
            About("Resident memory", "Of the process that audits.", 6),
            Query(f"sum({ONE_CELL.series('process_resident_memory_bytes', SCRAPE_JOB)})", legend="agent"),
            unit="bytes",
        ),
    ]


def size() -> list[Panel]:
    """How much there is to audit, and by what."""
    return [
        *(
            figures(
                About(title, sentence, 6, height=4),
                Query(f"sum({ONE_CELL.series(f'c2c_auditor_{name}')})"),
                thresholds=steps(NEUTRAL),
            )
            for title, sentence, name in (
                ("Containers", "Containers in the cell's metadata.", "containers"),
                ("Policies", "Policies that concern this cell.", "policies"),
                (
                    "Log lines lost",
                    "Since the agent's start: no space, no reader, or a reader that is too slow.",
                    "log_lines_dropped_total",
                ),
            )
        ),
        rows(
            About("Agent", "The agent's version, and the backend of iptables that holds the rules.", 6, height=4),
            Query(f"count by (version, backend) ({ONE_CELL.series('c2c_auditor_build_info')})"),
            columns={"version": "Version", "backend": "Backend", "Value": "Cells"},
        ),
    ]
