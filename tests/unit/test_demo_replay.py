"""Without root the demo replays a recording of real silk."""

from __future__ import annotations

import io

from rich.console import Console

from demo.replay import DAMAGES, replay
from demo.screen import Screen


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
