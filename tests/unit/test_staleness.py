"""While a source is away, findings that a change would explain are not confirmed; damage is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address

import pytest
from attrs import define, evolve

from c2c_auditor.cycle import Cycle
from c2c_auditor.export.details import finding_details
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.change import Done
from c2c_auditor.model.finding import State
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import FactsReading
from c2c_auditor.model.report import Report, SourceStatus
from c2c_auditor.sources.clocks import Clocks
from support.mutations import with_rules
from support.recordings import recording

CELL = recording("pair")
POLICIES, STORE, GROUPS = "policy_server", "store", "security_groups"
OVERLAY = "overlay--35bf992d-c9e9-4616-"
NEW_HANDLE = "0a1b2c3d-0000-4000-8000-1234"


@define
class World:
    """A cell whose rules and facts a test changes, and whose sources it takes away; both clocks go on together."""

    ruleset: r.Ruleset = CELL.ruleset
    facts: CellFacts = CELL.facts
    away: str = ""
    last_success: float = 0.0
    wall: float = 1_795_400_000.0

    def cycle(self) -> Cycle:
        """Audits of this cell."""
        clocks = Clocks(wall=lambda: self.wall, steady=lambda: self.wall - 1e9)
        return Cycle(rules=_Rules(self), facts=_Facts(self), version="t", clocks=clocks)

    def lose(self, source: str) -> None:
        """The last good answer of ``source`` was that of the last audit."""
        self.away, self.last_success = source, self.wall

    def replan(self, rules: tuple[r.Rule, ...], ruleset: r.Ruleset = CELL.ruleset) -> None:
        """The rules after VPA wrote ``rules`` to a new policy chain, a moment ago."""
        name = f"vpa--{int((self.wall - 0.5) * 1e6)}"
        chains = dict(ruleset.chains("filter"))
        del chains[CELL.policy_chain]
        forward = [
            r.Rule(target=r.Jump(chain=name)) if rule.target == r.Jump(chain=CELL.policy_chain) else rule
            for rule in chains["FORWARD"].rules
        ]
        chains |= {
            name: r.Chain(name=name, rules=rules),
            "FORWARD": evolve(chains["FORWARD"], rules=tuple(forward)),
        }
        self.ruleset = evolve(ruleset, tables={**ruleset.tables, "filter": r.Table(name="filter", chains=chains)})


@define
class _Rules:
    world: World

    def read(self, families: Sequence[r.AddressFamily] = (r.AddressFamily.IPV4,)) -> tuple[r.Ruleset, ...]:
        del families
        return (self.world.ruleset,)

    def changes(self) -> Mapping[str, int]:
        return {}

    def done(self) -> tuple[Done, ...]:
        return ()

    def packets(self) -> Mapping[str, int] | None:
        return None


@define
class _Facts:
    world: World

    def read(self) -> FactsReading:
        sources = tuple(
            SourceStatus(name=name, up=True, last_success=self.world.wall)
            if name != self.world.away
            else SourceStatus(name=name, up=False, last_success=self.world.last_success)
            for name in (POLICIES, STORE, GROUPS)
        )
        return FactsReading(facts=self.world.facts, sources=sources)


def _watch(world: World, cycle: Cycle, seconds: float = 300) -> tuple[set[Kind], Report]:
    """What is confirmed within ``seconds`` of audits at the agent's pace, and the last report."""
    confirmed: set[Kind] = set()
    report = cycle.run()
    for _ in range(int(seconds / 5)):
        world.wall += 5
        report = cycle.run()
        confirmed.update(finding.kind for finding in report.confirmed)
    return confirmed, report


def _chain(name: str = CELL.policy_chain) -> tuple[r.Rule, ...]:
    return CELL.ruleset.chains("filter")[name].rules


def _policy_added(world: World) -> None:
    """Port 9090 of the destination is opened too."""
    mark, accept, *rest = _chain()
    port = r.TransportMatch(protocol=r.TCP, destination=r.PortRange(first=9090, last=9090))
    world.replan((mark, accept, evolve(accept, matches=(port, *accept.matches[1:])), *rest))


def _policies_removed(world: World) -> None:
    world.replan(())


def _tag_recycled(world: World) -> None:
    world.replan(tuple(evolve(rule, target=r.SetMark(value=9)) if rule.source else rule for rule in _chain()))


def _container_created(world: World) -> None:
    """With its chains, its jumps and its MARK in a new plan."""
    address = r.AddressMatch(value=int(IPv4Address("10.255.1.77")))
    chains = dict(CELL.ruleset.chains("filter"))
    for prefix in ("overlay", "netout", "input"):
        name = f"{prefix}--{NEW_HANDLE}"[:28]
        chains[name] = r.Chain(name=name, rules=(r.Rule(destination=address, target=r.REJECT),))
    jump = r.Rule(target=r.Jump(chain=f"overlay--{NEW_HANDLE}"[:28]))
    chains["FORWARD"] = evolve(chains["FORWARD"], rules=(*chains["FORWARD"].rules, jump))
    mark = evolve(_chain()[0], source=address)
    tables = {**CELL.ruleset.tables, "filter": r.Table(name="filter", chains=chains)}
    world.replan((mark, *_chain()), evolve(CELL.ruleset, tables=tables))


