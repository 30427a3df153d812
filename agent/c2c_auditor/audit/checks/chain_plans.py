"""What the chains of one container should hold, by what is known of the cell."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from c2c_auditor.audit.checks.asg_swap import Swap
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.wrapper import only_logs
from c2c_auditor.model.cell import Container
from c2c_auditor.silk import asg, chain_names
from c2c_auditor.silk.input import input_plan
from c2c_auditor.silk.netout import (
    has_rate_limit_log,
    netout_log_plan,
    netout_plan,
    netout_rate_limit_log_plan,
    synced_netout_plan,
)
from c2c_auditor.silk.overlay import overlay_plan
from c2c_auditor.silk.shapes import ChainPlan


def chain_plans(inputs: Inputs, container: Container, swap: Swap) -> Iterator[ChainPlan]:
    """The plans of a container's chains: its own as the CNI plugin writes them, the security groups' as VPA does."""
    config, cni, groups = inputs.config, inputs.wrapper.config, inputs.facts.security_groups
    yield overlay_plan(container, cni)
    yield input_plan(container, inputs.wrapper.services)
    if not (inputs.ipv6 and _without_log_chain(inputs, container)):
        yield netout_log_plan(container, cni)
    if has_rate_limit_log(cni.outbound_connections) and not _shows_dry_run(inputs, container):
        yield netout_rate_limit_log_plan(container, cni)
    if not (config.asg_syncing and asg.has_chain(container)):
        known = inputs.facts.cni is not None and inputs.facts.config is not None
        yield netout_plan(container, cni, garden=not config.asg_syncing, frame=known)
        return
    yield synced_netout_plan(container, swap.jumped)
    if groups is None:
        return
    try:
        plan = asg.asg_plan(container, asg.groups_of(container, groups), config)
    except asg.Unconvertible:
        return  # silk leaves such a chain as it was; `cell_facts.unconvertible` says so
    yield plan if plan.name == swap.in_force else evolve(plan, name=swap.in_force)


def _shows_dry_run(inputs: Inputs, container: Container) -> bool:
    """Whether this chain is one of those that a dry run was inferred from: what it holds was taken for right."""
    chain = inputs.ruleset.chains("filter").get(chain_names.netout_rate_limit_log(container.handle))
    inferred = inputs.facts.cni is None and bool(inputs.wrapper.config.outbound_connections.dry_run)
    return inferred and chain is not None and only_logs(chain)


def _without_log_chain(inputs: Inputs, container: Container) -> bool:
    """Whether a chain for logging is neither there nor needed.

    Silk's source makes it for both families (netout.go, ``defaultNetOutRules``), and no ip6tables of a cell without
    logging was seen yet; without rules that log, nothing goes there.
    """
    logs = inputs.wrapper.config.asg_logging or inputs.config.asg_logging
    return not logs and chain_names.netout_log(container.handle) not in inputs.ruleset.chains("filter")
