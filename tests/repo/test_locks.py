"""The lock files say exactly what is installed: one version of each package, and its hash."""

from __future__ import annotations

import re
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from repo.code import ROOT

LOCKS = ("build", "runtime", "dev")


def read_lock(name: str) -> dict[Requirement, list[str]]:
    """Each pin of a lock file with its hashes."""
    text = (ROOT / "packaging" / f"requirements-{name}.txt").read_text()
    entries = re.sub(r"\\\n|^ *#.*\n", "", text, flags=re.MULTILINE).splitlines()
    return {
        Requirement(entry.partition("--hash=")[0]): re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
        for entry in entries
    }


def versions(name: str) -> dict[str, str]:
    """The locked version of each package."""
    return {canonicalize_name(pin.name): str(pin.specifier) for pin in read_lock(name)}


@pytest.mark.parametrize("name", LOCKS)
def test_each_pin_is_exact_and_has_hashes(name: str) -> None:
    """No entry leaves pip a choice, and each package has one version for every Python: one set of wheels serves all."""
    lock = read_lock(name)
    assert lock
    assert [str(pin) for pin, hashes in lock.items() if not hashes or not str(pin.specifier).startswith("==")] == []
    assert len(versions(name)) == len(lock)


def test_dev_holds_the_runtime() -> None:
    """Tests run with the very versions that cells run with."""
    assert versions("runtime").items() <= versions("dev").items()


def test_locks_serve_the_project() -> None:
    """Every requirement of the project is locked, in a version that it accepts: `make lock` was not forgotten."""
    locked = {False: versions("runtime"), True: versions("dev")}
    unmet = []
    for requirement in map(Requirement, requires("c2c-auditor") or ()):
        is_extra = requirement.marker is not None and "extra" in str(requirement.marker)
        version = locked[is_extra].get(canonicalize_name(requirement.name), "")
        if not requirement.specifier.contains(version.removeprefix("==")):
            unmet.append(str(requirement))
    assert unmet == []
