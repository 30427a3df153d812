"""Cells that public reports describe: each audit says what is right for it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from c2c_auditor.assembly.once import read_scene
from c2c_auditor.assembly.recorded import BundleReader
from support.recordings import GOLDEN

REPORTS = GOLDEN / "reports"


@pytest.mark.parametrize("name", sorted(path.name for path in REPORTS.iterdir() if (path / "expected.json").exists()))
def test_a_reported_cell_gets_the_right_answer(name: str) -> None:
    """Every finding by kind and effect, and what the notes must mention."""
    expected = json.loads((REPORTS / name / "expected.json").read_text())
    scene = read_scene(BundleReader(directory=REPORTS / name))
    judgement = scene.judgement
    found = Counter(f"{finding.kind.value} {finding.effect.value}" for finding in judgement.findings)
    assert found == expected["findings"]
    assert not scene.reading.sources
    for words in expected["notes"]:
        assert any(words in note for note in judgement.notes), words
