"""Finds the address family of a text of iptables by its addresses and by words that only one family's tool prints.

A text without any of them (empty chains, for example) counts as IPv4.
"""

from __future__ import annotations

import re

from c2c_auditor.model.family import AddressFamily

_QUOTED = r'"(?:[^"\\]|\\.)*(?:"|\Z)'
_IPV6_TOOL = r"^# [^\n]*?\bip6tables|reject-with icmp6-"
_IPV4_TOOL = r"^# [^\n]*?\biptables|reject-with icmp-"
_ADDRESS_OPTION = r"(?:-[sd]|--(?:src|dst)-range|--to-destination) "
# In a saved rule an address follows its option; what stands in quotes (a comment) is no address.
_SAVED = re.compile(
    rf"{_QUOTED}|(?P<ipv6>{_IPV6_TOOL}|-m icmp6 |{_ADDRESS_OPTION}\[?[\da-f]*:[\da-f]*:)"
    rf"|(?P<ipv4>{_IPV4_TOOL}|-m icmp |{_ADDRESS_OPTION}\d+\.)",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = r"/\*.{0,300}?\*/"
# In a listing an address is a word of its own; a comment holds none.
_LISTED = re.compile(
    rf"{_COMMENT}|(?P<ipv6>{_IPV6_TOOL}|(?:ipv6-icmp ?!?type |(?<=\s)!?[\da-f]{{0,4}}:[\da-f]{{0,4}}:\S*(?=\s)))"
    rf"|(?P<ipv4>{_IPV4_TOOL}|(?<=\s)!?\d+\.\d+\.\d+\.\d+(?=[\s/]))",
    re.MULTILINE | re.DOTALL,
)


def family_in_save(text: str) -> AddressFamily:
    """The family of what ``iptables-save``, ``ip6tables-save`` or ``-S`` printed."""
    return _first(_SAVED, text)


def family_in_listing(text: str) -> AddressFamily:
    """The family of what ``iptables -L`` or ``ip6tables -L`` printed."""
    return _first(_LISTED, text)


def _first(decisive: re.Pattern[str], text: str) -> AddressFamily:
    for found in decisive.finditer(text):
        if found.lastgroup is not None:
            return AddressFamily(found.lastgroup)
    return AddressFamily.IPV4
