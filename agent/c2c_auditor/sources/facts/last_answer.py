"""What was understood of the last answer about policies: most of the next one says the same.

A policy that comes or goes has the server send all 4 MB of 20,000 policies again. What stands there as it stood before
is known by its digest, so an answer costs what is new in it, and a policy that is still there stays one object.
"""

from __future__ import annotations

import json
import re
import sys
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

from c2c_auditor.decoding import parse_tag, replace_surrogates, shown_value
from c2c_auditor.model.cell import Policy
from c2c_auditor.model.rule import PortRange

# A judgement of this many, each with two rules, takes 460 MB; the largest platform that is known has 20,000 in all.
MOST_POLICIES = 100_000
# An answer as Go's encoding/json writes it: no blanks, keys in the order of the struct's fields; without escapes.
_BEGIN = re.compile(r'\{"total_policies":(?:0|[1-9][0-9]{0,8}),"policies":\[')
_END = r'"id":"[^"\\]*","tag":"[^"\\]*"'
_FLOW = r'"protocol":"(?:tcp|udp)","ports":\{"start":[0-9]{1,9},"end":[0-9]{1,9}\}'
_ENTRY = re.compile(rf'\{{"source":\{{({_END})\}},"destination":\{{({_END}),({_FLOW})\}}\}}(,|\]\}}\n?\Z)')
_SOURCE = re.compile(r'\{"source":')
# More new policies than this are sorted with the others, not put in one by one.
_FEW = 64
_LAST_PORT = 65535


class LastAnswer:
    """The last answer's policies, sorted, and those of each stretch of its text by the stretch's digest.

    One policy in ``length`` ends its stretch. Which ones is told by their own text, so they do so wherever they stand,
    and what stands behind a policy that went is known again.
    """

    def __init__(self, length: int = 16) -> None:
        self._length = length
        self._policies: tuple[Policy, ...] = ()
        self._stretches: dict[bytes, tuple[Policy, ...]] = {}
        self._found: dict[bytes, tuple[Policy, ...]] = {}

    def renew(self, policies: tuple[Policy, ...]) -> None:
        """The next answer, all of whose texts were read, is the last one now."""
        self._policies = policies
        self._stretches, self._found = self._found, {}

    def plain(self, text: str) -> list[Policy] | None:
        """The policies of an answer that is written as Go does it, and all of which are good; None for any other.

        Entry by entry, so that no JSON of 20,000 policies fills the memory and leaves holes in it: that took 24 MiB.
        """
        begin = _BEGIN.match(text)
        if begin is None:
            return None
        end, flow = cache(_end_of), cache(_flow_of)  # 20,000 policies share a few hundred
        policies: list[Policy] = []
        ended = False
        for stretch in _stretches(text, begin.end(), self._length):
            digest = blake2b(stretch.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            found = self._found.get(digest) or self._stretches.get(digest)
            if found is None:
                found = _understood(stretch, end, flow)
            if found is None or ended:
                return None
            self._found[digest] = found
            policies += found
            if len(policies) > MOST_POLICIES:
                return None
            ended = not stretch.endswith(",")
        return policies if ended else None

    def in_order(self, policies: Iterable[Policy]) -> tuple[Policy, ...]:
        """``policies`` sorted, each once, as the last answer's objects where it had them.

        To compare 20,000 with those before is to compare identities then, and few need to be put in order.
        """
        given = {id(policy): policy for policy in policies}
        known = set(map(id, self._policies))
        new: dict[Policy, None] = {}
        for policy in [policy for number, policy in given.items() if number not in known]:
            again = self._like(policy)
            if again is None:
                new[policy] = None
            else:
                given[id(again)] = again
        found = [policy for policy in self._policies if id(policy) in given]
        if len(new) > _FEW:
            return tuple(sorted((*found, *new), key=_order))
        for policy in new:
            insort(found, policy, key=_order)
        return tuple(found)

    def _like(self, policy: Policy) -> Policy | None:
        """The last answer's policy that equals ``policy``."""
        at = bisect_left(self._policies, _order(policy), key=_order)
        return self._policies[at] if self._policies[at : at + 1] == (policy,) else None


def _order(policy: Policy) -> tuple[str | int, ...]:
    """All of it: equal policies are those of equal order."""
    return (
        policy.source,
        policy.destination,
        policy.protocol,
        policy.ports.first,
        policy.ports.last,
        policy.source_tag,
        policy.destination_tag,
    )


def _stretches(text: str, start: int, length: int) -> Iterator[str]:
    """``text`` from ``start`` on in parts, none of them empty but perhaps the last; one at least."""
    first = before = start
    for source in _SOURCE.finditer(text, start):
        at = source.start()
        if at > before and hash(text[before:at]) % length == 0:
            yield text[first:at]
            first = at
        before = at
    yield text[first:]


def _understood(
    stretch: str, end: Callable[[str], tuple[str, int]], flow: Callable[[str], tuple[str, PortRange]]
) -> tuple[Policy, ...] | None:
    """The policies of a stretch that is one entry or several and nothing else; None for any other."""
    policies: list[Policy] = []
    at = 0
    while at < len(stretch):
        entry = _ENTRY.match(stretch, at)
        if entry is None:
            return None
        try:
            (source, source_tag), (destination, destination_tag) = end(entry[1]), end(entry[2])
            protocol, ports = flow(entry[3])
        except ValueError:
            return None
        policy = Policy(
            source=source,
            source_tag=source_tag,
            destination=destination,
            destination_tag=destination_tag,
            protocol=protocol,
            ports=ports,
        )
        policies.append(policy)
        at = entry.end()
    return tuple(policies) or None


def _end_of(text: str) -> tuple[str, int]:
    """Guid and tag. Raises ValueError."""
    given = json.loads(f"{{{text}}}")
    return guid_of(given["id"]), parse_tag(given["tag"])


def _flow_of(text: str) -> tuple[str, PortRange]:
    """Protocol and ports. Raises ValueError."""
    given = json.loads(f"{{{text}}}")
    ports = given["ports"]
    return sys.intern(given["protocol"]), ports_of(ports["start"], ports["end"])


def guid_of(value: object) -> str:
    """A guid. Raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"id {shown_value(value)} is no guid")
    return sys.intern(replace_surrogates(value))  # a hundred apps, each in hundreds of policies


def ports_of(first: Any, last: Any) -> PortRange:  # noqa: ANN401 - JSON; what is wrong with it is an error
    """A range of ports. Raises ValueError."""
    for port in (first, last):
        if type(port) is not int or not 0 < port <= _LAST_PORT:
            raise ValueError(f"port {shown_value(port)} is not between 1 and 65535")
    if first > last:
        raise ValueError(f"ports {first} to {last} are the wrong way round")
    return PortRange(first=first, last=last)
