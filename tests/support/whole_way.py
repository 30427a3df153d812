"""The proof of `support.proof` over all hooks: random rules in every table of both backends and in a native one."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from ipaddress import IPv4Address

import hypothesis
from attrs import define, evolve, field, frozen
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.model.table import FILTER, MANGLE, NAT, RAW, SECURITY, Hook, TableSpec
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.evaluate import Outcome, evaluate_stages
from c2c_auditor.netfilter.packet import Certainty, Packet
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.netfilter.stages import ROUTED, stages
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from support.conversations import apart
from support.hosts import CLIENTS, INTERFACES, MARKS, SERVERS
from support.packets import aims, packets
from support.proof import BATCH, SETTINGS, bounded, disagreement, shown
from support.router import PASSES, UNTRACKED, Arrival, Router
from support.rulesets import Chains, World, rules

OTHER = {"nft": "legacy", "legacy": "nft"}
_WORLD = World()
_TABLES = (RAW, MANGLE, NAT, FILTER, SECURITY)
_NOWHERE = 0xC6336401
_CONNMARKS = st.sampled_from(
    [
        r.Rule(target=r.OpaqueTarget(name="CONNMARK", arguments=(word, "--nfmask", mask, "--ctmask", mask)))
        for word in ("--restore-mark", "--save-mark")
        for mask in ("0xffffffff", "0x3")
    ]
)
Tables = Mapping[str, Chains]


@frozen
class Drawn:
    """Tables by name, of the backend under test and of the other one, a native one as nft takes it, and packets."""

    main: Tables
    other: Tables
    native: str
    packets: Sequence[Packet]


@define
class Tally:
    """What took part in a proof: packets by verdict, and by the chains that refused them."""

    rulesets: int = 0
    packets: int = 0
    marked: int = 0
    verdicts: Counter[Certainty] = field(factory=Counter)
    refused_in: Counter[str] = field(factory=Counter)
    # The last disagreement, in words.
    found: str = ""

    def add(self, packet: Packet, outcome: Outcome, arrival: Arrival | None) -> None:
        """One packet more, and what became of it."""
        self.packets += 1
        self.marked += arrival is not None and arrival.mark != packet.mark
        self.verdicts[outcome.passes] += 1
        if outcome.passes is Certainty.NO:
            self.refused_in.update(f"{step.table} {step.chain}" for step in outcome.refused)

    def share(self, verdict: Certainty) -> float:
        """The part of the packets of which the evaluator said ``verdict``."""
        return self.verdicts[verdict] / self.packets

    def __str__(self) -> str:
        shares = ", ".join(f"{verdict.value} {self.share(verdict):.0%}" for verdict in Certainty)
        return f"{self.rulesets} times all tables, {self.packets} packets ({shares}), {self.marked} with another mark"


@st.composite
def _rules(draw: st.DrawFn, table: TableSpec, hook: Hook, *, marks: bool) -> r.Rule:
    """A rule that iptables takes there and that calls no chain; without ``marks`` it has nothing to do with any."""
    if table is NAT:
        protocol = draw(st.sampled_from((r.TCP, r.UDP)))
        ports = draw(st.sampled_from(((0, 53), (54, 8080), (8081, 65535))))
        return r.Rule(
            protocol=canonical.protocol(protocol),
            matches=(canonical.transport(protocol, *ports),),
            target=r.Dnat(addresses=(_NOWHERE, _NOWHERE)),
        )
    chain = "INPUT" if hook is Hook.PREROUTING else "FORWARD"
    drawn = rules(_WORLD, chain).filter(lambda one: _fits(table, hook, one) and (marks or _unmarked(one)))
    rule: r.Rule = draw(drawn | _CONNMARKS if marks and table is MANGLE else drawn)
    return rule


def _fits(table: TableSpec, hook: Hook, rule: r.Rule) -> bool:
    if isinstance(rule.target, r.Jump | r.Goto) or (isinstance(rule.target, r.Reject) and table is not FILTER):
        return False
    if hook is Hook.PREROUTING:
        return rule.out_interface is None
    coming = any(isinstance(match, r.AddressTypeMatch) and match.limit for match in rule.matches)
    return hook is not Hook.POSTROUTING or (rule.in_interface is None and not coming)


def _unmarked(rule: r.Rule) -> bool:
    opaque = isinstance(rule.target, r.OpaqueTarget) and rule.target.name in ("HMARK", "CONNMARK")
    marks = isinstance(rule.target, r.SetMark) or any(isinstance(match, r.MarkMatch) for match in rule.matches)
    return not (opaque or marks)


def _most(table: TableSpec, hook: Hook, *, other: bool) -> int:
    """How many rules: more where few packets come."""
    if hook not in ROUTED or (table is NAT and hook is Hook.POSTROUTING):
        return 0
    return 4 if hook is Hook.POSTROUTING else 1 if other else 2


@st.composite
def _tables(draw: st.DrawFn, *, other: bool) -> Tables:
    """A few rules on each hook.

    Of two chains with one priority, one of each backend, nothing tells which comes first. So the rules of the other
    backend do not ask for marks and set none.
    """
    found: dict[str, Chains] = {}
    for table in _TABLES:
        chains: Chains = {}
        for hook in table.hooks:
            most = _most(table, hook, other=other)
            some = draw(st.lists(_rules(table, hook, marks=not other), max_size=most)) if most else []
            refuses = most and table is not NAT and draw(st.integers(0, 39)) == 0
            chains[hook.value] = r.Chain(name=hook.value, policy="DROP" if refuses else "ACCEPT", rules=tuple(some))
        found[table.name] = chains
    return found


def _literal(host: int) -> str:
    return str(IPv4Address(host))


_NOT = st.sampled_from(("", "", "!= "))
_HOSTS = st.sampled_from((*CLIENTS[:4], *SERVERS[:4])).map(_literal)
_CONDITIONS = st.one_of(
    st.tuples(st.sampled_from(("ip saddr", "ip daddr")), _NOT, _HOSTS | st.just("10.255.0.0/30")),
    st.tuples(st.sampled_from(("iifname", "oifname")), _NOT, st.sampled_from([f'"{name}"' for name in INTERFACES])),
    st.tuples(st.sampled_from(("tcp dport", "udp dport")), _NOT, st.sampled_from(("53", "80-8080", "8080"))),
    st.tuples(st.just("meta mark"), _NOT, st.sampled_from(MARKS).map(hex)),
    st.tuples(st.just("ct state"), st.just(""), st.sampled_from(("new", "established", "established,related"))),
    st.just(("meta nfproto", "", "ipv4")),
    st.tuples(st.just("ip saddr"), st.just(""), st.just(f"{{ {_literal(CLIENTS[0])}, {_literal(SERVERS[0])} }}")),
).map(lambda parts: f"{parts[0]} {parts[1]}{parts[2]}")
_STATEMENTS = st.sampled_from(("accept", "drop", "counter", "return", "meta mark set 0x2", "meta mark set 0"))
# None of iptables' priorities: of two chains with one nothing tells which comes first.
BASES = (("prerouting", -160), ("prerouting", -120), ("forward", -10), ("forward", 20), ("postrouting", 30))


def _what(condition: str) -> str:
    """What a condition is about: no two of a rule are about ports, which would be those of two protocols."""
    first, second, *_ = condition.split()
    return second if second == "dport" else first + second


def _nft_takes(hook: str, condition: str) -> bool:
    """A hook knows the interfaces that it knows."""
    unknown = {"prerouting": "oifname", "postrouting": "iifname"}.get(hook)
    return unknown is None or unknown not in condition


@st.composite
def _native(draw: st.DrawFn) -> str:
    """A table of family inet as nft takes it; what leads up to a packet under test passes each of its chains."""
    lines = ["table inet proof", "delete table inet proof", "table inet proof {"]
    for number, (hook, priority) in enumerate(BASES):
        policy = "drop" if draw(st.integers(0, 39)) == 0 else "accept"
        lines += [f"chain c{number} {{", f"type filter hook {hook} priority {priority}; policy {policy};"]
        lines.append(f"ip dscp {PASSES} accept")
        fitting = st.lists(_CONDITIONS.filter(partial(_nft_takes, hook)), max_size=2, unique_by=_what)
        for conditions in draw(st.lists(fitting, max_size=1)):
            lines.append(" ".join((*conditions, draw(_STATEMENTS))))
        lines.append("}")
    return "\n".join((*lines, "}", ""))


@st.composite
def cases(draw: st.DrawFn) -> Drawn:
    """Tables of both backends, and packets to be forwarded of which most meet one of their rules."""
    main, other = draw(_tables(other=False)), draw(_tables(other=True))
    aimed = [
        aim
        for tables in (main, other)
        for chains in tables.values()
        for chain in chains.values()
        for aim in aims({"FORWARD": chain})
    ]
    some = draw(st.lists(packets(_WORLD, tuple(aimed)), min_size=30, max_size=40))
    return Drawn(main, other, draw(_native()), apart(packet for packet in some if packet.out_interface))


def _dscp(value: int, target: r.Target) -> r.Rule:
    return r.Rule(matches=(r.OpaqueMatch(module="dscp", arguments=("--dscp", f"0x{value:02x}")),), target=target)


def _in_front(table: str, chain: str, *, main: bool) -> tuple[r.Rule, ...]:
    """What makes a packet the one that it stands for, before any rule under test sees it."""
    found = [_dscp(PASSES, r.ACCEPT)]
    if main and (table, chain) == ("raw", "PREROUTING"):
        numbers = range(len(MARKS))
        notrack = r.OpaqueTarget(name="CT", arguments=("--notrack",))
        found += [_dscp(UNTRACKED + number, notrack) for number in numbers]
        found += [
            _dscp(bit + number, canonical.set_mark(MARKS[number])) for number in numbers for bit in (0, UNTRACKED)
        ]
    return tuple(found)


class WholeRouter(Router):
    """A router whose tables are all drawn."""

    def load_all(self, drawn: Drawn) -> tuple[r.Ruleset, ...]:
        """Replace all tables of both backends; they are given back as the kernel has them, without `_in_front`."""
        with Netlink() as netlink:
            for backend, tables in ((OTHER[self.backend], drawn.other), (self.backend, drawn.main)):
                self._load(backend, tables)
            subprocess.run(("nft", "-f", "-"), input=drawn.native, text=True, check=True, timeout=30)
            nft = NativeReader(netlink, tables=_TABLES).read()
        read = {"nft": nft, "legacy": LegacyReader(tables=_TABLES).read()}
        return self._held(read[self.backend], main=True), self._held(read[OTHER[self.backend]], main=False)

    def _load(self, backend: str, tables: Tables) -> None:
        main = backend == self.backend
        whole = {
            name: r.Table(
                name=name,
                chains={
                    hook: evolve(
                        chain,
                        rules=(*_in_front(name, hook, main=main), *chain.rules),
                        policy="DROP" if (name, hook) == ("mangle", "OUTPUT") else chain.policy,
                    )
                    for hook, chain in chains.items()
                },
            )
            for name, chains in tables.items()
        }
        command = (f"iptables-{backend}-restore", "-w")
        subprocess.run(command, input=render_ruleset(r.Ruleset(tables=whole)), text=True, check=True, timeout=30)

    @staticmethod
    def _held(ruleset: r.Ruleset, *, main: bool) -> r.Ruleset:
        tables = {
            name: r.Table(
                name=name,
                chains={
                    hook: evolve(chain, rules=chain.rules[len(_in_front(name, hook, main=main)) :], packets=None)
                    for hook, chain in table.chains.items()
                },
            )
            for name, table in ruleset.tables.items()
        }
        natives = tuple(
            evolve(
                table,
                chains={name: evolve(chain, rules=chain.rules[1:]) for name, chain in table.chains.items()},
            )
            for table in ruleset.natives
        )
        return evolve(ruleset, tables=tables, natives=natives)


def prove(backend: str, *, seed: int, rulesets: int) -> Tally:
    """As `support.proof.prove`, for packets that are forwarded.

    Raises AssertionError with the smallest disagreement it finds. For use in a process of its own
    (`support.namespaces`).
    """
    tally = Tally()
    bounded(tally)
    with closing(WholeRouter(backend, _WORLD)) as router:
        for batch in range(0, rulesets, BATCH):

            @hypothesis.seed(f"{seed} {batch}")
            @SETTINGS
            @hypothesis.given(drawn=cases())
            def check(drawn: Drawn) -> None:
                _compare(router, drawn, tally)

            check()
    return tally


def _compare(router: WholeRouter, drawn: Drawn, tally: Tally) -> None:
    held = router.load_all(drawn)
    arrivals = router.deliver(drawn.packets)
    way = stages(held)
    tally.rulesets += 1
    for packet, arrival in zip(drawn.packets, arrivals, strict=True):
        outcome = evaluate_stages(way, packet)
        if problem := disagreement(outcome, arrival):
            rules = "\n".join(f"{one.backend.value}:\n{render_ruleset(one)}" for one in held)
            tally.found = "\n".join((problem, shown(packet), rules, drawn.native))
            raise AssertionError(tally.found)
        tally.add(packet, outcome, arrival)
