"""Parses the answers of policy-server-internal; a malformed entry becomes a `BadRecord` and hides no other entry.

Source: cf-networking-release src/code.cloudfoundry.org/policy-server/api (``policy_mapper.go``, ``asg_mapper.go``),
policy_client.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from itertools import chain
from typing import Any

from attrs import frozen

from c2c_auditor.decoding import DecodeError, Loose, parse_json, parse_tag, replace_surrogates, shown_value, structure
from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import BadRecord, Policy, PolicySet, SecurityGroup, SecurityRule
from c2c_auditor.model.rule import PortRange
from c2c_auditor.sources.facts.last_answer import MOST_POLICIES, LastAnswer, guid_of, ports_of

_PROTOCOLS = ("tcp", "udp")
_CLOCK = re.compile("[0-9]{1,20}")


@frozen(kw_only=True)
class _Group:
    """A security group as it is stored. A field of the wrong type counts as empty where silk treats it so."""

    guid: str
    name: Loose = Loose("")
    rules: Any = None
    staging_default: Any = None
    running_default: Any = None
    staging_space_guids: Any = None
    running_space_guids: Any = None


@frozen(kw_only=True)
class _Page:
    security_groups: tuple[_Group, ...]
    next: int = 0


def parse_policies(text: str, *, where: str, last: LastAnswer | None = None) -> PolicySet:
    """``{"policies": [...]}`` as a PolicySet, sorted, each policy once; ``last`` is what the text may say again.

    Raises SourceError when the whole is not of that form.
    """
    last = last if last is not None else LastAnswer()
    plain = last.plain(text)
    if plain is not None:
        return PolicySet(policies=last.in_order(plain))
    whole = _parsed(text, where)
    given = whole.get("policies") if isinstance(whole, dict) else whole
    if not isinstance(whole, dict) or not isinstance(given, list):
        raise _failed(where, f"expected an object with a list of policies, found {shown_value(given)}")
    if len(given) > MOST_POLICIES:
        raise too_many(len(given), where)
    known = _Known(tags={}, ranges={})
    policies: set[Policy] = set()
    unreadable: list[BadRecord] = []
    for index, entry in enumerate(given):
        policy = _policy_or_problem(entry, known)
        if isinstance(policy, Policy):
            policies.add(policy)
        else:
            unreadable.append(_bad(entry, f"{where}, policies[{index}]", policy))
    return PolicySet(policies=last.in_order(policies), unreadable=tuple(unreadable))


def too_many(count: int, where: str) -> SourceError:
    """The error for more policies than the agent can judge in the memory that it has."""
    problem = f"it has {count} policies for the apps of this cell; at most {MOST_POLICIES} can be judged"
    remedy = "find out which app is part of so many: vxlan-policy-agent writes a rule for each, and more"
    return SourceError(source="policy_server", reason=Reason.TOO_LARGE, where=where, problem=problem, remedy=remedy)


def merged(answers: Iterable[PolicySet], last: LastAnswer | None = None) -> PolicySet:
    """Several answers as one: sorted, each policy once; ``last`` as for `parse_policies`."""
    given = tuple(answers)
    last = last if last is not None else LastAnswer()
    unreadable = {(bad.guids, bad.problem): bad for answer in given for bad in answer.unreadable}
    policies = given[0].policies if len(given) == 1 else last.in_order(chain(*(one.policies for one in given)))
    return PolicySet(policies=policies, unreadable=tuple(unreadable.values()))


@frozen(kw_only=True)
class _Known:
    """Tags and port ranges of one answer that were parsed already: 20,000 policies share a few hundred."""

    tags: dict[object, int]
    ranges: dict[tuple[object, object], PortRange]

    def ports(self, first: object, last: object) -> PortRange:
        """A range that was not parsed yet. Raises ValueError."""
        ports = self.ranges[first, last] = ports_of(first, last)
        return ports


def _policy_or_problem(entry: object, known: _Known) -> Policy | str:
    try:
        return _policy(entry, known)
    except KeyError as error:
        return f"{error.args[0]!r} is missing"
    except TypeError:
        return "it is not of a policy's form"
    except ValueError as error:
        return str(error)


def _policy(entry: Any, known: _Known) -> Policy:  # noqa: ANN401 - JSON; what is wrong with it is an error
    """By hand, unlike every other record: 20,000 with their JSON take 0.1 s; cattrs takes 0.28 s without the JSON."""
    source, destination = entry["source"], entry["destination"]
    protocol = destination["protocol"]
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol {shown_value(protocol)} is neither tcp nor udp")
    first, last = destination["ports"]["start"], destination["ports"]["end"]
    exact = type(first) is int and type(last) is int  # True and 1.0 are keys equal to 1
    return Policy(
        source=guid_of(source["id"]),
        source_tag=_tag(source["tag"], known),
        destination=guid_of(destination["id"]),
        # No plan uses it, and the server leaves it out where there is none.
        destination_tag=_tag(destination["tag"], known) if destination.get("tag") else 0,
        protocol=sys.intern(protocol),
        ports=(known.ranges.get((first, last)) if exact else None) or known.ports(first, last),
    )


def _tag(value: object, known: _Known) -> int:
    tag = known.tags.get(value)
    if tag is None:
        tag = known.tags[value] = parse_tag(value)
    return tag


def _bad(entry: object, where: str, problem: str) -> BadRecord:
    ends = [entry.get(end) if isinstance(entry, dict) else None for end in ("source", "destination")]
    ids = [end.get("id") if isinstance(end, dict) else None for end in ends]
    guids = tuple(replace_surrogates(guid) if isinstance(guid, str) else "" for guid in ids)
    return BadRecord(
        subject=" to ".join(guid or "an unknown app" for guid in guids), where=where, problem=problem, guids=guids
    )


def parse_last_updated(text: str, *, where: str) -> int:
    """When something last changed, by the server's clock in ns: digits and nothing else. Raises SourceError."""
    if not _CLOCK.fullmatch(text.strip()):
        raise _failed(where, f"expected a number, found {text[:40]!r}")
    return int(text)


