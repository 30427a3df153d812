"""Sentences and evidence of findings, in the same form for all checks. Nothing is judged here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from c2c_auditor.audit.comparison import fields
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.comparison.order import Misplaced
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import App, Finding, Place
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.netfilter.render import render_match, render_ports, render_rule
from c2c_auditor.silk.chain_names import ChainFamily
from c2c_auditor.silk.policy import Planned, Purpose

REPLAN = (
    "Restart vxlan-policy-agent on this cell (monit restart vxlan-policy-agent): at start it plans and writes the "
    "whole chain afresh."
)


_DOES = {
    Effect.BREACH: "traffic that should be refused passes",
    Effect.OUTAGE: "traffic that should pass is refused",
    Effect.RESIDUE: "no traffic is affected",
    Effect.ADVICE: "all traffic is decided as it should be, but some is not logged",
}
_OUTWARD = {
    Effect.BREACH: "it can send to the outside what should be refused",
    Effect.OUTAGE: "it cannot send to the outside what should pass",
}
_INWARD = {
    Effect.BREACH: "it can reach services of the cell that it should not",
    Effect.OUTAGE: "it cannot reach services of the cell that it should",
}
_DOES_IN: Mapping[ChainFamily | None, Mapping[Effect, str]] = {
    ChainFamily.ASG: _OUTWARD,
    ChainFamily.ASG_CANDIDATE: _OUTWARD,
    ChainFamily.NETOUT: _OUTWARD,
    ChainFamily.NETOUT_LOG: _OUTWARD,
    ChainFamily.RATE_LIMIT_LOG: _OUTWARD,
    ChainFamily.INPUT: _INWARD,
}
_HARMLESS = "With the present rules this affects no traffic."


class Apps(TypedDict):
    """The two keyword arguments of a finding that name apps."""

    source: App | None
    destination: App | None


def text(rule: r.Rule) -> str:
    """A rule's canonical text: part of a finding's identity."""
    return render_rule(rule)


def does(effect: Effect, family: ChainFamily | None = None) -> str:
    """The effect of a rule's loss or change in a chain of ``family``, as the end of a sentence about its container."""
    return _DOES_IN.get(family, _DOES).get(effect, _DOES[effect])


def harmless(summary: str, effect: Effect) -> str:
    """The summary of a finding of ``effect`` that affects no traffic, as reachability shows."""
    return (
        summary.replace(_DOES[effect], _DOES[Effect.RESIDUE]) if _DOES[effect] in summary else f"{summary} {_HARMLESS}"
    )


def apps(inputs: Inputs, source: str, destination: str) -> Apps:
    """Source and destination with the names that people know; None for an empty guid."""
    people = inputs.people
    return {
        "source": people.app(source) if source else None,
        "destination": people.app(destination) if destination else None,
    }


def finding(
    kind: Kind,
    *,
    subject: tuple[str, ...],
    summary: str,
    remedy: str,
    effect: Effect | None = None,
    entry: Entry | None = None,
    expected: r.Rule | None = None,
    chain: str = "",
    table: str = "filter",
    **evidence: object,
) -> Finding:
    """A finding with ``effect``, or with its kind's own.

    ``entry`` is the rule as found, ``chain`` the chain where one should be.
    """
    place = None
    evidence.setdefault(
        "differences", fields.differences(expected, entry.rule) if expected is not None and entry is not None else ()
    )
    if entry is not None:
        place = Place(
            table=table if entry.table == "filter" else entry.table, chain=entry.chain, position=entry.position
        )
    elif chain:
        place = Place(table=table, chain=chain)
    return Finding(
        kind=kind,
        effects=frozenset({effect if effect is not None else kind.effect}),
        subject=subject,
        summary=_sentence(summary),
        remedy=remedy,
        place=place,
        found=entry.rule if entry is not None else None,
        expected=expected,
        **evidence,  # type: ignore[arg-type]  # names and types are Finding's own; attrs refuses any other
    )


def _sentence(summary: str) -> str:
    """An app without a name begins a sentence like every other word."""
    return f"A{summary[1:]}" if summary.startswith(("app ", "an app ", "any ")) else summary


