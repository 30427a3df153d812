"""The comparison of `tests/kernel/test_verdicts` and `make soak`: the evaluator's verdicts and the kernel's."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Address
from types import FrameType
from typing import Protocol

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
_SECONDS = 240
# From its eleventh example on, hypothesis makes five of six out of the one before, with parts doubled: of little use
# where every rule should be another one.
BATCH = 10
SETTINGS = settings(
    max_examples=BATCH,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


# What the evaluator judges, as `words` spells it: a proof without any of them, or where one of them always or never
# held, proves nothing about it.
JUDGED = frozenset(
    {
        *("-s", "! -s", "-d", "! -d", "-i", "! -i", "-o", "! -o", "-p", "! -p"),
        *(
            "--sport",
            "! --sport",
            "--dport",
            "! --dport",
            "--tcp-flags",
            "! --tcp-flags",
            "--tcp-option",
            "! --tcp-option",
        ),
        *("--sports", "! --sports", "--dports", "! --dports", "--ports", "! --ports", "--icmp-type", "! --icmp-type"),
        *(
            "--src-range",
            "! --src-range",
            "--dst-range",
            "! --dst-range",
            "--src-type",
            "! --src-type",
            "--dst-type",
            "! --dst-type",
        ),
        *("--mark", "! --mark", "--ctstate", "! --ctstate"),
    }
)
TARGETS = frozenset(
    {"ACCEPT", "DROP", "RETURN", "NFLOG", "AUDIT", "Reject", "SetMark", "Log", "Jump", "Goto", "NoTarget"}
)


@define
class Tally:
    """What took part in a proof."""

    rulesets: int = 0
    packets: int = 0
    marked: int = 0
    verdicts: Counter[str] = field(factory=Counter)
    states: Counter[str] = field(factory=Counter)
    # Of rules with a certain condition or target: how often they took a packet, how often not, and how often they may
    # have.
    words: dict[str, Counter[str]] = field(factory=dict)
    # The last disagreement, in words.
    found: str = ""

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
        return (
            f"{self.rulesets} rulesets, {self.packets} packets ({shares}), {self.marked} of which left with another "
            "mark"
        )


def words(rule: r.Rule) -> Iterator[str]:
    """What a rule says, without the values: its options, each with its negation, and its target."""
    fields = {
        "-s": rule.source,
        "-d": rule.destination,
        "-i": rule.in_interface,
        "-o": rule.out_interface,
        "-p": rule.protocol,
    }
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
    """Load so many tables that ``seed`` gives, send packets through each, and compare.

    Raises AssertionError with the smallest disagreement it finds.

    For use in a process of its own (`support.namespaces`).
    """
    tally = Tally()
    bounded(tally)
    with closing(Router(backend, world)) as router:
        for batch in range(0, rulesets, BATCH):

            @hypothesis.seed(f"{seed} {batch}")
            @SETTINGS
            @given(case=cases(world))
            def check(case: tuple[Chains, list[Packet]]) -> None:
                _compare(router, *case, tally)

            check()
    return tally


class Found(Protocol):
    """A tally that keeps the last disagreement, in words."""

    found: str


def bounded(tally: Found) -> None:
    """End this process in time with what was found so far: making an example smaller can take long."""

    def out_of_time(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"not done after {_SECONDS} s; disagreement found so far: {tally.found or 'none'}")

    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(_SECONDS)


def _compare(router: Router, chains: Chains, sent: Sequence[Packet], tally: Tally) -> None:
    router.load(chains)
    arrivals = router.deliver(sent)
    held = router.read()
    tally.rulesets += 1
    outcomes = [evaluate(held, "FORWARD" if packet.out_interface else "INPUT", packet) for packet in sent]
    for packet, outcome, arrival in zip(sent, outcomes, arrivals, strict=True):
        if problem := disagreement(outcome, arrival):
            tally.found = "\n".join((problem, shown(packet), _walk(outcome), _shown(chains)))
            raise AssertionError(tally.found)
        tally.add(packet, outcome, arrival)
    if problem := _miscounted(held, outcomes):
        tally.found = "\n".join((problem, *dict.fromkeys(map(shown, sent)), _shown(chains)))
        raise AssertionError(tally.found)


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


def _miscounted(chains: Mapping[str, r.Chain], outcomes: Iterable[Outcome]) -> str:
    """A rule that counted fewer packets than it must have taken, or more than it can have; empty if there is none."""
    least: Counter[Place] = Counter()
    most: Counter[Place] = Counter()
    for outcome in outcomes:
        sure = True  # behind the first doubt nothing is a must
        for step in outcome.trace:
            if step.rule is None or step.matched is Certainty.NO:
                continue
            most[step.chain, step.position] += 1
            sure = sure and step.matched is Certainty.YES
            least[step.chain, step.position] += sure
            sure = sure and action(step.rule.target, chains) is not Action.DOUBT
    for name, chain in chains.items():
        for position, (rule, count) in enumerate(zip(chain.rules, chain.packets or (), strict=True), start=1):
            low, high = least[name, position], most[name, position]
            if not low <= count <= high:
                return f"rule {position} of {name} took {count} packets, not {low} to {high}: {render_rule(rule)}"
    return ""


def _walk(outcome: Outcome) -> str:
    """The trace, a line for each rule tried."""
    return "\n".join(
        f"{'  ' * step.depth}{step.chain} {step.position}: {step.matched.value}: "
        f"{render_rule(step.rule) if step.rule else 'policy'}"
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
