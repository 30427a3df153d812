"""Large cells whose rules are many of a kind, and what one judgement of each costs."""

from __future__ import annotations

import gc
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.audit.judge import judge
from c2c_auditor.audit.settle import Grace, Memory, settle
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts, Policy, PolicySet
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from support.big_cell import CHAIN, big_cell
from support.mutations import with_rules

Cell = tuple[CellFacts, r.Ruleset]


@frozen(kw_only=True)
class Cost:
    """One cell: CPU seconds of its first judgement and of the next one, settled, and the peak in MiB."""

    first: float
    next: float
    peak: float
    findings: int


def _plain() -> Cell:
    """250 containers and 20,000 policy rules, all as they should be."""
    cell = big_cell()
    return cell.facts, parse_save(cell.save, where="generated", parser=RuleParser())


def _with_foreign(count: int, spelled: str) -> Callable[[], Cell]:
    """``count`` rules in front of FORWARD, spelled with their number ``n``, and its bytes ``a`` and ``b``."""

    def cell() -> Cell:
        facts, ruleset = _plain()
        parser = RuleParser()
        rules = tuple(parser.rule(spelled.format(n=n, a=n >> 8, b=n & 0xFF)) for n in range(count))
        return facts, with_rules(ruleset, "FORWARD", rules + ruleset.chains("filter")["FORWARD"].rules)

    return cell


def _unwritten() -> Cell:
    """4,000 apps elsewhere that may reach one app here, and no rule that lets them."""
    facts, ruleset = _plain()
    assert facts.policies is not None
    to = facts.policies.policies[0]
    more = tuple(
        Policy(
            source=str(uuid.UUID(int=n)),
            source_tag=10_000 + n,
            destination=to.destination,
            destination_tag=to.destination_tag,
            protocol="tcp",
            ports=r.PortRange(first=8080, last=8080),
        )
        for n in range(4000)
    )
    return evolve(facts, policies=PolicySet(policies=facts.policies.policies + more)), ruleset


def _stale() -> Cell:
    """400 ACCEPTs for one pair of apps, without a policy."""
    facts, ruleset = _plain()
    chain = ruleset.chains("filter")[CHAIN]
    like = chain.rules[-1]
    stale = tuple(
        evolve(
            like,
            matches=tuple(
                evolve(match, destination=r.PortRange(first=20_000 + 2 * n, last=20_000 + 2 * n))
                if isinstance(match, r.TransportMatch)
                else match
                for match in like.matches
            ),
        )
        for n in range(400)
    )
    return facts, with_rules(ruleset, CHAIN, chain.rules + stale)


def _wrong_marks() -> Cell:
    """Every ACCEPT of the policy chain asks for another mark than it should."""
    facts, ruleset = _plain()
    rules = tuple(
        evolve(
            rule,
            matches=tuple(
                evolve(match, value=match.value + 0x100) if isinstance(match, r.MarkMatch) else match
                for match in rule.matches
            ),
        )
        for rule in ruleset.chains("filter")[CHAIN].rules
    )
    return facts, with_rules(ruleset, CHAIN, rules)


def _flushed() -> Cell:
    """The policy chain is empty."""
    facts, ruleset = _plain()
    return facts, with_rules(ruleset, CHAIN, ())


def _policies() -> Cell:
    """140,000 policies, all but 10,000 of them between apps on other cells."""
    facts, ruleset = _plain()
    assert facts.policies is not None
    more = tuple(
        Policy(
            source=str(uuid.UUID(int=n % 3000)),
            source_tag=10_000 + n % 3000,
            destination=str(uuid.UUID(int=5000 + n % 2999)),
            destination_tag=20_000 + n % 2999,
            protocol="tcp",
            ports=r.PortRange(first=8000 + n % 997, last=8000 + n % 997),
        )
        for n in range(130_000)
    )
    return evolve(facts, policies=PolicySet(policies=facts.policies.policies + more)), ruleset


CELLS: dict[str, Callable[[], Cell]] = {
    "nothing else": _plain,
    **{
        f"{count} foreign {what}": _with_foreign(count, spelled)
        for what, spelled in (
            ("-s NETWORK -j DROP", "-s 185.{a}.{b}.0/24 -j DROP"),
            ("-s HOST -j DROP", "-s 185.{a}.{b}.9 -j DROP"),
            ("--dport PORT -j DROP", "-p tcp -m tcp --dport 1{n:04} -j DROP"),
            ("-i br+ -j ACCEPT", "-i br{n}+ -j ACCEPT"),
            ("-i eth0 --dport PORT -j DROP", "-i eth0 -p tcp -m tcp --dport 1{n:04} -j DROP"),
            ("-s 10.0.0.0/8 --dport PORT -j DROP", "-s 10.0.0.0/8 -p tcp -m tcp --dport 1{n:04} -j DROP"),
            ("--dport PORT -j ACCEPT", "-p tcp -m tcp --dport 1{n:04} -j ACCEPT"),
            ("--dport PORT of policies -j DROP", "-p tcp -m tcp --dport 8{n:03} -j DROP"),
            ("-s NETWORK of the overlay -j DROP", "-s 10.255.{b}.0/24 -j DROP"),
            ("-s CONTAINER -j DROP", "-s 10.255.0.{b} -j DROP"),
            ("-d NETWORK -j DROP", "-d 185.{a}.{b}.0/24 -j DROP"),
            ("--set BLOCKLIST src -j DROP", "-m set --match-set list{n} src -j DROP"),
            ("--dport PORT -s NETWORK -j DROP", "-s 10.255.{b}.0/24 -p tcp -m tcp --dport 1{n:04} -j DROP"),
        )
        for count in (100, 1000)
    },
    "4,000 sources of one app unwritten": _unwritten,
    "400 stale ACCEPTs of one pair": _stale,
    "140,000 policies": _policies,
    "every ACCEPT with another mark": _wrong_marks,
    "the policy chain flushed": _flushed,
}


def measure(what: str) -> Cost:
    """In a process of its own, collecting as the agent does: not before its first audit is done."""
    gc.disable()
    facts, ruleset = CELLS[what]()
    started = time.process_time()
    judgement = judge(facts, ruleset, None)
    first = time.process_time() - started
    settled = settle(Memory(), judgement, 0.0, Grace())
    gc.collect()
    gc.freeze()
    gc.enable()
    started = time.process_time()
    again = judge(facts, ruleset, None, previous=judgement)
    settle(settled.memory, again, 60.0, Grace())
    later = time.process_time() - started
    assert len(again.findings) == len(judgement.findings)
    return Cost(first=first, next=later, peak=peak_mib(), findings=len(judgement.findings))


def peak_mib() -> float:
    """Peak memory of the calling process in MiB. getrusage would give its parent's, if that was larger at exec."""
    (found,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found) / 1024
