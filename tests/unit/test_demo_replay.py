"""Without root the demo replays a recording of real silk."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import pytest
from rich.console import Console

from c2c_auditor.demo.replay import DAMAGES, replay
from c2c_auditor.demo.screen import Screen

PAIR = Path(__file__).parent.parent / "golden" / "cells" / "pair-nft"


@pytest.mark.parametrize("name", ["iptables-save.txt", "policies.json", "security_groups.json", "store.json", "vxlan-policy-agent.json"])
def test_the_recording_is_the_golden_cell(name: str) -> None:
    """The package's recording is the cell that the tests know, byte by byte: silk wrote it, nobody edited it."""
    assert (files("c2c_auditor.demo") / "recording" / name).read_bytes() == (PAIR / name).read_bytes()


def test_each_damage_is_found_and_nothing_else() -> None:
    """It says that it replays, tells each fault with the finding that it raised, and succeeds."""
    printed = io.StringIO()
    assert replay(Screen(Console(file=printed, width=120))) == 0
    text = printed.getvalue()
    assert "this is a replay" in text
    assert text.count("passed") == len(DAMAGES)
    for damage in DAMAGES:
        assert damage.story in text
        assert damage.kind.value in text