def planned(
    inputs: Inputs,
    kind: Kind,
    plan: Planned,
    *,
    summary: str,
    remedy: str,
    effect: Effect | None = None,
    entry: Entry | None = None,
) -> Finding:
    """A finding about a rule that should be there: identified by that rule, whatever stands in its place."""
    container, policy = plan.container, plan.policy
    source = (
        policy.source
        if policy is not None
        else container.app
        if container is not None and plan.purpose is Purpose.MARK
        else ""
    )
    destination = container.app if container is not None and plan.purpose is not Purpose.MARK else ""
    active = inputs.chains.active or inputs.chains.names[-1:]
    return finding(
        kind,
        subject=(container.handle if container is not None else "", text(plan.rule)),
        summary=summary,
        remedy=remedy,
        effect=effect,
        entry=entry,
        expected=plan.rule,
        chain=active[0] if active else "",
        addresses=(str(container.address),) if container is not None else (),
        handles=(container.handle,) if container is not None else (),
        policy=policy_text(inputs, plan),
        **apps(inputs, source, destination),
    )


def policy_text(inputs: Inputs, plan: Planned) -> str:
    """The policy behind a rule: ``frontend (acme/dev) to backend (acme/dev) on tcp 8080``; empty if there is none."""
    policy = plan.policy
    if policy is None:
        return ""
    name = inputs.people.display_name
    return (
        f"{name(policy.source)} to {name(policy.destination)} on {policy.protocol} "
        f"{render_ports(policy.ports.first, policy.ports.last, '-')}"
    )


def missing(inputs: Inputs, plan: Planned) -> str:
    """One sentence for a planned rule that is not there: what does not work now, for whom."""
    container = plan.container
    if container is None:
        return "The operator switched enforcement off, but the rule that opens the overlay is not there."
    name = f"{inputs.people.display_name(container.app)} at {container.address}"
    if plan.purpose is Purpose.MARK:
        return f"{name} is not marked: every destination rejects its packets, although policies allow them."
    if plan.purpose is Purpose.INGRESS:
        port = fields.shown(plan.rule, fields.PORTS).removeprefix("--dport ")
        return f"The ingress router does not reach {name} on tcp {port}."
    if plan.purpose is Purpose.LOG:
        return f"Accepted traffic from {policy_text(inputs, plan)} at {container.address} is not logged."
    return (
        f"{policy_text(inputs, plan)} is not accepted at {container.address}: it is rejected, although a policy "
        "allows it."
    )


def changed(inputs: Inputs, plan: Planned, entry: Entry, name: str) -> str:
    """One or two sentences for a rule that differs in one field: what it does now, and for whom."""
    expected, found = (fields.shown(rule, name).removeprefix("--dport ") for rule in (plan.rule, entry.rule))
    people, container = inputs.people, plan.container
    at = f" at {container.address}" if container is not None else ""
    who = f"{people.display_name(container.app)}{at}" if container is not None else "the whole overlay"
    about = f"{text_}{at}" if (text_ := policy_text(inputs, plan)) else who
    mark, target = fields.only(entry.rule, r.MarkMatch), entry.rule.target
    if name == fields.MARK and isinstance(target, r.SetMark) and isinstance(plan.rule.target, r.SetMark):
        return (
            f"{who} is marked {_tag(target)} instead of {_tag(plan.rule.target)}. Its packets count as those of "
            f"{people.holders(target.value)}, and are refused where its own policies allow them."
        )
    if name == fields.MARK and plan.purpose is Purpose.ACCEPT and plan.policy is not None:
        if mark is None or mark.negated or mark.mask != r.ALL_BITS:
            any_mark = "whatever its mark is" if mark is None else f"by {render_match(mark)}"
            return f"{about} is accepted {any_mark}, not only with mark {expected}. Other apps' packets pass as well."
        return (
            f"{about} is accepted with mark {found} instead of {expected}. So {people.holders(mark.value)} passes, and "
            f"{people.display_name(plan.policy.source)} does not."
        )
    what = {Purpose.MARK: "The MARK rule of", Purpose.LOG: "The LOG rule for"}.get(plan.purpose, "The ACCEPT rule for")
    return f"{what} {about} has {name} {found} instead of {expected}."


def _tag(target: r.SetMark) -> str:
    """``0x5``; with its mask where it sets a part of the mark."""
    return f"0x{target.value:x}" if target.mask == r.ALL_BITS else f"0x{target.value:x}/0x{target.mask:x}"


def misplaced(inputs: Inputs, found: Misplaced) -> str:
    """One sentence for a rule that comes too late or too early."""
    late, early = found.late, found.early
    if late.planned.purpose is Purpose.LOG:
        return (
            f"Accepted traffic from {policy_text(inputs, late.planned)} is not logged: the LOG rule stands behind "
            "the ACCEPT."
        )
    source = late.planned.container
    name = inputs.people.display_name(source.app) if source is not None else "A source"
    return (
        f"{name} is marked at position {late.entry.position}, behind the ACCEPT at position {early.entry.position} "
        f"that needs the mark: {policy_text(inputs, early.planned)} is rejected on this cell."
    )
