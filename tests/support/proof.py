"""What `tests/kernel/test_verdicts` and `make soak` do: hold the evaluator's verdicts against the kernel's, for as many tables as asked."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from ipaddress import IPv4Address

import hypothesis
from attrs import asdict, define, field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.actions import Action, action
from c2c_auditor.netfilter.evaluate import Outcome, evaluate
from c2c_auditor.netfilter.packet import Certainty, Packet
from c2c_auditor.netfilter.render import render_match, render_rule, render_ruleset
from support.conversations import apart
from support.packets import aims, packets
from support.router import Arrival, Router
from support.rulesets import Chains, World, tables

Place = tuple[str, int]

# To find the smallest disagreement takes its time; pytest ends a test after 300 s.
_SECONDS = 280
# From its eleventh example on, hypothesis makes five of six out of the one before, with parts doubled: of little use where every rule should be another one.
_BATCH = 10
_SETTINGS = settings(
    max_examples=_BATCH,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


# What the evaluator judges, as `words` spells it: a proof without any of them, or where one of them always or never held, proves nothing about it.
JUDGED = frozenset(
    {
        *("-s", "! -s", "-d", "! -d", "-i", "! -i", "-o", "! -o", "-p", "! -p"),
        *("--sport", "! --sport", "--dport", "! --dport", "--tcp-flags", "! --tcp-flags", "--tcp-option", "! --tcp-option"),
        *("--sports", "! --sports", "--dports", "! --dports", "--ports", "! --ports", "--icmp-type", "! --icmp-type"),
        *("--src-range", "! --src-range", "--dst-range", "! --dst-range", "--src-type", "! --src-type", "--dst-type", "! --dst-type"),
        *("--mark", "! --mark", "--ctstate", "! --ctstate"),
    }
)
TARGETS = frozenset({"ACCEPT", "DROP", "RETURN", "NFLOG", "AUDIT", "Reject", "SetMark", "Log", "Jump", "Goto", "NoTarget"})


@define
class Tally:
    """What took part in a proof."""

    rulesets: int = 0
    packets: int = 0
    marked: int = 0
    verdicts: Counter[str] = field(factory=Counter)
    states: Counter[str] = field(factory=Counter)
    # Of rules with a certain condition or target: how often they took a packet, how often not, and how often they may have.
    words: dict[str, Counter[str]] = field(factory=dict)

    def add(self, packet: Packet, outcome: Outcome, arrival: Arrival | None) -> None:
        """One packet more, and what became of it."""
        self.packets += 1
        self.marked += arrival is not None and arrival.mark != packet.mark
        self.verdicts[outcome.passes.value] += 1
        self.states[str(packet.state)] += 1
        for step in outcome.trace:
            if step.rule is not None:
                for word in words(step.rule):
                    self.words.setdefault(word, Counter())[step.matched.value] += 1

    def share(self, verdict: Certainty) -> float:
        """The part of the packets of which the evaluator said ``verdict``."""
        return self.verdicts[verdict.value] / self.packets

    def idle(self, judged: Iterable[str]) -> list[str]:
        """Those of ``judged`` that did not hold for one packet and fail another, and targets that took none."""
        counts = {word: self.words.get(word, Counter()) for word in judged}
        targets = [target for target in TARGETS if not self.words.get(target, Counter())["yes"]]
        return sorted([*(word for word, count in counts.items() if not (count["yes"] and count["no"])), *targets])

    def __str__(self) -> str:
        shares = ", ".join(f"{verdict.value} {self.share(verdict):.0%}" for verdict in Certainty)
        return f"{self.rulesets} rulesets, {self.packets} packets ({shares}), {self.marked} of which left with another mark"


def words(rule: r.Rule) -> Iterator[str]:
    """What a rule says, without the values: its options, each with its negation, and its target."""
    fields = {"-s": rule.source, "-d": rule.destination, "-i": rule.in_interface, "-o": rule.out_interface, "-p": rule.protocol}
    yield from (_word(name, negated=value.negated) for name, value in fields.items() if value is not None)
    if rule.fragment is not None:
        yield _word("-f", negated=not rule.fragment)
    for match in rule.matches:
        yield from re.findall(r"(?:! )?--[a-z-]+", render_match(match))
    target = rule.target
    yield target.name if isinstance(target, r.Verdict | r.OpaqueTarget) else type(target).__name__


def _word(name: str, *, negated: bool) -> str:
    return f"! {name}" if negated else name


@st.composite
def cases(draw: st.DrawFn, world: World) -> tuple[Chains, list[Packet]]:
    """A table, and packets for it."""
    chains = draw(tables(world))
    drawn = draw(st.lists(packets(world, aims(chains)), min_size=20, max_size=28))
    return chains, apart(drawn) if world.tracking else drawn


def prove(backend: str, world: World, *, seed: int, rulesets: int) -> Tally:
    """Load so many tables that ``seed`` gives, send packets through each, and compare. Raises AssertionError with the smallest disagreement it finds.

    For use in a process of its own (`support.namespaces`).
    """
    signal.alarm(_SECONDS)
    tally = Tally()
    with closing(Router(backend, world)) as router:
        for batch in range(0, rulesets, _BATCH):

            @hypothesis.seed(f"{seed} {batch}")
            @_SETTINGS
            @given(case=cases(world))
            def check(case: tuple[Chains, list[Packet]]) -> None:
                _compare(router, *case, tally)

            check()
    return tally


def _compare(router: Router, chains: Chains, sent: Sequence[Packet], tally: Tally) -> None:
    router.load(chains)
    arrivals = router.deliver(sent)
    held = router.read()
    least: Counter[Place] = Counter()
    most: Counter[Place] = Counter()
    tally.rulesets += 1
    for packet, arrival in zip(sent, arrivals, strict=True):
        outcome = evaluate(held, "FORWARD" if packet.out_interface else "INPUT", packet)
        problem = disagreement(outcome, arrival)
        assert not problem, f"{problem}\n{shown(packet)}\n{_walk(outcome)}\n{_shown(chains)}"
        _count(held, outcome, least, most)
        tally.add(packet, outcome, arrival)
    for name, chain in held.items():
        for position, count in enumerate(chain.packets or (), start=1):
            low, high = least[name, position], most[name, position]
            told = f"rule {position} of {name} took {count} packets, not {low} to {high}"
            assert low <= count <= high, "\n".join((told, *dict.fromkeys(map(shown, sent)), _shown(chains)))


def disagreement(outcome: Outcome, arrival: Arrival | None) -> str:
    """What the kernel did otherwise than the evaluator says; empty if nothing."""
    passes = outcome.passes
    if arrival is None:
        return "does not arrive, and should" if passes is Certainty.YES else ""
    if passes is Certainty.NO:
        return "arrives, and should not"
    if None not in outcome.marks and arrival.mark not in outcome.marks:
        return f"arrives with mark {arrival.mark:#x}, which is none of {sorted(mark or 0 for mark in outcome.marks)}"
    return ""


def _count(chains: dict[str, r.Chain], outcome: Outcome, least: Counter[Place], most: Counter[Place]) -> None:
    """How many packets each rule must have counted at least, and can have at most: behind the first doubt nothing is a must."""
    sure = True
    for step in outcome.trace:
        if step.rule is None or step.matched is Certainty.NO:
            continue
        most[step.chain, step.position] += 1
        sure = sure and step.matched is Certainty.YES
        least[step.chain, step.position] += sure
        sure = sure and action(step.rule.target, chains) is not Action.DOUBT


def _walk(outcome: Outcome) -> str:
    """The trace, a line for each rule tried."""
    return "\n".join(
        f"{'  ' * step.depth}{step.chain} {step.position}: {step.matched.value}: {render_rule(step.rule) if step.rule else 'policy'}"
        for step in outcome.trace
    )


def shown(packet: Packet) -> str:
    """A packet's fields, but for those that are as in any."""
    usual = Packet(source=0, destination=0, protocol=0)
    fields = {name: value for name, value in asdict(packet).items() if value != getattr(usual, name)}
    fields |= {"source": IPv4Address(packet.source), "destination": IPv4Address(packet.destination)}
    return "packet: " + ", ".join(f"{name} {value}" for name, value in fields.items())


def _shown(chains: Chains) -> str:
    return render_ruleset(r.Ruleset(tables={"filter": r.Table(name="filter", chains=chains)}))
