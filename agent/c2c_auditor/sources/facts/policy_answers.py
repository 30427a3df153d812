"""What policy-server-internal answers, as values: one entry that makes no sense is kept apart and does not hide the others.

Source: cf-networking-release src/code.cloudfoundry.org/policy-server/api (``policy_mapper.go``, ``asg_mapper.go``),
policy_client.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import BadRecord, Policy, PolicySet, SecurityGroup, SecurityRule
from c2c_auditor.model.rule import PortRange

_PROTOCOLS = ("tcp", "udp")
_LAST_PORT = 65535
_HEXADECIMAL = re.compile("[0-9A-Fa-f]{1,8}")
T = TypeVar("T", str, int, bool)


def parse_policies(text: str, *, where: str) -> PolicySet:
    """``{"policies": [...]}`` as a PolicySet, sorted, each policy once.

    Raises SourceError when the whole is not of that form.
    """
    given = _object(text, where).get("policies")
    if not isinstance(given, list):
        raise _failed(where, f"expected a list of policies, found {type(given).__name__}")
    known = _Known(tags={}, ranges={})
    policies: set[Policy] = set()
    unreadable: list[BadRecord] = []
    for index, entry in enumerate(given):
        policy = _policy_or_problem(entry, known)
        if isinstance(policy, Policy):
            policies.add(policy)
        else:
            unreadable.append(_bad(entry, f"{where}, policies[{index}]", policy))
    return PolicySet(policies=tuple(sorted(policies, key=_order)), unreadable=tuple(unreadable))


def merged(answers: Iterable[PolicySet]) -> PolicySet:
    """Several answers as one: sorted, each policy once, whichever of the questions it answers."""
    policies: set[Policy] = set()
    unreadable: dict[tuple[tuple[str, ...], str], BadRecord] = {}
    for answer in answers:
        policies.update(answer.policies)
        unreadable.update(((bad.guids, bad.problem), bad) for bad in answer.unreadable)
    return PolicySet(policies=tuple(sorted(policies, key=_order)), unreadable=tuple(unreadable.values()))


def _order(policy: Policy) -> tuple[str | int, ...]:
    return (
        policy.source,
        policy.destination,
        policy.protocol,
        policy.ports.first,
        policy.ports.last,
        policy.source_tag,
        policy.destination_tag,
    )


@frozen(kw_only=True)
class _Known:
    """Tags and port ranges of one answer that were understood already: 20,000 policies share a few hundred."""

    tags: dict[object, int]
    ranges: dict[tuple[object, object], PortRange]


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
    source, destination = entry["source"], entry["destination"]
    protocol = destination["protocol"]
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is neither tcp nor udp")
    first, last = destination["ports"]["start"], destination["ports"]["end"]
    return Policy(
        source=_guid(source["id"]),
        source_tag=_tag(source["tag"], known),
        destination=_guid(destination["id"]),
        # Nothing is planned from it, and the server leaves it out where there is none.
        destination_tag=_tag(destination["tag"], known) if destination.get("tag") else 0,
        protocol=protocol,
        ports=known.ranges.get((first, last)) or _ports(first, last, known),
    )


def _guid(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"id {value!r} is no guid")
    return value


def _tag(value: object, known: _Known) -> int:
    tag = known.tags.get(value)
    if tag is None:
        # int() alone would take 0x3, 1_0 and -3 too, of which silk makes rules that iptables refuses.
        tag = int(value, 16) if isinstance(value, str) and _HEXADECIMAL.fullmatch(value) else 0
        if not tag:
            raise ValueError(f"tag {value!r} is no hexadecimal mark above 0")
        known.tags[value] = tag
    return tag


def _ports(first: Any, last: Any, known: _Known) -> PortRange:  # noqa: ANN401 - JSON, as above
    for port in (first, last):
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _LAST_PORT:
            raise ValueError(f"port {port!r} is not between 1 and 65535")
    if first > last:
        raise ValueError(f"ports {first} to {last} are the wrong way round")
    found = known.ranges[first, last] = PortRange(first=first, last=last)
    return found


def _bad(entry: object, where: str, problem: str) -> BadRecord:
    ends = [entry.get(end) if isinstance(entry, dict) else None for end in ("source", "destination")]
    guids = tuple(str(end["id"]) if isinstance(end, dict) and end.get("id") else "" for end in ends)
    return BadRecord(subject=" to ".join(guid or "nobody" for guid in guids), where=where, problem=problem, guids=guids)


def parse_security_groups(text: str, *, where: str) -> tuple[tuple[SecurityGroup, ...], int]:
    """One page: its groups, and the row that the next page begins with (0 at the end).

    Raises SourceError when the whole is not of that form.
    """
    given = _object(text, where)
    groups, following = given.get("security_groups"), given.get("next", 0)
    if not isinstance(groups, list) or isinstance(following, bool) or not isinstance(following, int):
        raise _failed(where, "expected a list of security groups and the number of the next page")
    return tuple(_group(entry, f"{where}, security_groups[{index}]") for index, entry in enumerate(groups)), following


def _group(entry: object, where: str) -> SecurityGroup:
    if not isinstance(entry, dict) or not isinstance(entry.get("guid"), str):
        raise _failed(where, "it has no guid")
    rules, problem = _rules(entry.get("rules"))
    return SecurityGroup(
        guid=entry["guid"],
        name=str(entry.get("name") or entry["guid"]),
        rules=rules,
        staging_default=entry.get("staging_default") is True,
        running_default=entry.get("running_default") is True,
        staging_spaces=_spaces(entry.get("staging_space_guids")),
        running_spaces=_spaces(entry.get("running_space_guids")),
        problem=problem,
    )


def _spaces(value: object) -> frozenset[str]:
    return frozenset(space for space in value if isinstance(space, str)) if isinstance(value, list) else frozenset()


def _rules(value: object) -> tuple[tuple[SecurityRule, ...], str]:
    """``rules`` is JSON in a string; what is wrong with it belongs to its group."""
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if not isinstance(given, list):
            return (), "its rules are no list"
        return tuple(map(_rule, given)), ""
    except (ValueError, RecursionError) as error:
        return (), f"its rules cannot be read: {error}"


def _rule(given: object) -> SecurityRule:
    """As Go decodes it: what is absent or null is empty, what is of another type is an error."""
    if not isinstance(given, dict):
        raise ValueError(f"expected an object, found {given!r:.80}")  # noqa: TRY004 - one error for all that is wrong with rules
    return SecurityRule(
        protocol=_value(given, "protocol", ""),
        destination=_value(given, "destination", ""),
        ports=_value(given, "ports", ""),
        type=_value(given, "type", 0),
        code=_value(given, "code", 0),
        log=_value(given, "log", usual=False),
    )


def _value(given: Mapping[str, object], key: str, usual: T) -> T:
    value = given.get(key)
    if value is None:
        return usual
    if type(value) is not type(usual):
        raise ValueError(f"{key}: expected {type(usual).__name__}, found {value!r:.80}")
    return value


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _failed(where, f"not valid JSON: {error}; it begins {text[:40]!r}") from error
    if not isinstance(given, dict):
        raise _failed(where, f"expected an object, found {type(given).__name__}")
    return given


def _failed(where: str, problem: str) -> SourceError:
    remedy = "is this the policy server's internal API, and all of its answer?"
    return SourceError(source="policy_server", reason=Reason.MALFORMED, where=where, problem=problem, remedy=remedy)
