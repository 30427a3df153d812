"""Findings about chains with names of silk's form that belong to no container of the store."""

from __future__ import annotations

from collections.abc import Iterator

from c2c_auditor.audit.checks import describe
from c2c_auditor.audit.checks.cell_facts import lost_chains
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.model.finding import Finding
from c2c_auditor.model.kind import Kind
from c2c_auditor.silk.chain_names import ContainerChains, handle_part, is_container_chain

# The shortest beginning of a handle in a chain's name: ``netout--72346c38-e3b--rl-log`` without dashes.
_SHORTEST = 11


def orphan_chains(inputs: Inputs) -> Iterator[Finding]:
    """One finding per handle that the store does not know, with all of its chains.

    None if the store has shrunk, which `cell_facts.store_shrunk` reports.
    """
    store = inputs.facts.store
    if store is None or lost_chains(inputs):
        return
    handles = [container.handle for container in store.containers] + [bad.subject for bad in store.unreadable]
    known = {name for handle in handles for name in _all_names(handle)}
    groups: dict[str, list[str]] = {}
    for table in inputs.ruleset.tables.values():
        for name in table.chains:
            if is_container_chain(name) and name not in known:
                groups.setdefault(_key(name), []).append(f"{table.name} {name}")
    for key, found in sorted(groups.items()):
        yield describe.finding(
            Kind.CONTAINER_CHAIN_ORPHAN,
            subject=(key, *sorted(found)),
            summary=(
                f"{len(found)} {'chain stands' if len(found) == 1 else 'chains stand'} for a container that is not "
                f"there ({found[0].split(' ')[1]} …)."
            ),
            remedy=(
                "If no such container runs (gdn, cfdot actual-lrps), delete its jumps and chains by hand; recreating "
                "the cell clears all."
            ),
            chain=found[0].split(" ")[1],
            table=found[0].split(" ")[0],
            details=tuple(sorted(found)),
        )


def _all_names(handle: str) -> tuple[str, ...]:
    of = ContainerChains.of(handle)
    return (
        of.overlay,
        of.netout,
        of.netout_log,
        of.netout_rate_limit_log,
        of.input,
        of.netin,
        of.asg,
        of.asg_candidate,  # `asg_swap.unfinished` says what it means beside its container
    )


def _key(name: str) -> str:
    """What the names of one container's chains share."""
    return handle_part(name)[:_SHORTEST]
