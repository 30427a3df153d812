"""How VPA replaces a container's security group chain, and findings about a replacement that stopped halfway.

VPA makes ``casg-…``, lets ``netout--H`` jump there first, fills it, removes ``asg-…`` with its jump, and renames
``casg-…`` to ``asg-…`` (vxlan-policy-agent/enforcer/enforcer.go, ``replaceChainRules``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.container_jumps import container_name, evidence
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.policy_chains import jumped_chain
from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import ContainerChains

ASG_SYNC = (
    "Restart vxlan-policy-agent on this cell: at start it writes all security group chains afresh. Do not wait for it "
    "to correct this: with newer policy servers it requests security groups only when one of them has changed "
    "(security_groups_last_updated), so a lost write may stay lost for a long time."
)


@frozen(kw_only=True)
class Swap:
    """Where a container's egress is decided: the chains that ``netout--H`` should jump to, and the one ``in_force``."""

    jumped: tuple[str, ...]
    in_force: str


def asg_swap(chains: Mapping[str, r.Chain], container: Container) -> Swap:
    """How far the swap of a container's security groups is; outside of one, ``asg-…`` alone is jumped to.

    Each of both chains ends in REJECT, so the first one that is filled decides.
    """
    of = ContainerChains.of(container.handle)
    netout = chains.get(of.netout)
    targets = map(jumped_chain, netout.rules if netout is not None else ())
    jumped = tuple(dict.fromkeys(name for name in targets if name in (of.asg, of.asg_candidate) and name in chains))
    if of.asg_candidate not in jumped:
        return Swap(jumped=(of.asg,), in_force=of.asg)
    return Swap(jumped=jumped, in_force=next((name for name in jumped if chains[name].rules), of.asg))


def unfinished(inputs: Inputs, container: Container, swap: Swap) -> Iterator[Finding]:
    """A finding if there is a ``casg-…`` chain.

    If it lasts only a moment it is a swap in progress, otherwise one that stopped halfway.
    """
    candidate = ContainerChains.of(container.handle).asg_candidate
    chains = inputs.ruleset.chains("filter")
    if candidate not in chains:
        return
    if candidate not in swap.jumped:
        decides = "is still there, and nothing jumps to it"
    elif swap.in_force == candidate:
        decides = "is still there and decides what passes"
    elif swap.in_force in chains:
        decides = f"is still there, and {swap.in_force} decides what passes"
    else:
        decides = f"is still there and empty, and {swap.in_force} is gone"
    yield describe.finding(
        Kind.CONTAINER_CHAIN_ORPHAN,
        subject=(container.handle, "filter", candidate),
        summary=(
            f"A swap of the security groups of {container_name(inputs, container)} stopped halfway: {candidate} "
            f"{decides}."
        ),
        remedy=ASG_SYNC,
        chain=candidate,
        **evidence(inputs, container),
    )
