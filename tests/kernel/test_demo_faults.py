"""Each of the demo's faults does something to a real cell, and mending it leaves nothing of it behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.cell import Cell, Files
from demo.fault import Fault
from demo.faults import ALL, TOUR
from demo.namespace import namespace
from demo.policy_server import PolicyServer, Truth, make_certificates
from demo.silk import RELEASES, TABLES, Iptables, Silk
from demo.world import SHOP

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)"),
]


@pytest.fixture(name="cell", scope="module", params=[("nft", "new"), ("legacy", "2024")], ids="-".join)
def _cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    used, release = request.param
    for backend in ("nft", "legacy"):
        if shutil.which(f"iptables-{backend}-save") is None:
            pytest.skip(f"needs iptables-{backend}-save")
    other = "legacy" if used == "nft" else "nft"
    truth = Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)
    with namespace() as made:
        cell = Cell(
            files=Files.below(made.directory),
            silk=Silk(iptables=Iptables(backend=used, run=made.run), groups=SHOP.groups, release=RELEASES[release]),
            other=Iptables(backend=other, run=made.run),
            server=PolicyServer(make_certificates(made.directory), truth),
        )
        for instance in SHOP.instances:
            cell.create(instance)
        yield cell


def rules(tables: Iptables) -> list[str]:
    """Chains and rules in order; of a policy chain's time only whether it is about now."""

    def about(name: re.Match[str]) -> str:
        return "vpa--now" if abs(int(name[1]) / 1e6 - time.time()) < 600 else "vpa--then"

    lines = re.sub(r"vpa--(\d+)", about, tables.save(*TABLES, "raw")).splitlines()
    return [line for line in lines if not re.match(r"#|:[A-Z]+ |\*raw$|COMMIT$", line)]


def facts(cell: Cell) -> tuple[Any, ...]:
    """What a fault can touch besides rules."""
    return json.loads(cell.files.store.read_text()), cell.server.truth.tags


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_fault_does_something_and_can_be_mended(cell: Cell, fault: Fault) -> None:
    """Injected, the cell is another one.

    Mended, it is what it was (but for the order of chains, where a container came anew).
    """
    before, known = (rules(cell.iptables), rules(cell.other)), facts(cell)
    fault.inject(cell)
    assert ((rules(cell.iptables), rules(cell.other)), facts(cell)) != (before, known)
    fault.mend(cell)
    assert facts(cell) == known
    assert [sorted(rules(cell.iptables)), sorted(rules(cell.other))] == [sorted(lines) for lines in before]
    if fault.mend is Cell.put_back:
        assert rules(cell.iptables) == before[0]


def test_faults_have_names_of_their_own() -> None:
    """Names identify faults, and the tour takes a part of all."""
    assert len({fault.name for fault in ALL}) == len(ALL)
    assert set(TOUR) < set(ALL)
