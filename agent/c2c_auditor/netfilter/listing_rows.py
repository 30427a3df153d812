"""The table of spellings that ``iptables -L`` writes behind the addresses, each with iptables-save's options for it.

The column is a rule's matches one after the other, each as its extension prints it, then the target's own text; nothing
separates them. Sources: iptables extensions/libxt_NAME.c, libipt_NAME.c and libip6t_NAME.c, the ``_print`` function of
each, and what 1.8.9 printed for the rules of tests/golden/every-option.txt and every-option-ipv6.txt.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import field, frozen

from c2c_auditor.netfilter import keywords
from c2c_auditor.netfilter.tokens import quote

Port = Callable[[str], str]
Found = dict[str, str]


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@frozen
class Row:
    """A spelling and the options for it.

    The options are a template over the pattern's groups, or a function of them and of a look-up of port names. Groups
    whose names begin with ``not`` hold an exclamation mark, spaced in many ways; one way is put in its place.
    """

    _pattern: re.Pattern[str] = field(converter=_compiled)
    _options: str | Callable[[Found, Port], str]

    def match(self, text: str, at: int, port: Port) -> tuple[int, str] | None:
        """The end of the spelling if it stands in ``text`` at ``at``, before a space or the end, and its options."""
        found = self._pattern.match(text, at)
        if found is None or text[found.end() : found.end() + 1] not in ("", " "):
            return None
        groups = {
            name: "! " if name.startswith("not") and value else value or "" for name, value in found.groupdict().items()
        }
        return found.end(), self._options.format_map(groups) if isinstance(self._options, str) else self._options(
            groups, port
        )


_PORTS = re.compile(r"([sd])pts?:(!?)([^\s:]+)(?::(\S+))?")


def _transport(found: Found, port: Port) -> str:
    parts = [f"-m {found['module']}"]
    for side, negated, first, last in _PORTS.findall(found["ports"]):
        parts.append(f"{'! ' if negated else ''}--{side}port {port(first)}{f':{port(last)}' if last else ''}")
    if found["flags"]:
        parts.append(f"{found['not_flags']}--tcp-flags {' '.join(map(_flags, found['flags'].split('/')))}")
    if found["option"]:
        parts.append(f"{found['not_option']}--tcp-option {found['option']}")
    return " ".join(parts)


def _flags(text: str) -> str:
    """Names as they are; the number that ``-n`` prints as names."""
    if not text.startswith("0x"):
        return text
    return ",".join(name for name, bit in keywords.TCP_FLAGS.items() if int(text, 16) & bit and name != "ALL") or "NONE"


def _multiport(found: Found, port: Port) -> str:
    ranges = (":".join(map(port, part.split(":"))) for part in found["ports"].split(","))
    return f"-m multiport {found['not']}--{found['side']} {','.join(ranges)}"


def _hashlimit(found: Found, _: Port) -> str:
    """The name of the table is lost, and stays empty. A match that only counts has no value here."""
    if found["rate_match"]:
        return ""
    parts = [
        "-m hashlimit",
        f"--hashlimit-{'above' if found['above'] else 'upto'} {found['rate']}",
        f"--hashlimit-burst {found['burst']}",
    ]
    parts += [f"--hashlimit-mode {found['mode'].replace('-', ',')}"] if found["mode"] else []
    parts += [f"--hashlimit-{more}" for more in re.findall(r"\S+ \d+", found["more"])]
    return " ".join([*parts, '--hashlimit-name ""'])


def _addrtype(found: Found, _: Port) -> str:
    sides = ((found["not_source"], "src", found["source"]), (found["not_destination"], "dst", found["destination"]))
    parts = [f"{negated}--{side}-type {types}" for negated, side, types in sides if types]
    return " ".join(["-m addrtype", *parts, *([f"--limit-iface-{found['limit']}"] if found["limit"] else [])])


_FLAGS = r"(?:0x[0-9A-Fa-f]{1,2}|[A-Z,]+)"
_RANGE = r"[\da-f.:]+-[\da-f.:]+"

MATCHES = (
    Row(
        r"(?P<module>tcp|udp|sctp|dccp|udplite)(?P<ports>(?: [sd]pts?:\S+)*)"
        rf"(?: flags:(?P<not_flags>!?)(?P<flags>{_FLAGS}/{_FLAGS}))?(?: option=(?P<not_option>!?)(?P<option>\d+))?",
        _transport,
    ),
    Row(r"mark match (?P<not>! ?)?(?P<mark>0x\S+)", "-m mark {not}--mark {mark}"),
    Row(r"(?P<not>! )?(?:ct)?state (?P<states>[A-Z]+(?:,[A-Z]+)*)", "-m conntrack {not}--ctstate {states}"),
    Row(r"limit: avg (?P<rate>\d+/\w+) burst (?P<burst>\d+)(?! mode)", "-m limit --limit {rate} --limit-burst {burst}"),
    Row(
        r"limit: (?:(?P<above>above)|up to) (?P<rate>\S+) burst (?P<burst>\S+)(?: mode (?P<mode>\S+))?"
        r"(?P<more>(?: (?:htable-(?:size|max|gcinterval|expire)|srcmask|dstmask) \d+)*)"
        r"(?P<rate_match> rate-match(?: rate-interval \d+)?)?",
        _hashlimit,
    ),
    Row(
        rf"source IP range (?P<not_source>! )?(?P<source>{_RANGE}) "
        rf"destination IP range (?P<not_destination>! )?(?P<destination>{_RANGE})",
        "-m iprange {not_source}--src-range {source} {not_destination}--dst-range {destination}",
    ),
    Row(rf"source IP range (?P<not>! )?(?P<range>{_RANGE})", "-m iprange {not}--src-range {range}"),
    Row(rf"destination IP range (?P<not>! )?(?P<range>{_RANGE})", "-m iprange {not}--dst-range {range}"),
    Row(r"icmp ?(?P<not>!)?type (?P<type>\d+) code (?P<code>\d+)", "-m icmp {not}--icmp-type {type}/{code}"),
    Row(r"icmp ?(?P<not>!)?type (?P<type>\d+)", "-m icmp {not}--icmp-type {type}"),
    Row(r"icmp (?P<not>!)?(?P<name>[a-z][a-zA-Z-]*)", "-m icmp {not}--icmp-type {name}"),
    Row(r"ipv6-icmp ?(?P<not>!)?type (?P<type>\d+) code (?P<code>\d+)", "-m icmp6 {not}--icmpv6-type {type}/{code}"),
    Row(r"ipv6-icmp ?(?P<not>!)?type (?P<type>\d+)", "-m icmp6 {not}--icmpv6-type {type}"),
    Row(r"ipv6-icmp (?P<not>!)?(?P<name>[a-z][a-zA-Z-]*)", "-m icmp6 {not}--icmpv6-type {name}"),
    Row(r"multiport (?P<side>[sd]?ports) +(?P<not>!)?(?P<ports>\S+)", _multiport),
    Row(
        r"ADDRTYPE match(?: src-type (?P<not_source>!)?(?P<source>[A-Z,]+))?"
        r"(?: dst-type (?P<not_destination>!)?(?P<destination>[A-Z,]+))?"
        r"(?: limit-(?P<limit>in|out))?",
        _addrtype,
    ),
)

_LOG_WORDS = {
    "tcp-sequence": "--log-tcp-sequence",
    "tcp-options": "--log-tcp-options",
    "ip-options": "--log-ip-options",
    "uid": "--log-uid",
    "macdecode": "--log-macdecode",
}
_LOG_PREFIX = r"""(?: prefix ["`](?P<prefix>.*)["'])?$"""


def _log(found: Found, _: Port) -> str:
    """``-n`` prints the flags as a number, else they are words; a flag without a word has no option."""
    bits = int(found.get("bits", "0"))
    words = [_LOG_WORDS[word] for word in found.get("words", "").split()] + [
        name for name, bit in keywords.LOG_FLAGS.items() if bits & bit
    ]
    if bits & ~sum(keywords.LOG_FLAGS.values()):
        return ""
    prefix = [f"--log-prefix {quote(found['prefix'])}"] if found["prefix"] else []
    return " ".join(["-j LOG", *prefix, f"--log-level {found['level']}", *words])


TARGETS = {
    "MARK": (
        Row(r"MARK x?set (?P<mark>\S+)$", "-j MARK --set-xmark {mark}"),
        Row(r"MARK (?P<how>and|or|xor) (?P<mark>\S+)$", "-j MARK --{how}-mark {mark}"),
    ),
    "LOG": (
        Row(r"LOG flags (?P<bits>[0-9]{1,3}) level (?P<level>\d)" + _LOG_PREFIX, _log),
        Row(rf"LOG level (?P<level>\w+)(?P<words>(?: (?:{'|'.join(_LOG_WORDS)}))*)" + _LOG_PREFIX, _log),
    ),
    "REJECT": (Row(r"reject-with (?P<answer>\S+)$", "-j REJECT --reject-with {answer}"),),
    "DNAT": (
        Row(r"to:(?P<to>\S+)$", "-j DNAT --to-destination {to}"),
        Row(r"to:(?P<to>\S+) random$", "-j DNAT --to-destination {to} --random"),
        Row(r"to:(?P<to>\S+) persistent$", "-j DNAT --to-destination {to} --persistent"),
        Row(r"to:(?P<to>\S+) random persistent$", "-j DNAT --to-destination {to} --random --persistent"),
    ),
    "MASQUERADE": (
        Row(r"masq ports: (?P<ports>\S+)$", "-j MASQUERADE --to-ports {ports}"),
        Row(r"masq ports: (?P<ports>\S+) (?P<how>random|random-fully)$", "-j MASQUERADE --to-ports {ports} --{how}"),
        Row(r"(?P<how>random|random-fully)$", "-j MASQUERADE --{how}"),
        Row(r"$", "-j MASQUERADE"),
    ),
}
"""By the name in the target column; their text is the last of the line."""
