"""Foreign text, harmless: whatever a tenant calls an app, a terminal and a log line show it and do nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.export.plain import plain


@pytest.mark.parametrize(
    "char",
    [
        "\0",
        "\x07",
        "\b",
        "\t",
        "\n",
        "\r",
        "\x1b",
        "\x7f",
        "\x85",
        "\x9b",  # the one-byte form of ESC [
        "\xa0",
        "\xad",
        "\u034f",
        "\u061c",
        "\u200b",
        "\u200d",
        "\u200e",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u2800",
        "\u3164",
        "\ufe0f",
        "\ufeff",
        "\udc80",
        "\U000e0041",
        "\U000e0100",
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(char: str) -> None:
    """Control characters, directions, zero width, fillers that pass for letters, halves of characters."""
    shown = plain(f"a{char}b")
    assert char not in shown
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")


@pytest.mark.parametrize(
    "text", ["", "frontend", "my app", "Bücherei-Dienst", "日本語", "สวัสดี", "🚀", "[bold]", "<b>", "back\\slash"]
)
def test_what_can_be_seen_stays(text: str) -> None:
    """In every script; markup is no business of this function, and no renderer here reads any."""
    assert plain(text) == text


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """And once is enough."""
    shown = plain(text)
    assert shown.isprintable()
    assert plain(shown, most=len(shown)) == shown


def test_long_text_is_cut_and_says_so() -> None:
    """Nobody fills a screen with a name."""
    assert plain("x" * 2000) == "x" * 1000 + "… (2000 characters)"
    assert len(plain("\n" * 100_000)) < 1100
