"""The outcome of one audit: an immutable report, which metrics, page, API and terminal render without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import field, frozen

from c2c_auditor.model.cause import Cause
from c2c_auditor.model.change import Change
from c2c_auditor.model.finding import Finding, State
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.rule import Backend


class Result(str, Enum):
    """What one audit came to; ``blind`` also when only part of it could not be judged."""

    CLEAN = "clean"
    FINDINGS = "findings"
    UNSETTLED = "unsettled"
    BLIND = "blind"


class RuleSetName(str, Enum):
    """Which rules are counted: those that should be there, those that are, and those that are both."""

    EXPECTED = "expected"
    PRESENT = "present"
    MATCHED = "matched"


class RuleType(str, Enum):
    """What a rule is for; the label ``purpose`` of ``c2c_auditor_rules_…``."""

    MARK = "mark"
    ACCEPT = "accept"
    INGRESS = "ingress"
    LOG = "log"
    DENY = "deny"
    ASG = "asg"
    NAT = "nat"
    OTHER = "other"


class Passage(str, Enum):
    """Whether flows pass; ``may`` also where some of their packets do and others do not.

    A label value of ``c2c_auditor_flows``.
    """

    ALLOW = "allow"
    DENY = "deny"
    MAY = "may"


@frozen(kw_only=True)
class Problem:
    """Why a source failed, once it did: reason (closed set, `errors.Reason`), place, what happened, what to do."""

    source: str
    reason: str
    where: str
    problem: str
    remedy: str


@frozen(kw_only=True)
class SourceStatus:
    """One source as of this audit; times in seconds since the epoch, None if it never succeeded.

    ``age_limit_passed``: too old to judge by.
    """

    name: str
    up: bool
    last_success: float | None = None
    problem: Problem | None = None
    age_limit_passed: bool = False


@frozen(kw_only=True)
class NetlinkStatus:
    """How the announcements of nf_tables are heard.

    ``buffer`` is how many bytes of them may wait; ``overflows`` and ``listings`` count since the start: how often more
    came than that, and how often all rules were listed. ``witnessed`` is when they were last held against what iptables
    prints, in seconds since the epoch; None if they never were.
    """

    buffer: int
    overflows: int
    listings: int
    witnessed: float | None = None


@frozen(kw_only=True)
class ProcessStatus:
    """One of silk's programs on this cell; ``start_time`` in seconds since the epoch."""

    name: str
    up: bool
    start_time: float | None = None


@frozen(kw_only=True)
class Histogram:
    """Observations by bucket.

    ``counts[i]`` observations are at most ``bounds[i]`` and above the bound before; the last count is of those above
    all bounds. ``total`` is the sum of the observed values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @classmethod
    def empty(cls, *bounds: float) -> Histogram:
        """A histogram without observations; ``bounds`` ascend and leave out infinity."""
        return cls(bounds=bounds, counts=(0,) * (len(bounds) + 1))

    def observed(self, value: float) -> Histogram:
        """The histogram with one more observation."""
        index = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        counts = (*self.counts[:index], self.counts[index] + 1, *self.counts[index + 1 :])
        return Histogram(bounds=self.bounds, counts=counts, total=self.total + value)


@frozen(kw_only=True)
class Counters:
    """What has happened since the agent started; every mapping's keys come from closed sets."""

    confirmed: Mapping[Effect, int] = field(factory=dict)
    resolved: Mapping[Effect, int] = field(factory=dict)
    audits: Mapping[Result, int] = field(factory=dict)
    source_errors: Mapping[tuple[str, str], int] = field(factory=dict)
    ruleset_changes: Mapping[str, int] = field(factory=dict)
    packets: Mapping[str, int] = field(factory=dict)
    log_lines_dropped: int = 0
    convergence: Histogram = Histogram.empty(1, 5, 10, 15, 30, 60, 120, 300, 600)
    durations: Mapping[str, Histogram] = field(factory=dict)


@frozen(kw_only=True)
class MarkPair:
    """One ACCEPT with silk's comment, beside the marks that its source's MARK rules set.

    Apps are guids; ``destination`` is empty for a source without any ACCEPT. Ports are ``first`` to ``last``, 0 for a
    rule without; ``own_port`` says whether the container has one of them, None if its ports are not known.
    ``marks_set`` is empty where no rule shows the source's mark, ``mark_asked`` None where the ACCEPT asks for none.
    """

    source: str
    source_addresses: tuple[str, ...] = ()
    destination: str = ""
    destination_address: str = ""
    protocol: str = ""
    first: int = 0
    last: int = 0
    own_port: bool | None = None
    marks_set: tuple[int, ...] = ()
    mark_asked: int | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether the mark that is set is the one asked for; None where either is not shown."""
        if not self.destination or not self.marks_set:
            return None
        return self.marks_set == (self.mark_asked,)


@frozen(kw_only=True)
class Tally:
    """Counts of one audit: containers, policies, rules by set and type.

    ``flows`` counts stretches of ports between two ends by (intended, actual); None if reachability is not known.
    """

    containers: int | None = None
    policies: int | None = None
    rules: Mapping[tuple[RuleSetName, RuleType], int] = field(factory=dict)
    flows: Mapping[tuple[Passage, Passage], int] | None = None
    policy_chain_time: float | None = None


@frozen(kw_only=True)
class Report:
    """One audit.

    ``findings`` are pending and confirmed ones, ``causes`` what happened behind several of them; ``resolved`` those
    that ended with this audit; ``confirmed`` those that this audit confirmed.

    ``changes`` are those to the rules since the audit before; ``journal`` the last ones, a hundred of silk's and of
    others' each. Both have the oldest first.

    ``omitted`` counts findings that a report of bounded size leaves out, those that ended among them.

    ``statements`` are sentences about flows that the policies do not intend or that are blocked, the first hundred.
    ``pairs`` are the marks that listings show, for whoever has nothing else.

    ``unknown`` are kinds that could not be judged: they are absent from the metrics, never 0. Times are seconds since
    the epoch.
    """

    time: float
    result: Result
    backend: Backend | None = None
    findings: tuple[Finding, ...] = ()
    causes: tuple[Cause, ...] = ()
    confirmed: tuple[Finding, ...] = ()
    resolved: tuple[Finding, ...] = ()
    omitted: Mapping[tuple[Kind, Effect, State], int] = field(factory=dict)
    unknown: frozenset[Kind] = frozenset()
    sources: tuple[SourceStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    netlink: NetlinkStatus | None = None
    changes: tuple[Change, ...] = ()
    journal: tuple[Change, ...] = ()
    tally: Tally = Tally()
    counters: Counters = Counters()
    notes: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    pairs: tuple[MarkPair, ...] = ()
    last_conclusive: float | None = None
    version: str = ""
