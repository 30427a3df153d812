"""Pseudonyms of addresses: two that share a network share one of the same size afterwards, so an audit finds the same.

Each bit after the first octet is flipped or not by the key and the bits before it, which keeps prefixes and nothing
else (Crypto-PAn does so), except on the way to a block that has a meaning of its own (RFC 6890): private blocks are
replaced inside, and what every machine has stays: this network, loopback, link-local, multicast. IPv6 alike. So a range
between such blocks, like those of a platform's public networks, stays too. Any other range that is no network keeps its
ends' pseudonyms, the lower one first, not its extent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)

from c2c_auditor.model.family import Address, AddressFamily

_Network = IPv4Network | IPv6Network
_FIRST_OCTET = 8
# By IP version.
_KEPT: Mapping[int, tuple[_Network, ...]] = {
    4: tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))),
    6: tuple(map(IPv6Network, ("::/8", "fe80::/10", "ff00::/8"))),
}
_PRIVATE: Mapping[int, tuple[_Network, ...]] = {
    4: tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))),
    6: (IPv6Network("fc00::/7"),),
}
_QUAD = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_HEX = r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*"
_ADDRESSES = re.compile(
    rf"(?<![\w.])(?:(?P<first>{_QUAD})-(?P<last>{_QUAD})|(?P<one>{_QUAD})(?:/(?P<length>[0-9]{{1,2}}))?)(?![\w.])"
    rf"|(?<![\w:./])(?:(?P<first_ipv6>{_HEX})-(?P<last_ipv6>{_HEX})|(?P<one_ipv6>{_HEX})(?:/(?P<length_ipv6>[0-9]{{1,3}}))?)"
    r"(?![\w:.])"
    # silk's name for the cell's end of a container's veth pair holds its address (cni/config DeviceNameGenerator).
    r"|\bs-(?P<interface>[0-9]{12})\b"
)


class Addresses:
    """The pseudonyms of addresses under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[Address, Address] = {}

    def in_text(self, text: str) -> str:
        """``text`` with the pseudonyms of its addresses, networks and ranges."""
        return _ADDRESSES.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        try:
            if found["interface"]:
                digits = found["interface"]
                octets = ".".join(str(int(digits[start : start + 3])) for start in range(0, 12, 3))
                return "s-" + "".join(f"{octet:03}" for octet in self.of(IPv4Address(octets)).packed)
            first, last = found["first"] or found["first_ipv6"], found["last"] or found["last_ipv6"]
            one, length = found["one"] or found["one_ipv6"], found["length"] or found["length_ipv6"]
            if first:
                return self._range(ip_address(first), ip_address(last))
            if length is None:
                return str(self.of(ip_address(one)))
            return str(self._network(ip_network(f"{one}/{length}", strict=False)))
        except ValueError:  # numbers that are no address
            return found[0]

    def of(self, address: Address) -> Address:
        """The pseudonym of one address."""
        if any(address in network for network in _KEPT[address.version]):
            return address
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._made(int(address), AddressFamily.of(address.version))
        return known

    def _network(self, network: _Network) -> _Network:
        return ip_network(f"{self.of(network.network_address)}/{network.prefixlen}", strict=False)

    def _range(self, *ends: Address) -> str:
        low, high = sorted(ends, key=int)
        made = sorted(map(self._network, summarize_address_range(low, high)), key=_first)
        first, last = made[0].network_address, made[-1].broadcast_address
        if sum(network.num_addresses for network in made) != int(last) - int(first) + 1:
            first, last = sorted((self.of(low), self.of(high)), key=int)
        return f"{first}-{last}"

    def _made(self, number: int, family: AddressFamily) -> Address:
        made = number
        kind = "" if family is AddressFamily.IPV4 else "ipv6 "
        for bit in range(family.width - 1 - _FIRST_OCTET, -1, -1):
            before = number >> (bit + 1)
            if not _leads_to_a_block(before, bit, family):
                digest = hashlib.blake2b(f"{kind}{bit} {before}".encode(), key=self._key, digest_size=1).digest()
                made ^= (digest[0] & 1) << bit
        return family.address(made)


def _first(network: _Network) -> int:
    return int(network.network_address)


def _leads_to_a_block(before: int, bit: int, family: AddressFamily) -> bool:
    """Whether the block of all addresses that begin with the bits ``before`` holds one of those with a meaning."""
    version = 4 if family is AddressFamily.IPV4 else 6
    return any(
        block.prefixlen > family.width - 1 - bit and _first(block) >> (bit + 1) == before
        for block in _KEPT[version] + _PRIVATE[version]
    )
