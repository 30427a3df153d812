"""The ends of packets, where only some ends occur: rules that no such packet can meet do not count.

Block lists of thousands of networks stand on many machines, and name none that a container has.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from c2c_auditor.model import rule as r


def _numbers(given: Iterable[int]) -> frozenset[int]:
    return frozenset(given)


def _names(given: Iterable[str]) -> frozenset[str]:
    return frozenset(given)


@frozen
class KnownEnds:
    """All addresses that packets come from or go to, and all interfaces that they come in or leave by."""

    _addresses: frozenset[int] = field(converter=_numbers)
    _interfaces: frozenset[str] = field(converter=_names)
    _family: r.AddressFamily
    _masked: dict[int, frozenset[int]] = field(factory=dict, init=False, eq=False)
    _beginnings: dict[int, frozenset[str]] = field(factory=dict, init=False, eq=False)

    def can_meet(self, rule: r.Rule) -> bool:
        """Whether a packet between known ends can meet the addresses and interfaces of ``rule``."""
        return (
            self._has_address(rule.source)
            and self._has_address(rule.destination)
            and self._has_interface(rule.in_interface)
            and self._has_interface(rule.out_interface)
        )

    def _has_address(self, match: r.AddressMatch | None) -> bool:
        if match is None:
            return True
        if match.family is not self._family:
            return False
        masked = self._masked.get(match.mask)
        if masked is None:
            masked = self._masked[match.mask] = frozenset(address & match.mask for address in self._addresses)
        return bool(masked - {match.value}) if match.negated else match.value in masked

    def _has_interface(self, match: r.InterfaceMatch | None) -> bool:
        if match is None:
            return True
        if not match.name.endswith("+"):
            return bool(self._interfaces - {match.name}) if match.negated else match.name in self._interfaces
        beginning = match.name[:-1]
        beginnings = self._beginnings.get(len(beginning))
        if beginnings is None:
            beginnings = self._beginnings[len(beginning)] = frozenset(
                name[: len(beginning)] for name in self._interfaces
            )
        return bool(beginnings - {beginning}) if match.negated else beginning in beginnings
