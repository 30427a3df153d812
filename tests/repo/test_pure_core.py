"""The core is a function of its inputs: it uses no clock, no system call and no randomness."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from repo.code import Module, imports, parse_modules, read_modules

PURE = ("errors", "model", "netfilter", "silk", "audit", "export")

# Modules that reach the world, the clock, chance or other threads; importlib would get at all of them.
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "glob",
        "http",
        "importlib",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "psutil",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib3",
    }
)
IMPURE_BUILTINS = frozenset({"__import__", "breakpoint", "eval", "exec", "input", "open", "print"})
# datetime is a value like others, but for the constructors that read the clock.
CLOCKS = frozenset({"now", "today", "utcnow"})


def check_purity(modules: tuple[Module, ...]) -> Iterator[str]:
    """What reaches out of the core, one line for each place."""
    for module in modules:
        if module.part in PURE:
            for entry in imports(module):
                if entry.name.partition(".")[0] in IMPURE_MODULES:
                    yield f"{module.path}:{entry.line}: imports {entry.name}"
            for node in ast.walk(module.tree):
                if reached := _reaches(node):
                    yield f"{module.path}:{reached}"


def _reaches(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name, ctx=ast.Load(), lineno=line) if name in IMPURE_BUILTINS:
            return f"{line}: uses {name}"
        # Called on anything, or handed on uncalled (as a default's factory, say): a mere field `now` is neither.
        case ast.Call(func=ast.Attribute(attr=name), lineno=line) if name in CLOCKS:
            return f"{line}: asks the clock with {name}"
        case ast.keyword(value=ast.Attribute(attr=name, value=source), lineno=line) if name in CLOCKS:
            return f"{line}: asks the clock with {name}" if _is_datetime(source) else ""
    return ""


def _is_datetime(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in {"date", "datetime"}
        case _:
            return False


def test_the_core_is_pure() -> None:
    """Nothing from the errors up to the audit, nor any exporter, reaches the world."""
    assert list(check_purity(read_modules())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os", ["1: imports os"]),
        ("import os.path as p", ["1: imports os.path"]),
        ("from time import monotonic", ["1: imports time.monotonic"]),
        ("def late():\n    from subprocess import run", ["2: imports subprocess.run"]),
        ("from datetime import datetime\ndatetime.now()", ["2: asks the clock with now"]),
        ("import datetime as d\nd.datetime.now(tz=d.timezone.utc)", ["2: asks the clock with now"]),
        ("from datetime import date\ndate.today()", ["2: asks the clock with today"]),
        ("from datetime import datetime\nfield(factory=datetime.utcnow)", ["2: asks the clock with utcnow"]),
        ("def read(path):\n    return open(path).read()", ["2: uses open"]),
        ("print(1)", ["1: uses print"]),
        ("from datetime import datetime\ndef wait(state):\n    return state.now - state.opened", []),
        ("settle(state, now=moment.now)", []),
    ],
)
def test_a_reach_is_caught(text: str, found: list[str]) -> None:
    """Imports, files and clocks are found in each spelling; a time that was handed in is no clock."""
    modules = parse_modules({"c2c_auditor/audit/compare.py": text})
    assert list(check_purity(modules)) == [f"c2c_auditor/audit/compare.py:{line}" for line in found]


def test_the_rest_may_reach() -> None:
    """Outside the core, reaching is what a module is for."""
    assert list(check_purity(parse_modules({"c2c_auditor/sources/command.py": "import subprocess"}))) == []
