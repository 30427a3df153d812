"""The ends of packets, where only some ends occur: rules that no such packet can meet do not count.

Block lists of thousands of networks stand on many machines, and name none that a container has.
"""

from __future__ import annotations

from collections.abc import Iterable

from c2c_auditor.model import rule as r


class KnownEnds:
    """All addresses that packets come from or go to, and all interfaces that they come in or leave by."""

    def __init__(self, addresses: Iterable[int], interfaces: Iterable[str], family: r.AddressFamily) -> None:
        self._addresses = frozenset(addresses)
        self._interfaces = frozenset(interfaces)
        self._family = family
        self._masked: dict[int, frozenset[int]] = {}
        self._beginnings: dict[int, frozenset[str]] = {}

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
