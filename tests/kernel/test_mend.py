"""The mend on real kernels: what is printed for each damage leaves a clean cell and touches nothing else."""

from __future__ import annotations

import re
import subprocess

import pytest

from c2c_auditor.assembly.recorded import BundleReader
from c2c_auditor.audit.mend.mend import Request, mend
from c2c_auditor.audit.scene import Scene, judge_cell
from c2c_auditor.export.mend_commands import blocks
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.kind import Kind
from c2c_auditor.model.reading import Reading
from c2c_auditor.netfilter.render import render_rule
from c2c_auditor.sources.rules.backends import Reader
from c2c_auditor.sources.rules.legacy import LegacyReader
from c2c_auditor.sources.rules.native import NativeReader
from c2c_auditor.sources.rules.netlink import Netlink
from c2c_auditor.sources.rules.nft import NftReader
from support.by_hand import BY_HAND
from support.mending import (
    Case,
    Kernel,
    cases_of,
    mended,
    possible,
    prove,
    run_block,
    scene_of,
    strangers,
    with_elsewhere,
)
from support.mutations import Mutation, moves, mutations
from support.namespaces import in_namespace
from support.recordings import CELLS, GOLDEN, SMALL_CELLS, Recording, recording

pytestmark = pytest.mark.kernel
BACKENDS = ("nft", "legacy")
DUAL_STACK = GOLDEN / "reports" / "pair-dual-stack"
# The rest of a chain's name or of a guid, a container's address, a port of the cell.
_SOMEBODYS = re.compile(r"(?<=--)\d+|(?<=[-:])[0-9a-f-]{8,}|10\.255\.[0-9.]+|(?<=--dport )61\d+")
# A policy of a built-in chain is no rule: whoever set it sets it back.
BY_NO_RULE = {Kind.FLOW_BLOCKED}


# The larger ones in parts, so that no test takes long on a busy machine.
PARTS = [
    (name, part, parts)
    for name in SMALL_CELLS
    for parts in ({"limits-and-denies": 2, "bare-containers": 2}.get(name, 1),)
    for part in range(parts)
]


def _damages(cell: Recording) -> list[Mutation]:
    """Each rule of each chain of each table, damaged in every way.

    A chain that an earlier cell has too, but for names and addresses, was damaged there.
    """
    known = {shape for name in SMALL_CELLS[: SMALL_CELLS.index(cell.name)] for shape in _shapes(recording(name))}
    found = [
        mutation
        for shape, (table, chain) in _shapes(cell).items()
        if shape not in known
        for index in range(len(cell.ruleset.chains(table)[chain].rules))
        for mutation in mutations(cell.ruleset, chain, index, cell.addresses, table=table)
    ]
    return [*found, *moves(cell.ruleset, cell.policy_chain)]


def _shapes(cell: Recording) -> dict[str, tuple[str, str]]:
    """A cell's chains by what they hold, without what tells one container or app from another."""
    return {
        _SOMEBODYS.sub("", "\n".join([table, name, *(render_rule(rule) for rule in chain.rules)])): (table, name)
        for table in cell.ruleset.tables
        for name, chain in cell.ruleset.chains(table).items()
    }


@pytest.mark.parametrize(("name", "part", "parts"), PARTS)
def test_every_damage_to_every_rule_of_a_small_cell_is_mended(name: str, part: int, parts: int) -> None:
    """Judged again it is as clean as before, and both backends' own tools take the lines and do what they say.

    Only a translation of a mapped port cannot be told in some cells, once it is gone or stands for another port.
    """
    cell = with_elsewhere(recording(name))
    clean = scene_of(cell)
    known = {finding.key for finding in clean.judgement.findings}
    cases: dict[Case, None] = {}
    for mutation in _damages(cell)[part::parts]:
        scene = scene_of(cell, mutation.ruleset, clean)
        if {finding.key for finding in scene.judgement.findings} <= known:
            continue
        found = mended(scene)
        untold = {finding.kind.value for finding in found.left if finding.key not in known}
        if untold:
            assert untold <= {"nat_rule_missing", "nat_rule_stale"}, mutation.what
            assert all(refusal.reason and refusal.remedy for refusal in found.refused)
        else:
            cases.update(dict.fromkeys(filter(possible, cases_of(found))))
    jumped = {table: _own(cell, table) for table in cell.ruleset.tables}
    for backend in BACKENDS:
        _proved(list(cases), jumped, backend)


