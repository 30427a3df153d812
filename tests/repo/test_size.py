"""Functions, modules and parameter lists stay small enough to be read at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from repo.code import Module, parse_modules, read_modules

FUNCTION_LINES = 60
MODULE_LINES = 300
POSITIONAL = 4

# Tables that a program wrote, by path below agent/: their length is not for reading.
GENERATED: frozenset[str] = frozenset()

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_sizes(modules: tuple[Module, ...]) -> Iterator[str]:
    """What is too large, one line each."""
    for module in modules:
        lines = len(module.text.splitlines())
        if lines > MODULE_LINES and module.path.as_posix() not in GENERATED:
            yield f"{module.path}: {lines} lines"
        for function, is_method in _functions(module.tree):
            where = f"{module.path}:{function.lineno}: {function.name}"
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{where} has {length} lines"
            positional = len(function.args.posonlyargs) + len(function.args.args) - is_method
            if positional > POSITIONAL:
                yield f"{where} takes {positional} positional parameters"


def _functions(tree: ast.Module) -> Iterator[tuple[Function, bool]]:
    """Every function, and whether its first parameter is the object or the class that it is called on."""
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, Function):
                static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in child.decorator_list)
                yield child, isinstance(parent, ast.ClassDef) and not static


def test_everything_is_small() -> None:
    """No function, module or parameter list of the project is longer than its limit."""
    assert list(check_sizes(read_modules())) == []


def test_every_exception_exists() -> None:
    """The list of generated tables names no module that is gone."""
    assert {module.path.as_posix() for module in read_modules()} >= GENERATED


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\n" * 301, [": 301 lines"]),
        ("x = 1\n" * 300, []),
        ("def long():\n" + "    x = 1\n" * 60, [":1: long has 61 lines"]),
        ("def full():\n" + "    x = 1\n" * 59, []),
        ("def many(a, b, c, d, e): ...", [":1: many takes 5 positional parameters"]),
        ("def many(a, b, /, c, d, e): ...", [":1: many takes 5 positional parameters"]),
        ("def four(a, b, c, d, *, e, f): ...", []),
        ("class A:\n    def four(self, a, b, c, d): ...", []),
        ("class A:\n    def many(self, a, b, c, d, e): ...", [":2: many takes 5 positional parameters"]),
        (
            "class A:\n    @staticmethod\n    def many(a, b, c, d, e): ...",
            [":3: many takes 5 positional parameters"],
        ),
    ],
)
def test_a_large_thing_is_caught(text: str, found: list[str]) -> None:
    """Each limit holds exactly where it says: at the limit is small, one more is not."""
    modules = parse_modules({"c2c_auditor/audit/compare.py": text})
    assert list(check_sizes(modules)) == [f"c2c_auditor/audit/compare.py{line}" for line in found]
