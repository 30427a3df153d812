"""What reachability says, in sentences: who can, or cannot, reach whom on what, whether that is intended, and which rule decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.model import rule as r
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import FlowSet, both, shown, without
from c2c_auditor.silk.chain_names import ChainFamily, family_of

# Families of chains that only traffic to the outside, or to the cell itself, meets.
_OUTWARD = (
    ChainFamily.ASG,
    ChainFamily.ASG_CANDIDATE,
    ChainFamily.NETOUT,
    ChainFamily.NETOUT_LOG,
    ChainFamily.RATE_LIMIT_LOG,
    ChainFamily.INPUT,
)


class Places:
    """Where rules stand in a filter table; of equal rules the first."""

    def __init__(self, ruleset: r.Ruleset) -> None:
        self._chains = ruleset.chains("filter")

    @cached_property
    def _found(self) -> Mapping[r.Rule, Entry]:
        found: dict[r.Rule, Entry] = {}
        for name, chain in self._chains.items():
            if family_of(name) not in _OUTWARD:
                for at, rule in enumerate(chain.rules, 1):
                    found.setdefault(rule, Entry(chain=name, position=at, rule=rule))
        return found

    def of(self, rule: r.Rule) -> Entry | None:
        """Where ``rule`` stands."""
        return self._found.get(rule)

    def said(self, rule: r.Rule | None) -> str:
        """``rule 3 of vpa--…``; None is the policy of FORWARD."""
        if rule is None:
            return f"the policy of FORWARD ({self._chains['FORWARD'].policy or 'ACCEPT'})"
        entry = self.of(rule)
        return f"rule {entry.position} of {entry.chain}" if entry is not None else "a rule that was not found again"


def aims(to: DestinationFlows, people: People) -> str:
    """The destination in a sentence."""
    if to.container is not None:
        return f"{people.called(to.app)} at {to.container.address}"
    return f"{people.called(to.app)} on other cells"


def parts(row: Row) -> Iterator[tuple[Passage, Passage, FlowSet]]:
    """The flows of ``row`` on which intent and rules differ: (intended, actual, flows)."""
    unsure = without(row.may_pass, row.intended)
    for intended, actual, flows in (
        (Passage.ALLOW, Passage.DENY, row.blocked),
        (Passage.ALLOW, Passage.MAY, row.doubtful),
        (Passage.DENY, Passage.ALLOW, without(row.open, unsure)),
        (Passage.DENY, Passage.MAY, both(row.open, unsure)),
    ):
        if flows:
            yield intended, actual, flows


def sentences(to: DestinationFlows, row: Row, people: People, places: Places) -> Iterator[str]:
    """One sentence for each kind of difference in ``row``."""
    for intended, actual, flows in parts(row):
        can = {Passage.ALLOW: "can", Passage.DENY: "cannot", Passage.MAY: "can for some packets"}[actual]
        asked = "yes" if intended is Passage.ALLOW else "no"
        rules = " and ".join(map(places.said, row.deciding(flows)[:3]))
        yield (
            f"{row.source.called(people)} {can} reach {aims(to, people)} on {shown(flows)}, intended: {asked}, "
            f"decided by {rules}."
        )
