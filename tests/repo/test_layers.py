"""Imports go downwards only: the layers of the architecture, held to the code."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from repo.code import PACKAGE, Import, Module, imports, parse_modules, read_modules

# From the bottom up; a part with rooms of its own is placed room by room. A module imports from the layers below its
# own and from its own room; a new part or room finds its place here first. c2c_auditor itself holds the version: every
# part may import that, and it imports none of them.
LAYERS = (
    ("errors",),
    ("decoding",),
    ("model",),
    ("netfilter",),
    ("netfilter.binary",),
    ("netfilter.native",),
    ("silk",),
    ("audit.comparison",),
    ("audit.reading",),
    ("audit.checks", "audit.traffic"),
    ("audit.questions",),
    ("audit",),
    ("audit.mend",),
    ("export", "config", "privileges", "sources"),
    ("sources.rules", "sources.facts", "sources.recordings"),
    ("assembly",),
    ("cycle",),
    ("collector", "daemon", "server", "logs", "supervisor"),
    ("cli", "__main__"),
)

# The imports between two rooms of one layer: importer, imported, reason.
SIDEWAYS = (
    ("config", "sources", "the agent's own settings are read as every other file"),
    ("sources.recordings", "sources.facts", "a bundle holds what the readers of facts read, in their own format"),
    ("__main__", "cli", "`python -m c2c_auditor` is the command"),
)

_LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms} | {"": -1}
_ALLOWED_SIDEWAYS = {(importer, imported) for importer, imported, _ in SIDEWAYS}


def _room(module: Module) -> str:
    """The innermost room of the table that ``module`` stands in; its part's name where the table has none."""
    parts = module.name.split(".")[1:]
    rooms = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((room for room in rooms if room in _LEVEL), module.part)


def check_layers(modules: tuple[Module, ...]) -> Iterator[str]:
    """The imports that do not go downwards, and the parts that the table does not place, one line each."""
    known = {module.name: module for module in modules}
    for module in modules:
        room = _room(module)
        if room not in _LEVEL:
            yield f"{module.path}: {room} has no layer"
            continue
        for entry in imports(module):
            imported = _target(entry, known)
            if imported and not _may_import(room, _room(imported)):
                yield f"{module.path}:{entry.line}: {room or PACKAGE} imports {_room(imported)}"


def find_cycle(modules: tuple[Module, ...]) -> list[str]:
    """The modules of one circle of imports in order, the first one again at the end; empty if there is none."""
    known = {module.name: module for module in modules}
    graph = {
        module.name: {imported.name for entry in imports(module) if (imported := _target(entry, known))}
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _target(entry: Import, known: dict[str, Module]) -> Module | None:
    """The project's module that an import reaches: `a.b.c` may be the module c, or the name c in the module a.b."""
    return known.get(entry.name) or known.get(entry.name.rpartition(".")[0])


def _may_import(importer: str, imported: str) -> bool:
    if importer == imported or (importer, imported) in _ALLOWED_SIDEWAYS:
        return True
    return imported in _LEVEL and _LEVEL[imported] < _LEVEL[importer]


def test_imports_go_downwards() -> None:
    """No module of the project imports from its own layer's other parts or from above, and each part has a layer."""
    assert list(check_layers(read_modules())) == []


def test_no_import_cycle() -> None:
    """No two modules of the project need each other."""
    assert find_cycle(read_modules()) == []


TREE = {
    "c2c_auditor/__init__.py": '__version__ = "0"',
    "c2c_auditor/model/__init__.py": "",
    "c2c_auditor/model/rule.py": "",
    "c2c_auditor/sources/__init__.py": "",
    "c2c_auditor/audit/__init__.py": "",
    "c2c_auditor/audit/judge.py": "from c2c_auditor.audit.checks import describe",
    "c2c_auditor/audit/checks/__init__.py": "",
    "c2c_auditor/audit/checks/describe.py": "",
    "c2c_auditor/sources/nft.py": "from c2c_auditor.model.rule import Rule",
    "c2c_auditor/export/__init__.py": "",
    "c2c_auditor/export/text.py": "import c2c_auditor.model.rule\nfrom c2c_auditor import __version__",
}


def test_a_sound_tree_passes() -> None:
    """The checkers find nothing in a tree that keeps the rules."""
    modules = parse_modules(TREE)
    assert list(check_layers(modules)) == []
    assert find_cycle(modules) == []


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("model/rule.py", "from c2c_auditor.sources import nft", "model/rule.py:1: model imports sources"),
        ("model/rule.py", "from c2c_auditor.sources.nft import read", "model/rule.py:1: model imports sources"),
        ("model/rule.py", "import c2c_auditor.sources.nft", "model/rule.py:1: model imports sources"),
        ("model/rule.py", "from ..sources import nft", "model/rule.py:1: model imports sources"),
        ("model/__init__.py", "from ..sources.nft import read", "model/__init__.py:1: model imports sources"),
        (
            "model/rule.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from c2c_auditor.sources.nft import Reader",
            "model/rule.py:3: model imports sources",
        ),
        ("model/rule.py", "def late():\n    import c2c_auditor.sources", "model/rule.py:2: model imports sources"),
        ("sources/nft.py", "from c2c_auditor.export import text", "sources/nft.py:1: sources imports export"),
        ("export/text.py", "from c2c_auditor.sources import nft", "export/text.py:1: export imports sources"),
        ("__init__.py", "from c2c_auditor.model import rule", "__init__.py:1: c2c_auditor imports model"),
        ("helpers.py", "", "helpers.py: helpers has no layer"),
        (
            "audit/comparison/compare.py",
            "from c2c_auditor.audit.checks import describe",
            "audit/comparison/compare.py:1: audit.comparison imports audit.checks",
        ),
        (
            "audit/checks/describe.py",
            "from c2c_auditor.audit.judge import judge",
            "audit/checks/describe.py:1: audit.checks imports audit",
        ),
    ],
)
def test_a_wrong_import_is_caught(path: str, text: str, found: str) -> None:
    """An import upwards or sideways is found in every spelling, and so is a part that is not in the table."""
    modules = parse_modules(TREE | {f"c2c_auditor/{path}": text})
    assert list(check_layers(modules)) == [f"c2c_auditor/{found}"]


def test_a_cycle_is_caught() -> None:
    """Two modules of one part that import each other are named."""
    modules = parse_modules(
        TREE
        | {
            "c2c_auditor/model/rule.py": "from c2c_auditor.model import cell",
            "c2c_auditor/model/cell.py": "from c2c_auditor.model.rule import Rule",
        }
    )
    cycle = find_cycle(modules)
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"c2c_auditor.model.rule", "c2c_auditor.model.cell"}
