"""Sentences about differences: who can reach whom, whether a policy allows it, which rule decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from c2c_auditor.audit.comparison.entry import Entry, entries, first_places
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.audit.traffic.destinations import DestinationFlows, Row
from c2c_auditor.audit.traffic.ends import SourceKind
from c2c_auditor.audit.traffic.wording import flows_text, listed
from c2c_auditor.model import rule as r
from c2c_auditor.model.report import Passage
from c2c_auditor.netfilter.flows import FlowSet, both, without
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_MOST_RULES = 3
_STOPS = ("{} stops it", "{} stop it")
_PASSES = ("{} lets it pass", "{} let it pass")
_DEPENDS = ("that depends on {}", "that depends on {}")
# By what is intended and what happens: what the source can do, and what one rule or several have to do with it.
_VERDICTS = {
    (Passage.ALLOW, Passage.DENY): ("cannot", _STOPS),
    (Passage.ALLOW, Passage.MAY): ("may fail to", _DEPENDS),
    (Passage.DENY, Passage.ALLOW): ("can", _PASSES),
    (Passage.DENY, Passage.MAY): ("may", _DEPENDS),
}
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
    """Where rules stand on the way of packets that the cell passes on; of equal rules the first, FORWARD's at first."""

    def __init__(self, inputs: Inputs) -> None:
        self._stages = sorted(inputs.stages, key=lambda stage: not stage.main)
        self._known: dict[r.Rule, Entry | None] = {}
        self._first: dict[tuple[str, str], Mapping[r.Rule, int]] = {}

    def _chains(self) -> Iterator[tuple[str, r.Chain, Mapping[r.Rule, int]]]:
        """Each chain's table, the chain, and where its rules stand."""
        for table, chains in {stage.table: stage.chains for stage in self._stages}.items():
            for name, chain in chains.items():
                if family_of(name) not in _OUTWARD:
                    if (table, name) not in self._first:
                        self._first[table, name] = first_places(chain.rules)
                    yield table, chain, self._first[table, name]

    def of(self, rule: r.Rule) -> Entry | None:
        """Where ``rule`` stands."""
        if rule not in self._known:
            found = (
                entries(chain)[first[rule]]._replace(table=table)
                for table, chain, first in self._chains()
                if rule in first
            )
            self._known[rule] = next(found, None)
        return self._known[rule]

    def name(self, rule: r.Rule | None) -> str:
        """``rule 3 of vpa--…``; None is the policy of FORWARD."""
        if rule is None:
            return f"the policy {self._stages[0].policy or 'ACCEPT'} of FORWARD"
        if isinstance(rule.target, r.Policy):
            return f"the policy {rule.target.verdict} of {rule.target.chain} in {rule.target.table}"
        entry = self.of(rule)
        return entry.name if entry is not None else "a rule of a chain for other traffic"


def destination_name(to: DestinationFlows, people: People) -> str:
    """The destination as sentences name it."""
    if to.container is not None:
        return f"{people.display_name(to.app)} at {to.container.address}"
    return f"{people.display_name(to.app)} on other cells"


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
    """One sentence for each way in which ``row`` differs from the policies."""
    source, destination = row.source.name(people), destination_name(to, people)
    for intended, actual, flows in parts(row):
        deciding = row.deciding(flows)
        rules = [places.name(rule) for rule in deciding[: _MOST_RULES + 1]]
        can, decides = _VERDICTS[intended, actual]
        yield (
            f"{source} {can} reach {destination} on {flows_text(flows)}, although {_permission(row, intended)}: "
            f"{decides[len(rules) > 1].format(listed(rules, _MOST_RULES, 'rules', count=len(deciding)))}."
        )


def _permission(row: Row, intended: Passage) -> str:
    """Who allows a flow, or that it is allowed by nothing."""
    if intended is not Passage.ALLOW:
        return "no policy allows it"
    if row.source.kind is SourceKind.ROUTER:
        return "overlay ingress is switched on"
    return "a policy allows it"
