"""A bundle: everything that one audit read, as a directory.

Support case, offline audit and golden test are the same thing.

| file | what |
|---|---|
| ``cell.json`` | backend, underlay interfaces, ``lease``, ``time`` of the capture (seconds since the epoch); |
| | ``problems``: what could not be read or understood, and why |
| ``store.json`` | container metadata |
| ``vxlan-policy-agent.json`` | VPA's configuration; certificates and keys are never in a bundle |
| ``cni-wrapper-plugin.conflist`` | the CNI wrapper's configuration, in bundles made since the agent reads it |
| ``policies.json``, ``policies_last_updated``, ``security_groups.json`` | the policy server's answers |
| ``ingress_tag`` | the ingress router's tag, if it is known |
| ``declared_rules.json`` | others' rules that the agent's settings declare, if there are any |
| ``native-tables.json`` | nftables' own tables, and its chains in iptables' (`natives`), where there are any |
| ``changes.json`` | the last changes to the rules, where an agent with a socket runs on the cell |
| ``iptables-save.txt`` | the rules |
| ``iptables-save.BACKEND.txt`` | the second backend's rules, on a cell with both in use |
| ``ip6tables-save.txt`` | the rules of IPv6, on a cell where that is on; a second backend's as above |

A file that is not there, or that cannot be understood, is a fact that is not known; nothing is invented for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol, TypeVar

from attrs import asdict, evolve, frozen

from c2c_auditor.decoding import DecodeError, Dialect, decode, parse_tag
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import CellFacts, DeclaredRule, PolicySet
from c2c_auditor.model.change import Change
from c2c_auditor.model.cni import Lease, LeaseSource
from c2c_auditor.model.family import AddressFamily
from c2c_auditor.model.reading import Reading
from c2c_auditor.model.report import SourceStatus
from c2c_auditor.model.table import READ_TABLES
from c2c_auditor.netfilter.render import render_ruleset
from c2c_auditor.sources.declared import DeclaredRuleSettings
from c2c_auditor.sources.facts.cni_config import parse_cni_config
from c2c_auditor.sources.facts.known import problem_of
from c2c_auditor.sources.facts.policy_answers import parse_last_updated, parse_policies, parse_security_groups
from c2c_auditor.sources.facts.store import parse_store
from c2c_auditor.sources.facts.vpa_config import parse_vpa_config
from c2c_auditor.sources.files import read_text_file
from c2c_auditor.sources.recordings.journal import parse_changes
from c2c_auditor.sources.recordings.natives import Natives, natives_json, parse_natives

RULES, RULES_IPV6 = "iptables-save.txt", "ip6tables-save.txt"
CHANGES = "changes.json"
CNI_CONFIG = "cni-wrapper-plugin.conflist"
DECLARED = "declared_rules.json"
NATIVES = "native-tables.json"
# The file that holds what a source gave.
FILE_OF = {
    "rules": RULES,
    "vpa_config": "vxlan-policy-agent.json",
    "cni_config": CNI_CONFIG,
    "store": "store.json",
    "policy_server": "policies.json",
    "security_groups": "security_groups.json",
    "agent": CHANGES,
}
_OLD = "The bundle is of an agent that did not read the tables raw and security: rules there were not judged."
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@frozen(kw_only=True)
class _Lease:
    network: IPv4Network
    source: LeaseSource = LeaseSource.SILK_DAEMON


@frozen(kw_only=True)
class _Cell:
    """``cell.json``. ``tables`` are iptables' that were read, ``native_tables`` how many of nftables' own there were.

    Older bundles have no ``tables``, and of native tables the number alone.
    """

    backend: str = ""
    tables: tuple[str, ...] | None = None
    native_tables: int = 0
    underlay_interfaces: tuple[str, ...] | None = None
    time: float | None = None
    lease: _Lease | None = None


@frozen(kw_only=True)
class _Declared:
    declared_rules: tuple[DeclaredRuleSettings, ...] = ()


@frozen(kw_only=True)
class Bundle:
    """A bundle as read: ``rules`` are texts by file name, the main backend's first.

    ``time`` is None in recordings without one. ``sources`` are the files that exist and cannot be understood.
    ``natives`` are nftables' own tables, None where there were some that the bundle leaves out. ``changes`` are those
    before the capture, the oldest first.
    """

    rules: Mapping[str, str]
    facts: CellFacts
    backend: str = ""
    natives: Natives | None
    time: float | None = None
    sources: tuple[SourceStatus, ...] = ()
    changes: tuple[Change, ...] = ()


def read_bundle(directory: Path) -> Bundle:
    """The bundle in ``directory``. Raises SourceError where there are no rules.

    A fact without a file is None, with a note; one whose file cannot be understood is None, with a failed source.
    """
    if not directory.is_dir():
        raise _failed(directory, "there is no such directory", "give a directory made by `c2c-auditor capture`")
    rules = {RULES: read_text_file(directory / RULES, source="rules")}
    others = sorted(directory.glob("iptables-save.*.txt"))
    others += [path for path in (directory / RULES_IPV6,) if path.exists()] + sorted(
        directory.glob("ip6tables-save.*.txt")
    )
    rules.update({path.name: read_text_file(path, source="rules") for path in others})
    facts = _Facts(directory)
    cell = facts.read("cell.json", _cell) or _Cell()
    natives = facts.read(NATIVES, _natives, expected=False)
    if cell.tables is None and cell.time is not None:
        facts.notes.append(_OLD)
    changes = facts.read(CHANGES, parse_changes, expected=False) or ()
    return Bundle(
        rules=rules,
        facts=CellFacts(
            store=facts.read("store.json", parse_store),
            config=facts.read("vxlan-policy-agent.json", parse_vpa_config),
            policies=facts.policies(),
            security_groups=facts.read(
                "security_groups.json", lambda text, *, where: parse_security_groups(text, where=where)[0]
            ),
            ingress_tag=facts.read("ingress_tag", _tag, expected=False),
            underlay_interfaces=cell.underlay_interfaces,
            cni=facts.read(CNI_CONFIG, parse_cni_config, expected=False),
            declared_rules=facts.read(DECLARED, _declared, expected=False) or (),
            lease=Lease(network=cell.lease.network, source=cell.lease.source) if cell.lease is not None else None,
            notes=tuple(facts.notes),
        ),
        backend=cell.backend,
        natives=natives if natives is not None or cell.native_tables else {},
        time=cell.time,
        sources=tuple(facts.sources),
        changes=changes,
    )


class _Parse(Protocol[T_co]):
    def __call__(self, text: str, *, where: str) -> T_co:
        """``text`` as a value; raises SourceError."""


class _Facts:
    """The facts in a directory, and notes about files that are missing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.notes: list[str] = []
        self.sources: list[SourceStatus] = []

    def read(self, name: str, parse: _Parse[T], *, expected: bool = True) -> T | None:
        """The file's value; None if there is no such file, or if it cannot be understood."""
        path = self._directory / name
        try:
            return parse(read_text_file(path, source="bundle"), where=str(path))
        except SourceError as error:
            if error.reason is not Reason.MISSING:
                self.sources.append(SourceStatus(name=name, up=False, problem=problem_of(error, name)))
            elif expected:
                self.notes.append(f"The bundle has no {name}.")
        return None

    def policies(self) -> PolicySet | None:
        """The policies with the server's clock."""
        policies = self.read("policies.json", parse_policies)
        updated = self.read("policies_last_updated", parse_last_updated, expected=False)
        return evolve(policies, last_updated=updated) if policies is not None else None


