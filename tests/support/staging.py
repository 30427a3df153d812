"""`packaging/stage_release.py` as a module, and what it staged: once for all tests of a run."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent.parent


@lru_cache(maxsize=1)
def staging() -> ModuleType:
    """The script; `packaging` itself is the name of a library."""
    spec = importlib.util.spec_from_file_location("stage_release", ROOT / "packaging" / "stage_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def staged() -> Path:
    """The folder that a release is made from, staged afresh."""
    module = staging()
    module.stage()
    target: Path = module.TARGET
    return target
