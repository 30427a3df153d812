"""Foreign text made harmless: tenants choose app names, and other programs choose comments and chain names."""

from __future__ import annotations

_MOST = 1000
# Characters that Python calls printable although they are invisible: letters and marks among Unicode's default
# ignorable code points (DerivedCoreProperties.txt), and the blank of Braille. With them two names can look alike.
_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)


def plain(text: str, most: int = _MOST) -> str:
    """``text`` with its invisible characters shown as escapes.

    Invisible are control and escape characters, line breaks, bidirectional and zero-width marks. A text longer than
    ``most`` characters is cut, and its length is added.
    """
    escaped = "".join(
        char if _is_visible(char) else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text[: most + 1]
    )
    return escaped if len(text) <= most else f"{escaped[:most]}… ({len(text)} characters)"


def _is_visible(char: str) -> bool:
    return char.isprintable() and char not in _INVISIBLE
