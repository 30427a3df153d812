"""The project's modules as syntax trees and what each imports: what the tests of this directory read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "agent"
PACKAGE = "c2c_auditor"


@frozen(kw_only=True)
class Module:
    """One module of the package; `path` is relative to the source root, and so holds on any machine."""

    path: Path
    text: str
    tree: ast.Module = field(eq=False, repr=False)

    @property
    def name(self) -> str:
        """The name that it is imported by; a package's is that of its directory."""
        return ".".join(self._parts)

    @property
    def part(self) -> str:
        """The top-level module or package below c2c_auditor that it belongs to; empty for c2c_auditor itself."""
        return self._parts[1] if len(self._parts) > 1 else ""

    @property
    def package(self) -> str:
        """The package that a relative import starts from."""
        return ".".join(self.path.parts[:-1])

    @property
    def _parts(self) -> tuple[str, ...]:
        parts = self.path.with_suffix("").parts
        return parts[:-1] if parts[-1] == "__init__" else parts


@frozen(kw_only=True)
class Import:
    """One imported name, absolute and as long as it was written: `from a.b import c` is `a.b.c`."""

    name: str
    line: int


def parse_modules(files: dict[str, str]) -> tuple[Module, ...]:
    """Modules from source texts, each under its path below the source root."""
    return tuple(
        Module(path=Path(path), text=text, tree=ast.parse(text, filename=path)) for path, text in sorted(files.items())
    )


def read_modules() -> tuple[Module, ...]:
    """Every module that the project has."""
    paths = (AGENT / PACKAGE).rglob("*.py")
    return parse_modules({path.relative_to(AGENT).as_posix(): path.read_text() for path in paths})


def imports(module: Module) -> Iterator[Import]:
    """What a module imports, wherever in it: under TYPE_CHECKING and inside functions it is a dependency as well."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name=alias.name, line=node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module.package)
            for alias in node.names:
                yield Import(name=f"{base}.{alias.name}", line=node.lineno)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)
