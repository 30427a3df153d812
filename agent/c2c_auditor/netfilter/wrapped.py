"""Joins lines of iptables' output that a terminal or a mail program broke.

A terminal breaks at its width, in the middle of words; a mail program breaks between words. Which of both it was shows
only when the joined text is read: so both are proposed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from c2c_auditor.netfilter import pasted

# Lines that are long enough to be broken: rules, comments and the head of a listing with -v.
_LONG = re.compile(
    r"(?:\[\d{1,20}:\d{1,20}\] )?-A |#"  # of iptables-save and -S
    r"| {0,16}(?:num {1,8})?(?: {0,16}pkts |target )"  # of -L
    r"|.{0,120}? (?:--|-f|!f) "  # of it a rule: behind target and protocol the options
)
_SHORT = re.compile(r"\*\w|:\S{1,64} (?:-|[A-Z]{1,16})(?: \[|$)|-[PN] |COMMIT\b|Chain \S")


def joined(text: str) -> tuple[str, ...]:
    """``text``, cleaned, with broken lines joined: as a mail program broke them, and as a terminal did.

    Empty if no line is broken, or if one goes on that is too short for that.
    """
    lines: list[list[str]] = []
    for line in text.split("\n"):
        if not line.strip() or _LONG.match(line) or _SHORT.match(line) or pasted.is_command(line):
            lines.append([line])
        elif lines and _LONG.match(lines[-1][0]):
            lines[-1].append(line)
        else:
            return ()
    width = max((len(part) for parts in lines for part in parts[:-1]), default=0)
    if not width:
        return ()
    by_words = "\n".join(" ".join(part.strip() for part in parts) for parts in lines)
    return tuple(dict.fromkeys((by_words, "\n".join(_at_width(parts, width) for parts in lines))))


def _at_width(parts: Sequence[str], width: int) -> str:
    """The blanks at the edge of a terminal are lost where it was copied from."""
    return "".join(part.ljust(width) for part in parts[:-1]) + parts[-1]
