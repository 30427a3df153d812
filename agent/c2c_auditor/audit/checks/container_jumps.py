"""Findings about the jumps into single containers' chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from attrs import evolve

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import App, Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.model.rule import Loss
from c2c_auditor.silk.chain_names import ChainFamily
from c2c_auditor.silk.jumps import JumpPlan, jump_plans

RECREATE = (
    "Recreate the container (cf restart-app-instance, or cf restart): its chains are written once, when it is created."
)


_LOST = {
    ChainFamily.OVERLAY: (
        Kind.DEFAULT_DENY_MISSING,
        Effect.BREACH,
        "has lost its default deny: {everybody} reaches it on all ports",
    ),
    ChainFamily.NETOUT: (
        Kind.JUMP_MISSING,
        Effect.BREACH,
        "sends to the outside without a check by any security group",
    ),
    ChainFamily.INPUT: (Kind.JUMP_MISSING, Effect.BREACH, "reaches the cell's own services"),
    ChainFamily.NETIN: (Kind.JUMP_MISSING, Effect.OUTAGE, "is not reached on its mapped ports"),
}


class Evidence(TypedDict):
    """Whom a finding is about."""

    addresses: tuple[str, ...]
    handles: tuple[str, ...]
    destination: App


def evidence(inputs: Inputs, container: Container) -> Evidence:
    """The container as part of a finding's evidence."""
    return {
        "addresses": (str(container.address),),
        "handles": (container.handle,),
        "destination": inputs.people.app(container.app),
    }


def container_name(inputs: Inputs, container: Container) -> str:
    """The container in a sentence: its app's name and its address."""
    return f"{inputs.people.display_name(container.app)} at {container.address}"


def everybody(inputs: Inputs) -> str:
    """Who reaches a container that nothing protects."""
    return "everybody with a route to it" if inputs.ipv6 else "everybody on the overlay"


class BuiltinRules:
    """The jumps of the built-in chains, to be found by where they lead: one pass for all containers."""

    def __init__(self, ruleset: r.Ruleset) -> None:
        self._found: dict[tuple[str, str, str], list[Entry]] = {}
        for table, chain in (
            ("filter", "FORWARD"),
            ("filter", "INPUT"),
            ("nat", "PREROUTING"),
            ("mangle", "PREROUTING"),
        ):
            known = ruleset.chains(table).get(chain)
            for at, rule in enumerate(known.rules if known is not None else (), 1):
                key = table, chain, jumped_chain(rule)
                self._found.setdefault(key, []).append(Entry(chain=chain, position=at, rule=rule))

    def of(self, plan: JumpPlan) -> Sequence[Entry]:
        """Rules that are the planned one, or were it before somebody changed it."""
        return self._found.get((plan.table, plan.chain, jumped_chain(plan.rule)), ())


def container_jumps(inputs: Inputs, container: Container, builtin_rules: BuiltinRules) -> Iterator[Finding]:
    """Each jump into a container's chains."""
    underlay = inputs.wrapper.underlay_interfaces if Loss.INTERFACES not in inputs.ruleset.lost else None
    for plan in jump_plans(container, underlay):
        if plan.table not in inputs.ruleset.tables or jumped_chain(plan.rule) not in inputs.ruleset.chains(plan.table):
            continue  # a listing of one table says nothing of the others; a chain that is not there is missed already
        found = builtin_rules.of(plan)
        right = [entry for entry in found if fits(plan, entry.rule)]
        if not right:
            yield _missing_jump(inputs, plan, found[0] if found else None)
        for entry in right[1:] if not plan.on_interface else ():
            yield _twice(inputs, plan, entry)


def fits(plan: JumpPlan, rule: r.Rule) -> bool:
    """Whether ``rule`` is the planned jump, as far as its interface is known."""
    return (evolve(rule, out_interface=None) if plan.on_interface else rule) == plan.rule


def _missing_jump(inputs: Inputs, plan: JumpPlan, entry: Entry | None) -> Finding:
    kind, effect, what = _LOST[plan.family]
    how = f"the jump from {plan.chain} to {jumped_chain(plan.rule)}"
    return describe.finding(
        kind,
        subject=(plan.container.handle, plan.table, plan.chain, describe.text(plan.rule)),
        summary=(
            f"{container_name(inputs, plan.container)} {what.format(everybody=everybody(inputs))}: {how} is "
            f"{'gone' if entry is None else 'changed'}."
        ),
        remedy=RECREATE,
        effect=effect,
        entry=entry,
        expected=plan.rule,
        chain=plan.chain,
        table=plan.table,
        **evidence(inputs, plan.container),
    )


def _twice(inputs: Inputs, plan: JumpPlan, entry: Entry) -> Finding:
    return describe.finding(
        Kind.JUMP_DUPLICATE,
        subject=(plan.container.handle, plan.table, plan.chain, describe.text(plan.rule)),
        summary=(
            f"The same rule of {container_name(inputs, plan.container)} stands more than once in {plan.chain}; only "
            "its first copy has an effect."
        ),
        remedy=RECREATE,
        entry=entry,
        table=plan.table,
        **evidence(inputs, plan.container),
    )
