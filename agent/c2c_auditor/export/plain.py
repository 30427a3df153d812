"""Foreign text made harmless: app names, comments and chain names come from tenants and from whoever writes rules."""

from __future__ import annotations

_MOST = 1000


def plain(text: str, most: int = _MOST) -> str:
    """``text`` with everything that is not printable (control and escape characters, line breaks, bidirectional and zero-width marks) shown as an escape.

    Longer than ``most`` characters, it is cut and says so.
    """
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text[: most + 1])
    return shown if len(text) <= most else f"{shown[:most]}… ({len(text)} characters)"
