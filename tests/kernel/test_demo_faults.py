"""Each of the demo's faults does something to a real cell, and mending it leaves nothing of it behind."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from c2c_auditor.demo.cell import Cell, Files
from c2c_auditor.demo.faults import ALL, TOUR, Fault
from c2c_auditor.demo.namespace import namespace
from c2c_auditor.demo.policy_server import PolicyServer, Truth, make_certificates
from c2c_auditor.demo.silk import Iptables, Silk
from c2c_auditor.demo.world import SHOP

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (iproute2)"),
]


@pytest.fixture(name="cell", scope="module", params=["nft", "legacy"])
def _cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    for backend in ("nft", "legacy"):
        if shutil.which(f"iptables-{backend}-save") is None:
            pytest.skip(f"needs iptables-{backend}-save")
    other = "legacy" if request.param == "nft" else "nft"
    with namespace() as made:
        truth = Truth(groups=tuple(SHOP.groups)).adding(*SHOP.policies)
        cell = Cell(
            files=Files.below(made.directory),
            silk=Silk(iptables=Iptables(backend=request.param, run=made.run), groups=SHOP.groups),
            other=Iptables(backend=other, run=made.run),
            server=PolicyServer(make_certificates(made.directory), truth),
        )
        for instance in SHOP.instances:
            cell.create(instance)
        yield cell


def state(cell: Cell) -> tuple[Any, ...]:
    """Everything that a fault can touch, without times and the order in which a container's chains came."""
    comments = r"^(#.*|:[A-Z]+ .*)\n"
    rules = [re.sub(r"vpa--\d+", "vpa--T", re.sub(comments, "", tables.save(), flags=re.MULTILINE)) for tables in (cell.iptables, cell.other)]
    written = [sorted(set(re.findall(r"vpa--\d{16}", cell.iptables.save("filter"))))]
    recent = [[name for name in names if abs(int(name[5:]) / 1e6 - cell.server.truth.last_updated / 1e9) < 600] for names in written]
    return ([sorted(text.splitlines()) for text in rules], len(recent[0]), json.loads(cell.files.store.read_text()), cell.server.truth.tags)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_fault_does_something_and_can_be_mended(cell: Cell, fault: Fault) -> None:
    """Injected, the cell is another one; mended, it is what it was."""
    before = state(cell)
    fault.inject(cell)
    assert state(cell) != before
    fault.mend(cell)
    assert state(cell) == before


def test_faults_have_names_of_their_own() -> None:
    """Names identify faults, and the tour takes a part of all."""
    assert len({fault.name for fault in ALL}) == len(ALL)
    assert set(TOUR) < set(ALL)
