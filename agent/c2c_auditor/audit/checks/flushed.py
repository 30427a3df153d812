"""A built-in chain that reaches none of the containers' chains that stand in its table, where no store tells who runs.

With a store `container_jumps` finds each jump that is missing. In a listing alone one chain without a jump may be left
over from a container that is gone, but all of them together are what ``iptables -F FORWARD`` leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.container_jumps import RECREATE
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Effect, Kind
from c2c_auditor.silk.chain_names import ChainFamily, family_of

_FLUSHED = (
    ("FORWARD", ChainFamily.OVERLAY, "the containers have lost their default deny"),
    ("INPUT", ChainFamily.INPUT, "the containers reach all services of the cell"),
)


def flushed(inputs: Inputs) -> Iterator[Finding]:
    """One finding for each built-in chain that is listed and reaches no container's chain."""
    chains = inputs.ruleset.chains("filter")
    if inputs.facts.store is not None:
        return
    for name, family, consequence in _FLUSHED:
        start = chains.get(name)
        own = sorted(chain for chain in chains if family_of(chain) is family and chains[chain].rules)
        if start is None or start.policy is None or not own or not _reached(chains, name).isdisjoint(own):
            continue
        yield describe.finding(
            Kind.JUMP_MISSING,
            subject=(name, "flushed"),
            summary=f"{name} reaches no {family.value} chain, although {len(own)} are listed: {consequence}.",
            remedy=RECREATE,
            effect=Effect.BREACH,
            chain=name,
            details=tuple(own),
        )


def _reached(chains: Mapping[str, r.Chain], start: str) -> frozenset[str]:
    """The chains that packets come to from ``start``."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        chain = chains.get(todo.pop())
        targets = {jumped_chain(rule) for rule in chain.rules} if chain is not None else set()
        todo.extend(targets - seen)
        seen |= targets
    return frozenset(seen)
