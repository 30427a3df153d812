"""Reports to render: of recorded cells, damaged where a test wants findings."""

from __future__ import annotations

from attrs import evolve

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.settle import confirmed_at_once
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Names, Store
from c2c_auditor.model.change import Author, Change
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.report import Counters, NetlinkStatus, Problem, ProcessStatus, Report, Result, SourceStatus
from c2c_auditor.model.rule import Backend
from c2c_auditor.netfilter.render import render_rule
from support.mutations import with_rules
from support.recordings import Recording, recording

NOW = 1795400000.0


def judged_report(cell: Recording, ruleset: r.Ruleset | None = None) -> Report:
    """One audit of ``cell``, or of other rules in its place."""
    judgement = judge(cell.facts, ruleset if ruleset is not None else cell.ruleset, NOW)
    findings = confirmed_at_once(judgement, NOW)
    return Report(
        time=NOW,
        result=Result.FINDINGS if findings else Result.CLEAN,
        backend=Backend.NFT,
        findings=findings,
        unknown=judgement.unknown,
        sources=(SourceStatus(name="rules", up=True, last_success=NOW),),
        processes=(ProcessStatus(name="vxlan-policy-agent", up=True, start_time=NOW - 60),),
        netlink=NetlinkStatus(buffer=32 << 20, overflows=1, listings=2, witnessed=NOW - 60),
        tally=judgement.tally,
        counters=Counters(audits={Result.CLEAN: 3}),
        notes=judgement.notes,
        last_conclusive=NOW,
        version="0.1.0",
    )


def clean_report() -> Report:
    """The article's pair as it should be."""
    return judged_report(recording("pair"))


def flushed_report() -> Report:
    """The article's pair after `iptables -F FORWARD`."""
    cell = recording("pair")
    return judged_report(cell, with_rules(cell.ruleset, "FORWARD", ()))


def hostile_report() -> Report:
    """An app whose name is an attack on terminals, pages and logs, and one rule gone."""
    cell = recording("pair")
    assert cell.facts.store is not None
    evil = Names(app="\x1b]0;owned\x07[bold]x\u202e</li><script>alert(1)</script>\n", space="dev", org="acme")
    containers = tuple(evolve(container, names=evil) for container in cell.facts.store.containers)
    damaged = evolve(cell, facts=evolve(cell.facts, store=Store(containers=containers)))
    rules = cell.ruleset.chains("filter")[cell.policy_chain].rules
    return judged_report(damaged, with_rules(cell.ruleset, cell.policy_chain, rules[1:]))


def with_change(report: Report, *, ago: float) -> Report:
    """``report`` of a cell on which somebody took the first rule of the policy chain out, ``ago`` seconds before it."""
    cell = recording("pair")
    rule = cell.ruleset.chains("filter")[cell.policy_chain].rules[0]
    change = Change(
        seen=report.time - ago,
        author=Author.FOREIGN,
        generation=18,
        pid=4711,
        process="iptables",
        command=f"iptables -D {cell.policy_chain} 1",
        parent="bash (4700)",
        chains=(f"filter {cell.policy_chain}",),
        removed=(f"-t filter {render_rule(rule, cell.policy_chain)}",),
    )
    findings = tuple(
        finding.settled(finding.state, first_seen=report.time - ago, since=report.time) for finding in report.findings
    )
    return evolve(
        report,
        findings=tuple(evolve(finding, changed_by=change) for finding in findings),
        journal=(change,),
        counters=evolve(report.counters, ruleset_changes={"vpa": 12, "cni": 4, "foreign": 1}),
    )


def blind_report() -> Report:
    """Rules that could not be read."""
    problem = Problem(
        source="rules",
        reason="permission",
        where="iptables-nft-save -t filter",
        problem="exit status 4",
        remedy="give it CAP_NET_ADMIN",
    )
    return Report(
        time=NOW,
        result=Result.BLIND,
        unknown=frozenset(Kind),
        sources=(SourceStatus(name="rules", up=False, problem=problem),),
        counters=Counters(source_errors={("rules", "permission"): 1}),
    )
