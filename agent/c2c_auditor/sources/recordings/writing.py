"""Writes the files of a bundle into a directory."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from c2c_auditor.errors import UsageError
from c2c_auditor.sources.recordings.bundle import CHANGES, CNI_CONFIG, DECLARED, NATIVES, RULES

_RULES_NAME = re.compile(r"ip6?tables-save(?:\.[a-z]+)?\.txt")
_KNOWN = (
    "store.json",
    "vxlan-policy-agent.json",
    CNI_CONFIG,
    "policies.json",
    "security_groups.json",
    "policies_last_updated",
    "ingress_tag",
    DECLARED,
    NATIVES,
    "cell.json",
    CHANGES,
)


def write_bundle(directory: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` (text by name) as a bundle: all of it or nothing, readable by its owner only.

    Raises UsageError if something is there already, if it cannot be written, or for a file that is no part of a bundle:
    keys never are.
    """
    strange = [name for name in files if name not in _KNOWN and not _RULES_NAME.fullmatch(name)]
    if strange:
        raise UsageError(f"{', '.join(strange)}: no part of a bundle; its files are {RULES}, {', '.join(_KNOWN)}")
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(
                f"{directory}: there is something already; give a directory that does not exist or is empty"
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise UsageError(f"{directory}: it cannot be made: {error.strerror}; give another directory") from error
    try:
        for name, text in files.items():
            descriptor = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(text.encode("utf-8", "surrogateescape"))
        made.replace(directory)
    except OSError as error:
        raise UsageError(f"{directory}: it cannot be written: {error.strerror}; give another directory") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
