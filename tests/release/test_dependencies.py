"""What ships is known: docs/dependencies.md and bosh-release/NOTICE say the same as the libraries."""

from __future__ import annotations

import email
import re
import zipfile

import pytest

from support.staging import ROOT, script, staged

pytestmark = pytest.mark.xdist_group("release")  # one staging, one building of the CLI, whatever runs beside

dependencies = script("dependencies")


def test_the_page_is_what_make_docs_writes() -> None:
    """Every library of the lock file, judged."""
    assert (ROOT / "docs" / "dependencies.md").read_text() == dependencies.markdown()
    assert set(dependencies.JUDGED) == {one.name for one in dependencies.dependencies()}


def test_everything_is_needed_by_something() -> None:
    """No library is in the lock file that nothing wants."""
    known = {one.name for one in dependencies.dependencies()} | {"c2c-auditor"}
    assert [
        one.name for one in dependencies.dependencies() if not one.wanted_by or not set(one.wanted_by) <= known
    ] == []


def test_licences_are_those_that_the_libraries_tell() -> None:
    """Where a library tells its licence in the one form that is free of doubt."""
    told = {}
    for wheel in staged().glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata = email.message_from_bytes(archive.read(name))
        if metadata["License-Expression"]:
            told[re.sub(r"[._]", "-", metadata["Name"]).lower()] = metadata["License-Expression"]
    del told["c2c-auditor"]
    ours = {one.name: one.licence for one in dependencies.dependencies()}
    assert len(told) > 5
    assert {name: ours[name] for name in told} == told
