"""Cells that public reports describe: each audit says what is right for it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from c2c_auditor.audit.judge import judge_cell
from c2c_auditor.sources.recordings.bundle import read_bundle
from c2c_auditor.sources.rules.text import read_text
from support.recordings import GOLDEN

REPORTS = GOLDEN / "reports"


@pytest.mark.parametrize("name", sorted(path.name for path in REPORTS.iterdir() if (path / "expected.json").exists()))
def test_a_reported_cell_gets_the_right_answer(name: str) -> None:
    """Every finding by kind and effect, and what the notes must mention."""
    expected = json.loads((REPORTS / name / "expected.json").read_text())
    bundle = read_bundle(REPORTS / name)
    rulesets = tuple(read_text(text, where=file) for file, text in bundle.rules.items())
    judgement = judge_cell(bundle.facts, rulesets, bundle.time)
    found = Counter(f"{finding.kind.value} {finding.effect.value}" for finding in judgement.findings)
    assert found == expected["findings"]
    assert not bundle.sources
    for words in expected["notes"]:
        assert any(words in note for note in judgement.notes), words
