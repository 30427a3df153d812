"""Imports go downwards only: the layers of the architecture, held to the code."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from repo.code import PACKAGE, Import, Module, imports, parse_modules, read_modules

# From the bottom up. A module imports from the layers below its own and from its own part; a new part finds its place
# here first. c2c_auditor itself holds the version: every part may import that, and it imports none of them.
LAYERS = (
    ("errors",),
    ("model",),
    ("netfilter",),
    ("silk",),
    ("audit",),
    ("sources", "export", "config", "privileges"),
    ("cycle",),
    ("daemon", "server", "logs"),
    ("cli", "demo", "__main__"),
)

# The imports between two parts of one layer: importer, imported, reason.
SIDEWAYS = (
    ("sources", "config", "a source is told where to read by the part of the configuration that is about it"),
    ("cli", "demo", "the demo is one of the commands"),
    ("__main__", "cli", "`python -m c2c_auditor` is the command"),
)

_LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts} | {"": -1}
_ALLOWED_SIDEWAYS = {(importer, imported) for importer, imported, _ in SIDEWAYS}


def check_layers(modules: tuple[Module, ...]) -> Iterator[str]:
    """The imports that do not go downwards, and the parts that the table does not place, one line each."""
    known = {module.name: module for module in modules}
    for module in modules:
        if module.part not in _LEVEL:
            yield f"{module.path}: {module.part} has no layer"
            continue
        for entry in imports(module):
            imported = _target(entry, known)
            if imported and not _may_import(module.part, imported.part):
                yield f"{module.path}:{entry.line}: {module.part or PACKAGE} imports {imported.part}"


def find_cycle(modules: tuple[Module, ...]) -> list[str]:
    """The modules of one circle of imports in order, the first one again at the end; empty if there is none."""
    known = {module.name: module for module in modules}
    graph = {module.name: {imported.name for entry in imports(module) if (imported := _target(entry, known))} for module in modules}
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
    ],
)
def test_a_wrong_import_is_caught(path: str, text: str, found: str) -> None:
    """An import upwards or sideways is found in every spelling, and so is a part that nobody placed."""
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
