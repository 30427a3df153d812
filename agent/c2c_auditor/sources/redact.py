"""Pseudonyms in a bundle: guids, handles and names become made-up ones of the same form, everywhere the same, so that the bundle audits the same.

Chain names and log prefixes hold the beginnings of handles and guids, with dashes or without, so a pseudonym is put in for every beginning that is
long enough to be one.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

_GUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}(?:-[0-9a-f]{12})?")
_NAMES = ("app_name", "space_name", "organization_name")
# The shortest beginning of a handle in a chain's name is the eleven characters of ``netout--72346c38-e3b--rl-log``.
_SHORTEST = 11
_NAMESPACE = uuid.UUID(int=0)


def redacted(files: Mapping[str, str]) -> dict[str, str]:
    """``files`` (text by name) with pseudonyms."""
    guids: dict[str, str] = {}
    for text in files.values():
        for guid in _GUID.findall(text):
            guids.setdefault(guid, "")
    for index, guid in enumerate(sorted(guids)):
        guids[guid] = str(uuid.uuid5(_NAMESPACE, str(index)))[: len(guid)]
    words = _beginnings(guids)
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True)))) if words else None
    renamed = dict(files)
    if "store.json" in renamed:
        renamed["store.json"] = _unnamed(renamed["store.json"])
    if pattern is None:
        return renamed
    return {name: pattern.sub(lambda found: words[found[0]], text) for name, text in renamed.items()}


def _beginnings(guids: Mapping[str, str]) -> dict[str, str]:
    words: dict[str, str] = {}
    for guid, other in guids.items():
        for size in range(_SHORTEST, len(guid) + 1):
            words.setdefault(guid[:size], other[:size])
        bare, other_bare = guid.replace("-", ""), other.replace("-", "")
        for size in range(_SHORTEST, len(bare) + 1):
            words.setdefault(bare[:size], other_bare[:size])
    return words


def _unnamed(store: str) -> str:
    """Names of apps, spaces and orgs by numbers; other keys as they are."""
    try:
        given = json.loads(store)
    except ValueError:
        return store
    numbers: dict[tuple[str, str], str] = {}
    for entry in given.values() if isinstance(given, dict) else ():
        metadata = entry.get("metadata") if isinstance(entry, dict) else None
        if isinstance(metadata, dict) and isinstance(metadata.get("log_config"), str):
            metadata["log_config"] = _unnamed_log_config(metadata["log_config"], numbers)
    return json.dumps(given, indent=1)


def _unnamed_log_config(text: str, numbers: dict[tuple[str, str], str]) -> str:
    try:
        given: Any = json.loads(text)
    except ValueError:
        return text
    tags = given.get("tags") if isinstance(given, dict) else None
    for key in _NAMES:
        if isinstance(tags, dict) and isinstance(tags.get(key), str):
            kind = key.split("_", 1)[0]
            tags[key] = numbers.setdefault((key, tags[key]), f"{kind}-{len(numbers) + 1}")
    return json.dumps(given)