def parse_security_groups(text: str, *, where: str) -> tuple[tuple[SecurityGroup, ...], int]:
    """One page: its groups, and the row that the next page begins with (0 at the end).

    Raises SourceError when the whole is not of that form.
    """
    try:
        page = structure(_parsed(text, where), _Page)
    except DecodeError as error:
        raise _failed(where, str(error)) from error
    return tuple(map(_group, page.security_groups)), page.next


def _group(given: _Group) -> SecurityGroup:
    rules, problem = _rules(given.rules)
    return SecurityGroup(
        guid=given.guid,
        name=given.name or given.guid,
        rules=rules,
        staging_default=given.staging_default is True,
        running_default=given.running_default is True,
        staging_spaces=_spaces(given.staging_space_guids),
        running_spaces=_spaces(given.running_space_guids),
        problem=problem,
    )


def _spaces(value: object) -> frozenset[str]:
    return frozenset(space for space in value if isinstance(space, str)) if isinstance(value, list) else frozenset()


def _rules(value: object) -> tuple[tuple[SecurityRule, ...], str]:
    """``rules`` is JSON in a string; what is wrong with it belongs to its group."""
    try:
        given = parse_json(value) if isinstance(value, str) else value
        if not isinstance(given, list):
            return (), "its rules are no list"
        return tuple(structure(rule, SecurityRule) for rule in given), ""
    except DecodeError as error:
        return (), f"its rules cannot be read: {error}"


def _parsed(text: str, where: str) -> object:
    try:
        return parse_json(text)
    except DecodeError as error:
        raise _failed(where, f"{error}; it begins {text[:40]!r}") from error


def _failed(where: str, problem: str) -> SourceError:
    remedy = "is this the policy server's internal API, and all of its answer?"
    return SourceError(source="policy_server", reason=Reason.MALFORMED, where=where, problem=problem, remedy=remedy)
