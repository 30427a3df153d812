"""Runs of tests with one version of something, and how they went."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import debian
from attrs import frozen

WORK = debian.ROOT / ".tools" / "matrix"
SECONDS = 1800


@frozen(kw_only=True)
class Counts:
    """How a run of tests went: how many passed, failed and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        """As it stands in a table."""
        said = [f"{self.passed} passed"] if self.passed else []
        said += [f"{self.skipped} skipped"] if self.skipped else []
        said += [f"**{self.failed} FAILED**"] if self.failed else []
        return ", ".join(said) or "**nothing ran**"


@frozen(kw_only=True)
class Run:
    """One run of tests; ``cases`` are its tests' names with what became of each."""

    cases: Sequence[tuple[str, str]]
    seconds: float

    def counts(self, part: str = "") -> Counts:
        """How those went whose names contain ``part``."""
        found = [outcome for name, outcome in self.cases if part in name]
        return Counts(**{outcome: found.count(outcome) for outcome in ("passed", "failed", "skipped")})


def run_tests(name: str, python: Path, arguments: Sequence[str]) -> Run:
    """Run tests, two at a time; what they print is kept in .tools/matrix. A run that takes too long has no results."""
    sys.stderr.write(f"c2c-auditor: {name}\n")
    results = WORK / f"{name}.xml"
    results.unlink(missing_ok=True)
    command = (str(python), "-m", "pytest", "-n", "2", "--dist", "loadgroup", f"--junitxml={results}", *arguments)
    started = time.monotonic()
    with (WORK / f"{name}.log").open("wb") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=debian.ROOT, stdout=log, stderr=log, check=False, timeout=SECONDS)
    cases = list(_cases(results)) if results.exists() else []
    return Run(cases=cases, seconds=time.monotonic() - started)


def _cases(results: Path) -> Iterator[tuple[str, str]]:
    """Each test's name, and what became of it."""
    for case in ET.parse(results).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        else:
            outcome = "passed"
        yield case.get("name", ""), outcome
