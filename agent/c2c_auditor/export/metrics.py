"""The last report as metric families.

Labels come from closed sets, so the number of series depends on nothing that tenants do. A thousand cells share one
Prometheus, so each series has a reader: an alert, a recording rule or a dashboard (`tests/bosh/test_dashboards.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from c2c_auditor.export.catalogue import METRICS, PREFIX
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.report import Histogram, Report, Result, RuleSetName

_STATES = (State.PENDING, State.CONFIRMED)
# Pending findings that are exported as 0 too: their sum is what waits for silk, and unknown is not 0.
_AWAITED = (Kind.MARK_MISSING, Kind.ACCEPT_MISSING, Kind.INGRESS_MISSING, Kind.POLICY_CHAIN_MISSING)
Samples = Iterable[tuple[tuple[str, ...], float]]
Counts = Iterable[tuple[tuple[str, ...], int]]


class ReportCollector(Collector):
    """Renders the report that ``last`` returns; no metrics before the first report.

    The metrics are made once per report, not once per scrape.
    """

    def __init__(self, last: Callable[[], Report | None]) -> None:
        self._last = last
        self._made: tuple[Report, tuple[Metric, ...]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Empty, so that registering the collector renders no report."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All families of the last report."""
        report = self._last()
        if report is None:
            return ()
        made = self._made
        if made is None or made[0] is not report:
            made = self._made = (
                report,
                tuple(families(report)),
            )  # swapped in as a whole: scrapes come in several threads
        return made[1]


class Selected(Collector):
    """Those families of another collector whose samples are called one of ``names``."""

    def __init__(self, collector: Collector, names: Collection[str]) -> None:
        self._collector = collector
        self._names = names

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        return (
            family
            for family in self._collector.collect()
            if any(sample.name in self._names for sample in family.samples)
        )


def families(report: Report) -> Iterator[Metric]:
    """The metric families of one report."""
    counters = report.counters
    yield _counter("audits", (((result.value,), count) for result, count in counters.audits.items()))
    yield _gauge("last_audit_timestamp_seconds", [((), report.time)])
    if report.last_conclusive is not None:
        yield _gauge("last_conclusive_audit_timestamp_seconds", [((), report.last_conclusive)])
    yield _gauge("source_up", [((status.name,), float(status.up)) for status in report.sources])
    yield _gauge(
        "source_last_success_timestamp_seconds",
        [((status.name,), status.last_success) for status in report.sources if status.last_success],
    )
    yield _counter("source_errors", counters.source_errors.items())
    yield _gauge("silk_process_up", [((process.name,), float(process.up)) for process in report.processes])
    yield _gauge(
        "silk_process_start_time_seconds",
        [((process.name,), process.start_time) for process in report.processes if process.start_time],
    )
    yield _counter("findings_confirmed", (((effect.value,), count) for effect, count in counters.confirmed.items()))
    yield _counter("findings_resolved", (((effect.value,), count) for effect, count in counters.resolved.items()))
    yield _counter("ruleset_changes", (((by,), count) for by, count in counters.ruleset_changes.items()))
    if counters.packets:
        yield _counter("packets", (((verdict,), count) for verdict, count in counters.packets.items()))
    yield _counter("log_lines_dropped", [((), counters.log_lines_dropped)])
    yield _histogram("policy_convergence_seconds", {(): counters.convergence})
    yield _histogram("audit_duration_seconds", {(phase,): histogram for phase, histogram in counters.durations.items()})
    yield _gauge("build_info", [((report.version, report.backend.value if report.backend is not None else ""), 1.0)])
    yield from _netlink(report)
    yield from _findings(report)
    yield from _tally(report)


def _netlink(report: Report) -> Iterator[Metric]:
    status = report.netlink
    if status is None:
        return
    yield _gauge("netlink_buffer_bytes", [((), float(status.buffer))])
    yield _counter("netlink_overflows", [((), status.overflows)])
    yield _counter("netlink_listings", [((), status.listings)])
    if status.witnessed is not None:
        yield _gauge("witness_timestamp_seconds", [((), status.witnessed)])


def _findings(report: Report) -> Iterator[Metric]:
    """Every kind that was judged, with 0 where nothing was confirmed. A finding counts once for each of its effects."""
    judged = [kind for kind in Kind if kind not in report.unknown]
    counts: Counter[tuple[str, ...]] = Counter(
        {
            (kind.value, kind.effect.value, state.value): 0
            for kind in judged
            for state in _STATES
            if state is State.CONFIRMED or kind in _AWAITED
        }
    )
    counts.update(
        (finding.kind.value, effect.value, finding.state.value)
        for finding in report.findings
        for effect in finding.effects
    )
    for (kind, effect, state), count in report.omitted.items():
        if state in _STATES:
            counts[kind.value, effect.value, state.value] += count
    yield _gauge("findings", [(labels, float(count)) for labels, count in counts.items()])
    yield _gauge("unknown_kinds", [((kind.value,), 1.0) for kind in Kind if kind in report.unknown])
    oldest: dict[Effect, float] = {}
    for finding in report.findings:
        for effect in finding.effects:
            oldest[effect] = min(finding.first_seen, oldest.get(effect, finding.first_seen))
    yield _gauge(
        "oldest_finding_timestamp_seconds", [((effect.value,), oldest[effect]) for effect in Effect if effect in oldest]
    )


def _tally(report: Report) -> Iterator[Metric]:
    if report.result is Result.BLIND and not report.tally.rules:
        return
    tally = report.tally
    for name in RuleSetName:
        counted = [((type_.value,), float(count)) for (set_, type_), count in tally.rules.items() if set_ is name]
        yield _gauge(f"rules_{name.value}", counted)
    if tally.flows is not None:
        yield _gauge(
            "flows",
            [((intended.value, actual.value), float(count)) for (intended, actual), count in tally.flows.items()],
        )
    for figure, value in (
        ("containers", tally.containers),
        ("policies", tally.policies),
        ("policy_chain_timestamp_seconds", tally.policy_chain_time),
    ):
        if value is not None:
            yield _gauge(figure, [((), float(value))])


def _gauge(name: str, samples: Samples) -> Metric:
    metric = METRICS[name]
    family = GaugeMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _counter(name: str, samples: Counts) -> Metric:
    metric = METRICS[name]
    family = CounterMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, float(value))
    return family


def _histogram(name: str, samples: Mapping[tuple[str, ...], Histogram]) -> Metric:
    metric = METRICS[name]
    family = HistogramMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
    for labels, histogram in samples.items():
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
        family.add_metric(labels, buckets, histogram.total)
    return family