def lease_entry(lease: Lease) -> dict[str, str]:
    """What ``cell.json`` holds of a lease under the key ``lease``."""
    return {"network": str(lease.network), "source": lease.source.value}


def _cell(text: str, *, where: str) -> _Cell:
    try:
        return decode(text, _Cell)
    except DecodeError as error:
        raise _malformed(where, str(error)) from error


def _declared(text: str, *, where: str) -> tuple[DeclaredRule, ...]:
    try:
        return tuple(one.value() for one in decode(text, _Declared, Dialect.OWN).declared_rules)
    except (DecodeError, ValueError) as error:
        raise _malformed(where, str(error)) from error


def _natives(text: str, *, where: str) -> Natives:
    try:
        return parse_natives(text)
    except ValueError as error:
        raise _malformed(where, str(error)) from error


def _tag(text: str, *, where: str) -> int:
    try:
        return parse_tag(text.strip())
    except ValueError as error:
        raise _malformed(where, str(error)) from error


def bundle_files(reading: Reading, texts: Mapping[str, str], *, ingress_tag: str | None) -> dict[str, str]:
    """The files of a bundle, text by name: the rules as read, and ``texts`` as the sources gave them.

    What could not be read or understood is listed in ``cell.json``.
    """
    interfaces = reading.facts.underlay_interfaces
    problems = [status.problem for status in reading.sources if status.problem is not None]
    cell = {
        "backend": reading.rulesets[0].backend.value if reading.rulesets else None,
        "tables": [table.name for table in READ_TABLES],
        "native_tables": len({table.name for ruleset in reading.rulesets for table in ruleset.natives}),
        "time": reading.time,
        "underlay_interfaces": list(interfaces) if interfaces else None,
        "lease": lease_entry(reading.facts.lease) if reading.facts.lease is not None else None,
        "problems": [
            {"source": problem.source, "reason": problem.reason, "where": problem.where, "problem": problem.problem}
            for problem in problems
        ],
    }
    files: dict[str, str] = {}
    for ruleset in reading.rulesets:
        if files and not ruleset.tables:
            continue  # it holds native tables alone
        main = RULES if ruleset.family is AddressFamily.IPV4 else RULES_IPV6
        name = main.replace(".", f".{ruleset.backend.value}.", 1) if main in files else main
        files[name] = render_ruleset(ruleset)
    files |= {"cell.json": json.dumps(cell, indent=1), **texts}
    if ingress_tag is not None:
        files["ingress_tag"] = ingress_tag
    if reading.facts.declared_rules:
        declared = [asdict(DeclaredRuleSettings.of(one)) for one in reading.facts.declared_rules]
        files[DECLARED] = json.dumps({"declared_rules": declared}, indent=1)
    natives = natives_json(reading.rulesets)
    if natives is not None:
        files[NATIVES] = natives
    return files


def _malformed(where: str, problem: str) -> SourceError:
    return _failed(Path(where), problem, "it is written by `c2c-auditor capture`")


def _failed(path: Path, problem: str, remedy: str) -> SourceError:
    return SourceError(source="bundle", reason=Reason.MALFORMED, where=str(path), problem=problem, remedy=remedy)
