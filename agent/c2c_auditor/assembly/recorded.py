"""Readings of recordings: of a bundle, or of single files. The formats themselves belong to `sources`."""

from __future__ import annotations

import sys
from pathlib import Path

from attrs import evolve, frozen

from c2c_auditor.model.cell import CellFacts
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.rule import Backend, Loss, Ruleset
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.facts.cni_config import read_cni_config
from c2c_auditor.sources.facts.policy_answers import parse_policies
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import read_vpa_config
from c2c_auditor.sources.files import read_text_file
from c2c_auditor.sources.recordings.bundle import read_bundle
from c2c_auditor.sources.recordings.natives import with_natives
from c2c_auditor.sources.rules.text import read_pasted, read_text

_BACKENDS = frozenset(backend.value for backend in Backend)


@frozen(kw_only=True)
class BundleReader:
    """A directory that `c2c-auditor capture` made."""

    directory: Path

    def read(self) -> Reading:
        """What was captured. Raises SourceError where there are no rules, or none that can be parsed."""
        bundle = read_bundle(self.directory)
        rulesets = tuple(_saved(text, self.directory / name) for name, text in bundle.rules.items())
        if bundle.natives is None:
            rulesets = tuple(evolve(ruleset, lost=ruleset.lost | {Loss.NATIVE_TABLES}) for ruleset in rulesets)
        else:
            rulesets = with_natives(rulesets, bundle.natives)
        return Reading(
            time=bundle.time,
            facts=bundle.facts,
            rulesets=rulesets,
            sources=bundle.sources,
            journal=bundle.changes,
        )


def _saved(text: str, path: Path) -> Ruleset:
    """Rules of a bundle.

    The file's name says the family, which rules without addresses would not show, and a second file's the backend.
    """
    if path.name.startswith(AddressFamily.IPV6.tool):
        ruleset = parse_save(text, where=str(path), parser=RuleParser(AddressFamily.IPV6))
    else:
        ruleset = read_text(text, where=str(path))
    *_, backend, _ = path.name.split(".")
    return evolve(ruleset, backend=Backend(backend)) if backend in _BACKENDS else ruleset


@frozen(kw_only=True)
class FilesReader:
    """Listings of rules, and the facts that were given with them. ``-`` among the rules is standard input."""

    rules: tuple[Path, ...]
    store: Path | None = None
    policies: Path | None = None
    vpa_config: Path | None = None
    cni_config: Path | None = None
    ingress_tag: int | None = None

    def read(self) -> Reading:
        """What the files hold. Raises SourceError."""
        facts = CellFacts(
            store=parse_store(read_text_file(self.store, source="store"), where=str(self.store))
            if self.store
            else None,
            policies=parse_policies(read_text_file(self.policies, source="policies"), where=str(self.policies))
            if self.policies
            else None,
            config=read_vpa_config(self.vpa_config) if self.vpa_config else None,
            cni=read_cni_config(self.cni_config) if self.cni_config else None,
            ingress_tag=self.ingress_tag,
        )
        return Reading(facts=facts, rulesets=tuple(map(_ruleset, self.rules)), listings=True)


def _ruleset(path: Path) -> Ruleset:
    if str(path) == "-":
        return read_pasted(sys.stdin.read(), where="standard input")
    return read_pasted(read_text_file(path, source="rules"), where=str(path))
