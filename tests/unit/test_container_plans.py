"""Each chain family's plan against the chains that silk's programs wrote, for every recorded container."""

from __future__ import annotations

import pytest

from c2c_auditor.model.cell import Container, VpaConfig
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.model.rule import Rule
from c2c_auditor.silk import asg, chain_names
from c2c_auditor.silk.input import host_service, input_plan, service_rule
from c2c_auditor.silk.jumps import jump_plans
from c2c_auditor.silk.masquerade import masquerade_rule
from c2c_auditor.silk.netin import mapping_of, marked_port
from c2c_auditor.silk.netout import (
    has_rate_limit_log,
    netout_log_plan,
    netout_plan,
    netout_rate_limit_log_plan,
    synced_netout_plan,
)
from c2c_auditor.silk.overlay import default_deny, overlay_plan
from c2c_auditor.silk.settings import as_cni
from support.recordings import CELL_NAMES, Recording, recording

CELLS = [recording(name) for name in CELL_NAMES]
CONTAINERS = [
    pytest.param(cell, one, id=f"{cell.name} {one.handle[:8]}")
    for cell in CELLS
    for one in (cell.facts.store.containers if cell.facts.store else ())
]


def _config(cell: Recording) -> VpaConfig:
    assert cell.facts.config is not None
    return cell.facts.config


def _cni(cell: Recording) -> CniConfig:
    return cell.facts.cni or as_cni(_config(cell))


def _written(cell: Recording, chain: str, table: str = "filter") -> tuple[Rule, ...] | None:
    found = cell.ruleset.chains(table).get(chain)
    return found.rules if found is not None else None


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_overlay(cell: Recording, container: Container) -> None:
    """Rule by rule; the default deny is the last one."""
    plan = overlay_plan(container, _cni(cell))
    assert plan.head == _written(cell, plan.name)
    assert plan.head[-1] == default_deny(container)


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_netout_and_its_log_chains(cell: Recording, container: Container) -> None:
    """The rate limit's chain is there only where the limit logs."""
    cni, synced = _cni(cell), chain_names.asg(container.handle)
    netout = (
        synced_netout_plan(container, (synced,))
        if asg.has_chain(container)
        else netout_plan(container, cni, garden=False, frame=True)
    )
    for plan in (netout, netout_log_plan(container, cni)):
        assert plan.head + plan.tail == _written(cell, plan.name)
    limit = netout_rate_limit_log_plan(container, cni)
    assert (limit.head if has_rate_limit_log(cni.outbound_connections) else None) == _written(cell, limit.name)


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_input(cell: Recording, container: Container) -> None:
    """The wrapper's configuration tells all of it.

    Without it, what stands between head and end has a service's shape.
    """
    cni = cell.facts.cni
    rules = _written(cell, chain_names.input_(container.handle)) or ()
    services = tuple(map(service_rule, cni.host_services)) if cni is not None else rules[1:-1]
    assert input_plan(container, services).head == rules
    assert all(map(host_service, services))


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_netin(cell: Recording, container: Container) -> None:
    """Each translation leads to the container, and each translated port is marked."""
    chain = chain_names.netin(container.handle)
    mappings = [mapping_of(container, rule) for rule in _written(cell, chain, "nat") or ()]
    marks = [marked_port(rule, _cni(cell).ingress_tag) for rule in _written(cell, chain, "mangle") or ()]
    assert [(one.host, one.host_port, "eth0") for one in mappings if one is not None] == marks
    assert None not in mappings


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_jumps(cell: Recording, container: Container) -> None:
    """Each stands exactly once in its built-in chain."""
    for plan in jump_plans(container, ("eth0",)):
        assert (_written(cell, plan.chain, plan.table) or ()).count(plan.rule) == 1


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_masquerade(cell: Recording, container: Container) -> None:
    """It leaves out the operator's range, the lease where silk takes it, and the overlay network before that."""
    cni, lease = _cni(cell), cell.facts.lease
    left_out = cni.no_masquerade or (lease.network if lease is not None else _config(cell).overlay_networks[0])
    rule = masquerade_rule(container, left_out, cni.vtep_name)
    assert (_written(cell, "POSTROUTING", "nat") or ()).count(rule) == 1
