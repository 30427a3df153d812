"""A bundle: everything that one audit read, as a directory. Support case, offline audit and golden test are the same thing.

| file | what |
|---|---|
| ``cell.json`` | backend, underlay interfaces, ``time`` of the capture (seconds since the epoch) |
| ``store.json`` | container metadata |
| ``vxlan-policy-agent.json`` | VPA's configuration; certificates and keys are never in a bundle |
| ``policies.json``, ``policies_last_updated``, ``security_groups.json`` | the policy server's answers |
| ``ingress_tag`` | the ingress router's tag, if it is known |
| ``iptables-save.txt`` | the rules; on a cell with both backends in use also ``iptables-save.BACKEND.txt`` for the second |

A file that is not there is a fact that is not known; nothing is invented for it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError, UsageError
from c2c_auditor.model.cell import CellFacts
from c2c_auditor.sources.answers import parse_policies, parse_security_groups
from c2c_auditor.sources.files import read_text_file
from c2c_auditor.sources.store import parse_store
from c2c_auditor.sources.vpa_config import parse_vpa_config

RULES = "iptables-save.txt"
_KNOWN = (
    "store.json",
    "vxlan-policy-agent.json",
    "policies.json",
    "security_groups.json",
    "policies_last_updated",
    "ingress_tag",
    "cell.json",
)


@frozen(kw_only=True)
class Bundle:
    """A bundle as read: ``rules`` are texts by file name, the main backend's first; ``time`` is None in recordings that do not tell it."""

    rules: Mapping[str, str]
    facts: CellFacts
    backend: str = ""
    time: float | None = None


def read_bundle(directory: Path) -> Bundle:
    """The bundle in ``directory``. Raises SourceError for what cannot be read; what is absent becomes None and a note."""
    if not directory.is_dir():
        raise _failed(directory, "there is no such directory", "give a directory made by `c2c-auditor capture`")
    rules = {RULES: read_text_file(directory / RULES, source="rules")}
    rules.update({path.name: read_text_file(path, source="rules") for path in sorted(directory.glob("iptables-save.*.txt"))})
    texts = {name: read_text_file(directory / name, source=name.partition(".")[0]) for name in _KNOWN if (directory / name).exists()}
    cell = _cell(texts.get("cell.json", "{}"), directory / "cell.json")
    return Bundle(rules=rules, facts=_facts(texts, cell, directory), backend=str(cell.get("backend", "")), time=cell.get("time"))


def _facts(texts: Mapping[str, str], cell: Mapping[str, Any], directory: Path) -> CellFacts:
    def where(name: str) -> str:
        return str(directory / name)

    store, config, policies, groups = (texts.get(name) for name in _KNOWN[:4])
    interfaces = cell.get("underlay_interfaces")
    absent = [name for name in _KNOWN[:4] if name not in texts]
    return CellFacts(
        store=parse_store(store, where=where("store.json")) if store is not None else None,
        config=parse_vpa_config(config, where=where("vxlan-policy-agent.json")) if config is not None else None,
        policies=parse_policies(policies, where=where("policies.json")) if policies is not None else None,
        security_groups=parse_security_groups(groups, where=where("security_groups.json"))[0] if groups is not None else None,
        ingress_tag=_tag(texts.get("ingress_tag"), directory / "ingress_tag"),
        underlay_interfaces=tuple(map(str, interfaces)) if isinstance(interfaces, list) else None,
        notes=(f"The bundle has no {', '.join(absent)}.",) if absent else (),
    )


def _cell(text: str, path: Path) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise _failed(path, f"not valid JSON: {error}", "it is written by `c2c-auditor capture`") from error
    if not isinstance(given, dict) or not isinstance(given.get("time"), int | float | None):
        raise _failed(path, "expected an object, with the time as a number", "it is written by `c2c-auditor capture`")
    return given


def _tag(text: str | None, path: Path) -> int | None:
    try:
        return int(text.strip(), 16) if text is not None else None
    except ValueError as error:
        raise _failed(path, f"{text!r:.40} is no hexadecimal tag", "write the tag as the policy server does, for example 0003") from error


def write_bundle(directory: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` (text by name) as a bundle: all of it or nothing, for its owner's eyes only. Raises UsageError if there is something already."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: there is something already; give a directory that does not exist or is empty")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise UsageError(f"{directory}: it cannot be made: {error.strerror}") from error
    try:
        for name, text in files.items():
            descriptor = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(text.encode("utf-8", "surrogateescape"))
        made.replace(directory)
    except OSError as error:
        raise UsageError(f"{directory}: it cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _failed(path: Path, problem: str, remedy: str) -> SourceError:
    return SourceError(source="bundle", reason=Reason.MALFORMED, where=str(path), problem=problem, remedy=remedy)
