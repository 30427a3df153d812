"""The result of judging one reading of one backend."""

from __future__ import annotations

import math

from attrs import field, frozen

from c2c_auditor.audit.comparison.compare import Comparison
from c2c_auditor.audit.traffic.reachability import Reachability
from c2c_auditor.model.cell import Policy
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Tally
from c2c_auditor.silk.policy import Planned

# What a report tells in words; the matrix tells all.
MOST_STATEMENTS = 100


@frozen(kw_only=True)
class Judgement:
    """The findings of one reading of one backend, and what else was worked out on the way.

    ``unknown`` kinds could not be judged; ``carried`` are the policies that this cell has to carry out (None: not
    known), ``unmet`` those of them that the kernel does not. ``reach`` is the reachability, None where it is
    not known; ``statements`` are the first of its differences as sentences. ``comparison`` is that of the policy chain.
    ``policy_chain_time`` is when silk made its
    newest policy chain, in force or not, in seconds since the epoch.

    Some checks also depend on the time: the judgement holds from ``holds_from`` until before ``holds_until`` by the
    cell's clock (seconds since the epoch), and must be made anew outside.
    """

    findings: tuple[Finding, ...] = ()
    unknown: frozenset[Kind] = frozenset()
    carried: frozenset[Policy] | None = None
    unmet: frozenset[Policy] = frozenset()
    tally: Tally = field(factory=Tally)
    notes: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    policy_chain_time: float | None = None
    reach: Reachability | None = field(default=None, eq=False, repr=False)
    comparison: Comparison[Planned] | None = field(default=None, eq=False, repr=False)
    holds_from: float = -math.inf
    holds_until: float = math.inf
