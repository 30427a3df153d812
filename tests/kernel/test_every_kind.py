"""The kinds that the demo's faults do not raise, in a real kernel whose rules are changed by hand.

Each is raised, confirmed, and resolved, on both backends.

Together with `test_demo_faults` and the demo's tour over all faults this is every kind there is;
`test_no_kind_is_left_out` holds that.
"""

from __future__ import annotations

import subprocess

import pytest
from attrs import define, evolve

from c2c_auditor.audit.settle import Grace
from c2c_auditor.cycle import Cycle
from c2c_auditor.model.cell import BadRecord, CellFacts, PolicySet
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.model.report import Result
from c2c_auditor.model.rule import PortRange
from c2c_auditor.sources.clocks import Clocks
from c2c_auditor.sources.declared import DeclaredRuleSettings
from c2c_auditor.sources.rules.backends import Backends
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from demo.faults import ALL
from support.by_hand import BY_HAND
from support.namespaces import in_namespace
from support.recordings import CELLS, recording
from support.shown_findings import hold

pytestmark = pytest.mark.kernel
# The net below the other checks: no change of a rule is known that opens traffic and that none of them names.
BY_NOBODY_YET = {Kind.FLOW_OPEN}
BY_FACTS = {
    Kind.POLICY_UNREADABLE: "a policy opens port 0",
    Kind.PORT_NOT_EXPOSED: "a policy opens a port that its destination does not have",
}


@define
class _Script:
    """Facts as a test says, and a steady clock that it moves."""

    facts: CellFacts
    steady: float = 0.0

    def read(self) -> FactsReading:
        return FactsReading(facts=self.facts)


def _cycle(script: _Script, netlink: Netlink) -> Cycle:
    nft = NativeReader(netlink)
    rules = Backends([nft, LegacyReader()])
    grace = Grace(policy=10, security_group=10, hint=10)
    return Cycle(rules=rules, facts=script, version="t", grace=grace, clocks=Clocks(steady=lambda: script.steady))


def _raised(cycle: Cycle, script: _Script, kind: Kind, *, story: str, update: bool) -> Finding:
    """Pending at once, confirmed after the grace, and said as docs/findings/ shows it."""
    first = cycle.run()
    assert kind in {finding.kind for finding in first.findings}
    script.steady += 10
    report = cycle.run()
    assert kind in {finding.kind for finding in report.confirmed}
    assert report.result is Result.FINDINGS
    finding = next(finding for finding in report.confirmed if finding.kind is kind)
    said = f"{finding.effect.value.upper()} {kind.value} {finding.summary}"
    hold(kind, story=story, said=said, update=update)
    return finding


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("kind", BY_HAND, ids=lambda kind: kind.value)
def test_a_rule_changed_by_hand_is_raised_and_resolved(
    kind: Kind, backend: str, request: pytest.FixtureRequest
) -> None:
    """With the backend's own iptables; the finding names the commit, and on nf_tables who made it."""
    _by_hand(kind, backend, update=request.config.getoption("--update-golden"))


@in_namespace
def _by_hand(kind: Kind, backend: str, *, update: bool) -> None:
    name, typed = BY_HAND[kind]
    cell = recording(name)
    whole = (CELLS / name / "iptables-save.txt").read_bytes()
    restore = (f"iptables-{backend}-restore", "-w")
    subprocess.run(restore, input=whole, check=True, timeout=30)
    script = _Script(facts=cell.facts)
    with Netlink() as netlink:
        cycle = _cycle(script, netlink)
        assert cycle.run().result is Result.CLEAN
        command = typed.replace("VPA", cell.policy_chain).split()
        subprocess.run((f"iptables-{backend}", "-w", *command), check=True, timeout=30)
        story = f"`iptables {typed.replace('VPA', 'vpa--<time>')}`"
        change = _raised(cycle, script, kind, story=story, update=update).changed_by
        if kind is Kind.FLOW_BLOCKED:  # which is about no rule in particular
            assert change is None
        else:
            assert change is not None
            assert change.process == ("iptables-nft" if backend == "nft" else "")
        subprocess.run(restore, input=whole, check=True, timeout=30)
        last = cycle.run()
        assert (last.result, kind in {finding.kind for finding in last.resolved}) == (Result.CLEAN, True)


