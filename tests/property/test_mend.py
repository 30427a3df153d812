"""The mend of several damages at once: nothing is left but what is refused, and it leads there and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2c_auditor.audit.mend.edits import applied, way_back
from c2c_auditor.audit.scene import Scene
from c2c_auditor.model import rule as r
from support.mending import mended, scene_of, with_elsewhere
from support.mutations import mutations
from support.recordings import Recording, recording


def _damaged(cell: Recording, ruleset: r.Ruleset, data: st.DataObject) -> r.Ruleset:
    """One rule of any chain, damaged in any way."""
    table = data.draw(st.sampled_from(sorted(ruleset.tables)))
    chain = data.draw(st.sampled_from([name for name, chain in ruleset.chains(table).items() if chain.rules]))
    index = data.draw(st.integers(0, len(ruleset.chains(table)[chain].rules) - 1))
    every = list(mutations(ruleset, chain, index, cell.addresses, table=table))
    return data.draw(st.sampled_from(every)).ruleset


@pytest.mark.parametrize("name", ["pair-c2c-logging", "fleet-12-nft"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_several_damages_are_mended_together(name: str, data: st.DataObject) -> None:
    """Each finding is gone or refused, none is new, mending again ends only what was refused; and it leads back."""
    cell = with_elsewhere(recording(name))
    clean = scene_of(cell)
    ruleset = cell.ruleset
    for _ in range(data.draw(st.integers(2, 4))):
        ruleset = _damaged(cell, ruleset, data)
    scene = scene_of(cell, ruleset, clean)
    found = mended(scene)
    assert found.blocked is None
    refused = {refusal.finding.key for refusal in found.refused}
    assert {finding.key for finding in found.left} <= refused
    for commands in found.commands:
        after = scene_of(cell, commands.after, clean)
        assert _keys(after) == {finding.key for finding in found.left}
        again = mended(after)
        # What was refused may be known now that the rest is right.
        assert {finding.key for finding in again.causes.values()} <= refused
        assert applied(commands.after, way_back(commands.ruleset, commands.edits)).tables == ruleset.tables


def _keys(scene: Scene) -> set[tuple[str, ...]]:
    return {finding.key for finding in scene.judgement.findings}
