"""Joins lines of iptables' output that a terminal or a mail program broke.

A terminal breaks at its width, in the middle of words; a mail program breaks between words. Which of both it was shows
only when the joined text is read: so both are proposed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from c2c_auditor.netfilter import pasted

_BEGINS = re.compile(
    r"\*\w|:\S+ (?:-|[A-Z]+)(?: \[|$)|\[\d+:\d+\] -|-[APN] |#|COMMIT\b"  # iptables-save and -S
    r"|Chain \S|\s*(?:num\s+)?(?:pkts\s|target\s)"  # -L, and of it a rule: target, protocol, options
    r"|(?:\s*\d+)?(?:\s*\d+[KMGT]?\s+\d+[KMGT]?)?\s*\S*\s+\S+\s+(?:--|-f|!f)\s"
)


def joined(text: str) -> tuple[str, ...]:
    """``text``, cleaned, with broken lines joined: as a mail program broke them, and as a terminal did.

    Empty if no line is broken.
    """
    lines: list[list[str]] = []
    for line in text.split("\n"):
        begins = not line.strip() or _BEGINS.match(line) or pasted.is_command(line)
        if begins or not lines or not lines[-1][-1].strip():
            lines.append([line])
        else:
            lines[-1].append(line)
    width = max((len(part) for parts in lines for part in parts[:-1]), default=0)
    if not width:
        return ()
    by_words = "\n".join(" ".join(part.strip() for part in parts) for parts in lines)
    return tuple(dict.fromkeys((by_words, "\n".join(_at_width(parts, width) for parts in lines))))


def _at_width(parts: Sequence[str], width: int) -> str:
    """The blanks at the edge of a terminal are lost where it was copied from."""
    return "".join(part.ljust(width) for part in parts[:-1]) + parts[-1]
