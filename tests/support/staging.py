"""The scripts of `packaging/` as modules, and what was staged: once for all tests of a run."""

from __future__ import annotations

import importlib.util
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent.parent


@cache
def script(name: str) -> ModuleType:
    """``packaging/NAME.py``; `packaging` itself is the name of a library."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def staging() -> ModuleType:
    """What stages."""
    return script("stage_release")


@lru_cache(maxsize=1)
def staged() -> Path:
    """The folder that a release is made from, staged afresh."""
    module = staging()
    module.stage()
    target: Path = module.TARGET
    return target
