"""What policy-server-internal answers, as values: one entry that makes no sense is kept apart and does not hide the others.

Source: cf-networking-release src/code.cloudfoundry.org/policy-server/api (``policy_mapper.go``, ``asg_mapper.go``), policy_client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import BadRecord, Policy, PolicySet, SecurityGroup, SecurityRule
from c2c_auditor.model.rule import PortRange

_PROTOCOLS = ("tcp", "udp")
_LAST_PORT = 65535
_LAST_MARK = 0xFFFFFFFF


def parse_policies(text: str, *, where: str) -> PolicySet:
    """``{"policies": [...]}`` as a PolicySet, sorted, each policy once. Raises SourceError when the whole is not of that form."""
    given = _object(text, where).get("policies")
    if not isinstance(given, list):
        raise _failed(where, f"expected a list of policies, found {type(given).__name__}")
    policies: dict[Policy, None] = {}
    unreadable: list[BadRecord] = []
    ranges: dict[tuple[int, int], PortRange] = {}
    for index, entry in enumerate(given):
        try:
            policies[_policy(entry, ranges)] = None
        except (KeyError, TypeError, ValueError) as error:
            unreadable.append(_bad(entry, f"{where}, policies[{index}]", error))
    return PolicySet(policies=tuple(sorted(policies, key=_order)), unreadable=tuple(unreadable))


def _order(policy: Policy) -> tuple[str, str, str, int, int]:
    return policy.source, policy.destination, policy.protocol, policy.ports.first, policy.ports.last


def _policy(entry: Any, ranges: dict[tuple[int, int], PortRange]) -> Policy:  # noqa: ANN401 - JSON; what is wrong with it is an error
    source, destination = entry["source"], entry["destination"]
    protocol = destination["protocol"]
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is neither tcp nor udp")
    first, last = destination["ports"]["start"], destination["ports"]["end"]
    ports = ranges.get((first, last))
    if ports is None:
        ports = ranges[first, last] = _ports(first, last)
    return Policy(
        source=_guid(source["id"]),
        source_tag=_tag(source["tag"]),
        destination=_guid(destination["id"]),
        destination_tag=_tag(destination["tag"]) if destination.get("tag") else 0,
        protocol=protocol,
        ports=ports,
    )


def _guid(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"id {value!r} is no guid")
    return value


def _tag(value: object) -> int:
    try:
        tag = int(value, 16) if isinstance(value, str) else 0
    except ValueError:
        tag = 0
    if not 0 < tag <= _LAST_MARK:
        raise ValueError(f"tag {value!r} is no hexadecimal mark above 0")
    return tag


def _ports(first: object, last: object) -> PortRange:
    for port in (first, last):
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _LAST_PORT:
            raise ValueError(f"port {port!r} is not between 1 and 65535")
    if first > last:  # type: ignore[operator]  # both are numbers: see above
        raise ValueError(f"ports {first} to {last} are the wrong way round")
    return PortRange(first=first, last=last)  # type: ignore[arg-type]  # as above


def _bad(entry: object, where: str, error: Exception) -> BadRecord:
    ends = [entry.get(end) if isinstance(entry, dict) else None for end in ("source", "destination")]
    guids = tuple(str(end["id"]) if isinstance(end, dict) and end.get("id") else "" for end in ends)
    problem = (
        f"{error.args[0]!r} is missing"
        if isinstance(error, KeyError)
        else "it is not of a policy's form"
        if isinstance(error, TypeError)
        else str(error)
    )
    return BadRecord(subject=" to ".join(guid or "nobody" for guid in guids), where=where, problem=problem, guids=guids)


def parse_security_groups(text: str, *, where: str) -> tuple[tuple[SecurityGroup, ...], int]:
    """One page: its groups, and the id that the next page begins with (0 at the end). Raises SourceError when the whole is not of that form."""
    given = _object(text, where)
    groups, following = given.get("security_groups"), given.get("next", 0)
    if not isinstance(groups, list) or isinstance(following, bool) or not isinstance(following, int):
        raise _failed(where, "expected a list of security groups and the number of the next page")
    return tuple(_group(entry, where, index) for index, entry in enumerate(groups)), following


def _group(entry: object, where: str, index: int) -> SecurityGroup:
    if not isinstance(entry, dict) or not isinstance(entry.get("guid"), str):
        raise _failed(f"{where}, security_groups[{index}]", "it has no guid")
    rules, problem = _rules(entry.get("rules"))
    return SecurityGroup(
        guid=entry["guid"],
        name=str(entry.get("name", entry["guid"])),
        rules=rules,
        staging_default=entry.get("staging_default") is True,
        running_default=entry.get("running_default") is True,
        staging_spaces=frozenset(map(str, entry.get("staging_space_guids") or ())),
        running_spaces=frozenset(map(str, entry.get("running_space_guids") or ())),
        problem=problem,
    )


def _rules(value: object) -> tuple[tuple[SecurityRule, ...], str]:
    """``rules`` is JSON in a string; what is wrong with it belongs to its group."""
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if not isinstance(given, list):
            return (), "its rules are no list"
        return tuple(_rule(rule) for rule in given), ""
    except (ValueError, TypeError, KeyError) as error:
        return (), f"its rules cannot be read: {error}"


def _rule(given: Mapping[str, Any]) -> SecurityRule:
    return SecurityRule(
        protocol=str(given["protocol"]),
        destination=str(given["destination"]),
        ports=str(given.get("ports") or ""),
        type=int(given.get("type") or 0),
        code=int(given.get("code") or 0),
        log=given.get("log") is True,
    )


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