def _container_deleted(world: World) -> None:
    """All of its chains; its rules in the policy chain stay until the next plan."""
    tables = {}
    for table in CELL.ruleset.tables.values():
        chains = {name: chain for name, chain in table.chains.items() if OVERLAY.removeprefix("overlay--") not in name}
        gone = table.chains.keys() - chains.keys() | {"asg-35bf992dc9e94616a1bb"}
        for name, chain in chains.items():
            kept = tuple(
                rule for rule in chain.rules if not (isinstance(rule.target, r.Jump) and rule.target.chain in gone)
            )
            chains[name] = evolve(chain, rules=kept)
        tables[table.name] = evolve(table, chains=chains)
    world.ruleset = evolve(CELL.ruleset, tables=tables)


def _groups_changed(world: World) -> None:
    chain = next(name for name in CELL.ruleset.chains("filter") if name.startswith("asg-"))
    first = r.Rule(destination=r.AddressMatch(value=int(IPv4Address("203.0.113.7"))), target=r.ACCEPT)
    world.ruleset = with_rules(CELL.ruleset, chain, (first, *_chain(chain)[1:]))


def _mark_deleted(world: World) -> None:
    world.ruleset = with_rules(CELL.ruleset, CELL.policy_chain, _chain()[1:])


def _accept_added_by_hand(world: World) -> None:
    wide = evolve(_chain()[1], matches=_chain()[1].matches[1:])
    world.ruleset = with_rules(CELL.ruleset, CELL.policy_chain, (*_chain(), wide))


def _default_deny_deleted(world: World) -> None:
    world.ruleset = with_rules(CELL.ruleset, OVERLAY, _chain(OVERLAY)[:-1])


def _forward_flushed(world: World) -> None:
    world.ruleset = with_rules(CELL.ruleset, "FORWARD", ())


def _foreign_drop(world: World) -> None:
    world.ruleset = with_rules(CELL.ruleset, "FORWARD", (r.Rule(target=r.DROP), *_chain("FORWARD")))


def _policy_jump_deleted_after_a_plan(world: World) -> None:
    world.replan(_chain())
    world.ruleset = with_rules(world.ruleset, "FORWARD", world.ruleset.chains("filter")["FORWARD"].rules[1:])


@pytest.mark.parametrize(
    ("source", "change"),
    [
        (POLICIES, _policy_added),
        (POLICIES, _policies_removed),
        (POLICIES, _tag_recycled),
        (STORE, _container_created),
        (STORE, _container_deleted),
        (GROUPS, _groups_changed),
    ],
)
def test_what_a_change_explains_stays_pending_while_its_source_is_away(
    source: str, change: Callable[[World], None]
) -> None:
    """However long that takes; and each finding says since when the expected state is not known."""
    world = World()
    cycle = world.cycle()
    cycle.run()
    world.lose(source)
    world.wall += 5
    change(world)
    confirmed, report = _watch(world, cycle)
    assert confirmed == set()
    assert report.findings
    for finding in report.findings:
        assert (finding.state, finding.unknown_since) == (State.PENDING, world.last_success)
        assert finding_details(finding)[-1].startswith(
            "Seen since 02:13:25 UTC; the expected state is not known since 02:13:20 UTC: "
        )


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_mark_deleted, Kind.MARK_MISSING),
        (_accept_added_by_hand, Kind.ACCEPT_STALE),
        (_default_deny_deleted, Kind.DEFAULT_DENY_MISSING),
        (_forward_flushed, Kind.JUMP_MISSING),
        (_foreign_drop, Kind.FOREIGN_DROP),
        (_policy_jump_deleted_after_a_plan, Kind.JUMP_MISSING),
    ],
)
@pytest.mark.parametrize("source", [POLICIES, STORE, GROUPS])
def test_damage_is_confirmed_although_a_source_is_away(
    source: str, damage: Callable[[World], None], kind: Kind
) -> None:
    """No change that silk carries out looks like it: the chain is the one that was planned from what is known."""
    world = World()
    cycle = world.cycle()
    cycle.run()
    world.lose(source)
    world.wall += 5
    damage(world)
    confirmed, _ = _watch(world, cycle, 20)
    assert kind in confirmed


def test_once_the_source_is_back_what_it_explains_is_gone_and_the_rest_is_confirmed_after_the_grace() -> None:
    """The clock of a finding starts when it is known what should be."""
    world = World()
    cycle = world.cycle()
    cycle.run()
    world.lose(POLICIES)
    world.wall += 5
    _policies_removed(world)
    _watch(world, cycle, 60)
    world.away = ""
    assert _watch(world, cycle, 10)[0] == set()
    confirmed, report = _watch(world, cycle, 5)
    assert Kind.MARK_MISSING in confirmed
    assert {finding.unknown_since for finding in report.findings} == {None}
    assert CELL.facts.policies is not None
    world.facts = evolve(CELL.facts, policies=evolve(CELL.facts.policies, policies=()))
    assert not cycle.run().findings


def test_what_was_confirmed_before_stays_confirmed() -> None:
    """That the policy server is away makes no damage whole."""
    world = World()
    cycle = world.cycle()
    _mark_deleted(world)
    _watch(world, cycle, 20)
    world.lose(POLICIES)
    world.wall += 5
    world.replan(_chain()[1:])
    assert {finding.state for finding in cycle.run().findings} == {State.CONFIRMED}
