"""The documents that Debian wants in a package: its changelog, and who holds which rights."""

from __future__ import annotations

import re
import textwrap
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

from dependencies import dependencies

MAINTAINER = "c2c-auditor maintainers <cloudfoundry-community@users.noreply.github.com>"
_LIBRARY = "/opt/c2c-auditor/lib/python3/site-packages"
_HELD = re.compile(r"\W*(?:copyright|\(c\))(?:\W*\(c\)|\W*©)?\W*((?:19|20)\d\d\b.*)", re.IGNORECASE)


def changelog(changes: str, epoch: int) -> str:
    """CHANGELOG.md in Debian's form. A version that has no date yet gets ``epoch``."""
    moment = datetime.fromtimestamp(epoch, timezone.utc).isoformat()
    entries = []
    for heading, body in re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", changes, re.MULTILINE):
        version, _, dated = heading.partition(" ")
        date = re.search(r"\d{4}-\d\d-\d\d", dated)
        when = datetime.fromisoformat(f"{date[0]}T00:00:00+00:00" if date else moment)
        points = re.findall(r"^- (.+(?:\n  .+)*)", body, re.MULTILINE)
        text = "\n".join(
            textwrap.fill(
                " ".join(point.split()), 78, initial_indent="  * ", subsequent_indent="    ", break_long_words=False
            )
            for point in points
        )
        entries.append(
            f"c2c-auditor ({version}) stable; urgency=medium\n\n{text}\n\n -- {MAINTAINER}  {format_datetime(when)}\n"
        )
    return "\n".join(entries)


def rights(library: Path) -> str:
    """Who holds which rights, machine-readable; the licences' texts lie beside the libraries in ``library``."""
    paragraphs = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: c2c-auditor\n",
        "Files: *\nCopyright: 2026 the c2c-auditor authors\nLicense: Apache-2.0\n",
    ]
    licences = {"Apache-2.0"}
    for one in dependencies():
        licence = one.licence.replace(" AND ", " and ").replace(" OR ", " or ")
        licences.update(re.split(r" and | or ", licence))
        name = one.name.replace("-", "?")
        held = "\n ".join(_held(library, name)) or f"the authors of {one.name}"
        files = f"{_LIBRARY[1:]}/{name}*"
        paragraphs.append(f"Files: {files}\nCopyright: {held}\nLicense: {licence}\n")
    for licence in sorted(licences):
        where = (
            " The text is in /usr/share/common-licenses/Apache-2.0."
            if licence == "Apache-2.0"
            else f" The text is beside the library, in its .dist-info below\n {_LIBRARY}."
        )
        paragraphs.append(f"License: {licence}\n{where}\n")
    return "\n".join(paragraphs)


def _held(library: Path, name: str) -> list[str]:
    """What the licences of a library say of its copyright."""
    lines: dict[str, None] = {}
    for file in sorted(library.glob(f"[{name[0]}{name[0].upper()}]{name[1:]}*.dist-info/**/*LICEN*")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            found = _HELD.fullmatch(line)
            if found is not None and "<" not in line:
                lines[found[1].strip(" ,")] = None
    return list(lines)
