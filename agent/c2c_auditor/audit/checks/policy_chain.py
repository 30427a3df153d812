"""Findings about the policy chain as a whole: its existence, the jumps to it and their order, its time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.comparison.entry import Entry
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding, Place
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of, policy_chain_time

# A chain's time may be this far ahead of the cell's clock without a finding.
_CLOCK_TOLERANCE_SECONDS = 60.0


def policy_chain(inputs: Inputs) -> Iterator[Finding]:
    """Existence, jumps and order of the ``vpa--`` chains."""
    if not inputs.chains.names:
        yield from _missing(inputs)
        return
    if not inputs.chains.active:
        yield from _unreached(inputs)
    else:
        yield from _place(inputs)
        yield from _repeated(inputs)
    yield from _orphans(inputs)
    yield from _from_future(inputs)


def _missing(inputs: Inputs) -> Iterator[Finding]:
    if not inputs.planned:
        return  # VPA makes its first chain with its first policy
    needed = len(inputs.planned)
    yield describe.finding(
        Kind.POLICY_CHAIN_MISSING,
        subject=(),
        summary=(
            f"There is no policy chain on this cell, where {needed} rules should stand: no container-to-container "
            "policy works here."
        ),
        remedy=describe.REPLAN,
        chain="FORWARD",
    )


def _unreached(inputs: Inputs) -> Iterator[Finding]:
    """A chain but no jump; a jump with a condition, or a goto, is not the jump that silk writes."""
    if inputs.planned is not None and not inputs.planned:
        return
    newest = inputs.chains.names[-1]
    bent = next((jump for jump in inputs.chains.jumps if jumped_chain(jump.rule) == newest), None)
    summary = (
        f"FORWARD does not jump to the policy chain {newest}: no container-to-container policy works on this cell."
    )
    effect = Effect.OUTAGE
    if bent is not None and isinstance(bent.rule.target, r.Goto):
        effect = Effect.BREACH
        summary = (
            f"FORWARD goes to the policy chain {newest} instead of jumping: packets that no policy accepts never reach "
            "the containers' default deny."
        )
    elif bent is not None:
        summary = f"FORWARD jumps to the policy chain {newest} for some packets only: policies work for no others."
    yield describe.finding(
        Kind.JUMP_MISSING,
        subject=("policy",),
        summary=summary,
        remedy=describe.REPLAN,
        effect=effect,
        entry=bent,
        expected=r.Rule(target=r.Jump(chain=newest)),
        chain="FORWARD",
    )


def _place(inputs: Inputs) -> Iterator[Finding]:
    """Silk inserts the jump at 1; a container's ``overlay--`` chain before it rejects what a policy would accept."""
    forward = inputs.ruleset.chains("filter")["FORWARD"].rules
    overlays = [at for at, rule in enumerate(forward, 1) if family_of(jumped_chain(rule)) is ChainFamily.OVERLAY]
    plain = _unconditional(inputs)
    first = min(jump.position for jump in plain)
    before = [at for at in overlays if at < first]
    # The smaller number was moved: the policy chain's one jump, or a container's jump before it.
    if before and (len(before) > 1 or len(overlays) == 1):
        jump = next(entry for entry in plain if entry.position == first)
        yield describe.finding(
            Kind.JUMP_MISPLACED,
            subject=("policy",),
            summary=(
                f"FORWARD jumps to the policy chain only at position {first}, behind the default deny of {len(before)} "
                "containers: traffic that policies allow to them is rejected."
            ),
            remedy=describe.REPLAN,
            entry=jump,
        )
    elif before:
        yield describe.finding(
            Kind.JUMP_MISPLACED,
            subject=(jumped_chain(forward[before[0] - 1]),),
            summary=(
                f"FORWARD jumps to {jumped_chain(forward[before[0] - 1])} before the policy chain: traffic that "
                "policies allow to this container is rejected by its default deny."
            ),
            remedy=(
                "Recreate the container (cf restart the app instance): its chains are written once, at its creation."
            ),
            entry=Entry(chain="FORWARD", position=before[0], rule=forward[before[0] - 1]),
        )