def _own(cell: Recording, table: str) -> set[str]:
    return {name for name, chain in cell.ruleset.chains(table).items() if chain.policy is None}


@in_namespace
def _proved(cases: list[Case], jumped: dict[str, set[str]], backend: str) -> None:
    prove(cases, jumped, backend)


def _reader(backend: str, netlink: Netlink | None = None) -> Reader:
    if backend == "legacy":
        return LegacyReader()
    return NativeReader(netlink) if netlink is not None else NftReader(bin_dir=None)


def _judged(facts: CellFacts, reader: Reader) -> Scene:
    """The rules in this network namespace, judged with the facts of a recording."""
    families = tuple(AddressFamily) if facts.ipv6 else (AddressFamily.IPV4,)
    return judge_cell(Reading(time=1.8e9, facts=facts, rulesets=tuple(reader.read(family) for family in families)))


def _mend_here(scene: Scene) -> None:
    """Run what is printed for everything that was found, as if each finding had been asked for."""
    request = Request(findings=scene.judgement.findings, asked=True, foreign=tuple(strangers(scene)))
    found = mend(scene, request)
    for commands, block in zip(found.commands, blocks(found, undo=False), strict=True):
        run_block(commands, block)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", BY_HAND, ids=lambda kind: kind.value)
def test_what_a_person_broke_with_one_command_is_mended(kind: Kind, backend: str) -> None:
    """With the demo's faults this is every kind that rules can have."""
    _by_hand(kind, backend)


@in_namespace
def _by_hand(kind: Kind, backend: str) -> None:
    name, typed = BY_HAND[kind]
    cell = recording(name)
    kernel = Kernel(backend)
    kernel.load((CELLS / name / "iptables-save.txt").read_text())
    before = _judged(cell.facts, _reader(backend))
    assert not before.judgement.findings
    command = typed.replace("VPA", cell.policy_chain).split()
    subprocess.run((f"iptables-{backend}", "-w", *command), check=True, timeout=30)
    scene = _judged(cell.facts, _reader(backend))
    assert kind in {finding.kind for finding in scene.judgement.findings}
    _mend_here(scene)
    after = _judged(cell.facts, _reader(backend))
    if kind in BY_NO_RULE:
        assert after.reading.rulesets == scene.reading.rulesets
    else:
        assert not after.judgement.findings
        assert after.reading.rulesets == before.reading.rulesets


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_lost_rule_of_a_dual_stack_cell_is_put_back_in_its_place(backend: str) -> None:
    """Of both families; the rules of the other family stay as they are, counters and all."""
    _dual_stack(backend)


@in_namespace
def _dual_stack(backend: str) -> None:
    facts = BundleReader(directory=DUAL_STACK).read().facts
    for tool in ("iptables", "ip6tables"):
        Kernel(backend, tool).load((DUAL_STACK / f"{tool}-save.txt").read_text())
    with Netlink() as netlink:
        reader = _reader(backend, netlink)
        clean = _judged(facts, reader)
        assert not clean.judgement.findings
        places = [
            (ruleset.family.tool, table, chain, at)
            for ruleset in clean.reading.rulesets
            for table in ruleset.tables
            for chain, found in ruleset.chains(table).items()
            for at in range(1, len(found.rules) + 1)
        ]
        for tool, table, chain, at in places:
            command = (f"{tool}-{backend}", "-w", "-t", table, "-D", chain, str(at))
            subprocess.run(command, check=True, timeout=30)
            _mend_here(_judged(facts, reader))
            assert not _judged(facts, reader).judgement.findings, command
