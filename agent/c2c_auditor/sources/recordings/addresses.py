"""Pseudonyms of addresses: two that share a network share one of the same size afterwards, so an audit finds the same.

Each bit after the first octet is flipped or not by the key and the bits before it, which keeps prefixes and nothing
else (Crypto-PAn does so), except on the way to a block that has a meaning of its own (RFC 6890): private blocks are
replaced inside, and what every machine has stays: this network, loopback, link-local, multicast. So a range between
such blocks, like those of a platform's public networks, stays too. Any other range that is no network keeps its ends'
pseudonyms, the lower one first, not its extent.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv4Address, IPv4Network, summarize_address_range

_FIRST_OCTET = 8
_KEPT = tuple(map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")))
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")))
_QUAD = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_ADDRESSES = re.compile(
    rf"(?<![\w.])(?:(?P<first>{_QUAD})-(?P<last>{_QUAD})|(?P<one>{_QUAD})(?:/(?P<length>[0-9]{{1,2}}))?)(?![\w.])"
    # silk's name for the cell's end of a container's veth pair holds its address (cni/config DeviceNameGenerator).
    r"|\bs-(?P<interface>[0-9]{12})\b"
)


class Addresses:
    """The pseudonyms of IPv4 addresses under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[IPv4Address, IPv4Address] = {}

    def in_text(self, text: str) -> str:
        """``text`` with the pseudonyms of its addresses, networks and ranges."""
        return _ADDRESSES.sub(self._replaced, text)

    def _replaced(self, found: re.Match[str]) -> str:
        try:
            if found["interface"]:
                digits = found["interface"]
                octets = ".".join(str(int(digits[start : start + 3])) for start in range(0, 12, 3))
                return "s-" + "".join(f"{octet:03}" for octet in self.of(IPv4Address(octets)).packed)
            if found["first"]:
                return self._range(*sorted((IPv4Address(found["first"]), IPv4Address(found["last"]))))
            if found["length"] is None:
                return str(self.of(IPv4Address(found["one"])))
            return str(self._network(IPv4Network((found["one"], int(found["length"])), strict=False)))
        except ValueError:  # four numbers that are no address
            return found[0]

    def of(self, address: IPv4Address) -> IPv4Address:
        """The pseudonym of one address."""
        if any(address in network for network in _KEPT):
            return address
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._made(int(address))
        return known

    def _network(self, network: IPv4Network) -> IPv4Network:
        return IPv4Network((self.of(network.network_address), network.prefixlen), strict=False)

    def _range(self, first: IPv4Address, last: IPv4Address) -> str:
        made = sorted(map(self._network, summarize_address_range(first, last)))
        ends = made[0].network_address, made[-1].broadcast_address
        if sum(network.num_addresses for network in made) != int(ends[1]) - int(ends[0]) + 1:
            ends = min(self.of(first), self.of(last)), max(self.of(first), self.of(last))
        return f"{ends[0]}-{ends[1]}"

    def _made(self, number: int) -> IPv4Address:
        made = number
        for bit in range(31 - _FIRST_OCTET, -1, -1):
            before = number >> (bit + 1)
            if not _leads_to_a_block(before, bit):
                digest = hashlib.blake2b(f"{bit} {before}".encode(), key=self._key, digest_size=1).digest()
                made ^= (digest[0] & 1) << bit
        return IPv4Address(made)


def _leads_to_a_block(before: int, bit: int) -> bool:
    """Whether the block of all addresses that begin with the bits ``before`` holds one of those with a meaning."""
    return any(
        block.prefixlen > 31 - bit and int(block.network_address) >> (bit + 1) == before for block in _KEPT + _PRIVATE
    )