@pytest.mark.parametrize("kind", BY_FACTS, ids=lambda kind: kind.value)
def test_a_fact_that_changes_is_raised_and_resolved(kind: Kind, request: pytest.FixtureRequest) -> None:
    """Policies that cannot be carried out, or that open nothing."""
    _by_facts(kind, update=request.config.getoption("--update-golden"))


@in_namespace
def _by_facts(kind: Kind, *, update: bool) -> None:
    cell = recording("pair")
    policies = cell.facts.policies
    assert policies is not None
    subprocess.run(
        ("iptables-nft-restore",), input=(CELLS / "pair" / "iptables-save.txt").read_bytes(), check=True, timeout=30
    )
    bad = BadRecord(subject="a to b", where="policies[0]", problem="port 0", guids=("a", "b"))
    wrong = evolve(policies.policies[0], ports=PortRange(first=9, last=9))
    changed = {
        Kind.POLICY_UNREADABLE: evolve(policies, unreadable=(bad,)),
        Kind.PORT_NOT_EXPOSED: PolicySet(policies=(*policies.policies, wrong)),
    }
    script = _Script(facts=cell.facts)
    with Netlink() as netlink:
        cycle = _cycle(script, netlink)
        assert cycle.run().result is Result.CLEAN
        script.facts = evolve(cell.facts, policies=changed[kind])
        _raised(cycle, script, kind, story=BY_FACTS[kind], update=update)
        script.facts = cell.facts
        assert kind in {finding.kind for finding in cycle.run().resolved}


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_a_declared_rule_is_accepted_and_missed(backend: str, request: pytest.FixtureRequest) -> None:
    """A DROP that stops what a policy allows is as it is meant to be, until it is gone."""
    _declared(backend, update=request.config.getoption("--update-golden"))


@in_namespace
def _declared(backend: str, *, update: bool) -> None:
    cell = recording("pair")
    iptables = f"iptables-{backend}"
    text = "-t raw -A PREROUTING -d 10.255.2.7/32 -p tcp -m tcp --dport 8080 -j DROP"
    subprocess.run(
        (f"{iptables}-restore", "-w"), input=(CELLS / "pair" / "iptables-save.txt").read_bytes(), check=True, timeout=30
    )
    subprocess.run((iptables, "-w", *text.split()), check=True, timeout=30)
    declared = DeclaredRuleSettings(rule=text, reason="nobody scrapes these apps").value()
    with Netlink() as netlink:
        assert _cycle(_Script(facts=cell.facts), netlink).run().findings
        script = _Script(facts=evolve(cell.facts, declared_rules=(declared,)))
        cycle = _cycle(script, netlink)
        assert cycle.run().result is Result.CLEAN
        subprocess.run((iptables, "-w", "-t", "raw", "-F", "PREROUTING"), check=True, timeout=30)
        story = "`iptables -t raw -F PREROUTING`, where a rule stood that the configuration declares"
        _raised(cycle, script, Kind.DECLARED_RULE_MISSING, story=story, update=update)
        subprocess.run((iptables, "-w", *text.split()), check=True, timeout=30)
        assert Kind.DECLARED_RULE_MISSING in {finding.kind for finding in cycle.run().resolved}


def test_no_kind_is_left_out() -> None:
    """The demo's faults and these: all of them."""
    shown = {kind for fault in ALL for kind in fault.kinds}
    by_a_witness = {Kind.READER_DISAGREES}  # tests/kernel/test_witness.py
    by_settings = {Kind.DECLARED_RULE_MISSING}
    assert shown | set(BY_HAND) | set(BY_FACTS) | by_a_witness | by_settings | BY_NOBODY_YET == set(Kind)
