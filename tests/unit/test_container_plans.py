"""Each chain family's plan against what silk's own programs wrote, chain by chain, for every container of every recorded cell."""

from __future__ import annotations

import pytest

from c2c_auditor.model.cell import Container, VpaConfig
from c2c_auditor.model.rule import Rule
from c2c_auditor.silk import asg, chain_names
from c2c_auditor.silk.input import host_service, input_plan
from c2c_auditor.silk.jumps import jump_plans
from c2c_auditor.silk.netin import mapping_of, marked_port
from c2c_auditor.silk.netout import netout_log_plan, netout_plan, netout_rate_limit_log_plan
from c2c_auditor.silk.overlay import default_deny, overlay_plan
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


def _written(cell: Recording, chain: str, table: str = "filter") -> tuple[Rule, ...] | None:
    found = cell.ruleset.chains(table).get(chain)
    return found.rules if found is not None else None


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_overlay(cell: Recording, container: Container) -> None:
    """Rule by rule; the default deny is the last one."""
    plan = overlay_plan(container, _config(cell))
    assert plan.head == _written(cell, plan.name)
    assert plan.head[-1] == default_deny(container)


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_netout_and_its_log_chains(cell: Recording, container: Container) -> None:
    """The rate limit's chain is there only where the limit logs."""
    config = _config(cell)
    for plan in (netout_plan(container, config, has_asg=asg.has_chain(container)), netout_log_plan(container, config)):
        assert plan.head == _written(cell, plan.name)
    limit = netout_rate_limit_log_plan(container, config)
    assert (limit.head if config.connection_limit_logging else None) == _written(cell, limit.name)


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_input(cell: Recording, container: Container) -> None:
    """Head and end; what stands between has the shape of a host service."""
    plan = input_plan(container)
    rules = _written(cell, plan.name)
    assert rules is not None
    assert (rules[:1], rules[-1:]) == (plan.head, plan.tail)
    assert all(map(host_service, rules[1:-1]))


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_netin(cell: Recording, container: Container) -> None:
    """Each translation leads to the container, and each translated port is marked."""
    chain = chain_names.netin(container.handle)
    mappings = [mapping_of(container, rule) for rule in _written(cell, chain, "nat") or ()]
    marks = [marked_port(rule) for rule in _written(cell, chain, "mangle") or ()]
    assert [(one.host, one.host_port, "eth0") for one in mappings if one is not None] == marks
    assert None not in mappings


@pytest.mark.parametrize(("cell", "container"), CONTAINERS)
def test_jumps(cell: Recording, container: Container) -> None:
    """Each stands exactly once in its built-in chain."""
    for plan in jump_plans(container, _config(cell), ("eth0",)):
        assert (_written(cell, plan.chain, plan.table) or ()).count(plan.rule) == 1