def _unconditional(inputs: Inputs) -> list[Entry]:
    return [jump for jump in inputs.chains.jumps if jump.rule == r.Rule(target=r.Jump(chain=jumped_chain(jump.rule)))]


def _repeated(inputs: Inputs) -> Iterator[Finding]:
    seen: set[str] = set()
    newest = max(inputs.chains.active, key=_time)
    for jump in inputs.chains.jumps:
        chain = jumped_chain(jump.rule)
        if chain in seen:
            yield describe.finding(
                Kind.JUMP_DUPLICATE,
                subject=(chain,),
                summary=f"FORWARD jumps to {chain} more than once; only the first jump has an effect.",
                remedy=describe.REPLAN,
                entry=jump,
            )
        elif chain != newest and chain in inputs.chains.active:
            yield describe.finding(
                Kind.POLICY_CHAIN_REPEATED,
                subject=(chain,),
                summary=(
                    f"FORWARD still jumps to the older policy chain {chain} beside {newest}: traffic that it accepts "
                    "passes, even if no policy allows it any more."
                ),
                remedy=f"Restart vxlan-policy-agent; if both stay: iptables -w -D FORWARD -j {chain}",
                entry=jump,
            )
        seen.add(chain)


def _orphans(inputs: Inputs) -> Iterator[Finding]:
    """Chains without a jump, which stay for ever because silk finds old chains by their jumps.

    If there is no jump at all, `_unreached` reports the newest one.
    """
    jumped = {jumped_chain(jump.rule) for jump in inputs.chains.jumps}
    spared = set() if inputs.chains.active or inputs.planned == () else {inputs.chains.names[-1]}
    for chain in inputs.chains.names:
        if chain not in jumped | spared:
            count = len(inputs.ruleset.chains("filter")[chain].rules)
            rules = "1 rule" if count == 1 else f"{count} rules"
            yield describe.finding(
                Kind.POLICY_CHAIN_ORPHAN,
                subject=(chain,),
                summary=f"Nothing jumps to the policy chain {chain} ({rules}): it is left over and affects no traffic.",
                remedy=f"iptables -w -F {chain} && iptables -w -X {chain}",
                chain=chain,
            )


def _from_future(inputs: Inputs) -> Iterator[Finding]:
    if inputs.now is None:
        return
    for chain in inputs.chains.names:
        ahead = _time(chain) - inputs.now
        if ahead > _CLOCK_TOLERANCE_SECONDS:
            yield Finding(
                kind=Kind.POLICY_CHAIN_FROM_FUTURE,
                effects=frozenset({Kind.POLICY_CHAIN_FROM_FUTURE.effect}),
                subject=(chain,),
                summary=(
                    f"The time in the policy chain's name {chain} is {ahead:.0f} s ahead of this cell's clock: "
                    "vxlan-policy-agent removes only chains with an older time than its new one, so it will stay."
                ),
                remedy=(
                    "Check the clock (chronyc tracking); delete the chain and its jump by hand once a newer one is in "
                    "place."
                ),
                place=Place(table="filter", chain=chain),
            )


def time_bounds(inputs: Inputs) -> tuple[float, float]:
    """From when (inclusive) until when (exclusive) the result of `_from_future` stays the same, by the cell's clock."""
    if inputs.now is None:
        return -math.inf, math.inf
    turns = [_time(chain) - _CLOCK_TOLERANCE_SECONDS for chain in inputs.chains.names]
    return (
        max((turn for turn in turns if turn <= inputs.now), default=-math.inf),
        min((turn for turn in turns if turn > inputs.now), default=math.inf),
    )


def _time(chain: str) -> float:
    return policy_chain_time(chain) or 0.0
