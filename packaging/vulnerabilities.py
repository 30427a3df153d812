"""Asks OSV which vulnerabilities are known in what ships (the lock file for cells), by way of pip-audit.

    make vulnerabilities

Exit status: 0 none is known, 1 there are some, 3 it could not look. Further arguments go to pip-audit (--osv-url URL).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import dependencies

_FOUND, _BLIND = 1, 3


def main(arguments: Sequence[str]) -> int:
    """Ask, and print what came of it; the exit status."""
    pins = {(one.name, one.version) for one in dependencies.dependencies()}
    fixed = (
        "--disable-pip",
        "--no-deps",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "--vulnerability-service",
        "osv",
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        # Without the lock file's markers: what only an older Python needs ships as well.
        listed.write("".join(f"{name}=={version}\n" for name, version in sorted(pins)))
        listed.flush()
        command = (sys.executable, "-m", "pip_audit", *fixed, "--requirement", listed.name, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    asked = _answers(done.stdout)
    unasked = sorted(name for name, version in pins if (name, version) not in asked)
    if unasked:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        named = ", ".join(unasked) if len(unasked) < len(pins) else "what ships"
        said = f"pip-audit ended with {done.returncode}: {last}"
        sys.stderr.write(f"c2c-auditor: could not look for known vulnerabilities of {named}: {said}\n")
        return _BLIND
    known = [(name, version, one) for (name, version), found in asked.items() for one in found]
    for name, version, one in known:
        mended = ", ".join(one["fix_versions"]) or "no version yet"
        sys.stdout.write(f"{name} {version}: {' '.join([one['id'], *one['aliases']])}, mended by {mended}\n")
    what = "1 known vulnerability" if len(known) == 1 else f"{len(known) or 'no'} known vulnerabilities"
    sys.stdout.write(f"{len(asked)} libraries were asked about: {what}\n")
    return _FOUND if known else 0


def _answers(text: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The vulnerabilities of each library that was asked about, by name and version; nothing where none was."""
    try:
        listed = json.loads(text)["dependencies"]
    except (ValueError, KeyError):
        return {}
    return {(one["name"], one["version"]): one["vulns"] for one in listed if "skip_reason" not in one}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
