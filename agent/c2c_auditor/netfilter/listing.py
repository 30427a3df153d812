"""``iptables -L`` in all its forms as a `Ruleset`: plain, ``-n``, ``-v``, ``--line-numbers``, and lines pasted without their chain.

A listing loses things: interfaces without ``-v``, the names of hash limits, other tables. What it lost is said (`Ruleset.lost`), never guessed. The
texts of matches and targets are rows of `listing_rows`; what none of them knows is kept as an opaque value.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, field

from c2c_auditor.errors import ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical, names
from c2c_auditor.netfilter.listing_rows import extension
from c2c_auditor.netfilter.parse import address

_REMEDY = "give the output of iptables -L as it was printed, best with -n -v"
_CHAIN = re.compile(r"Chain (?P<name>\S+) \((?:policy (?P<policy>[A-Z]+)(?: .*)?|\d+ references?)\)")
_HEADER = re.compile(r"(?:num\s+)?(?:pkts\s+bytes\s+)?target\s+prot\s+opt\s+(?P<interfaces>in\s+out\s+)?source\s+destination\s*")
_COUNT = r"\d+[KMGT]?"
_BEGIN = (
    rf"(?P<number>\d+\s+)?(?P<counts>(?P<packets>{_COUNT})\s+{_COUNT}\s+)?(?P<target>\S+)?\s+(?P<protocol>!?[\w-]+)\s+(?P<opt>--|-f|!f)\s+"
)
_END = r"(?P<source>!?(?:anywhere|default|[\d./]+))\s+(?P<destination>!?(?:anywhere|default|[\d./]+))(?P<rest>\s.*)?"
_PLAIN = re.compile(_BEGIN + _END)
_VERBOSE = re.compile(rf"{_BEGIN}(?P<in>!?\S+)\s+(?P<out>!?\S+)\s+{_END}")
_ANYWHERE = ("anywhere", "0.0.0.0/0", "default")
_UNITS = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}


@define
class _Chain:
    policy: str | None = None
    rules: list[r.Rule] = field(factory=list)
    packets: list[int] = field(factory=list)


def parse_listing(text: str, *, where: str, service_port: Callable[[str], int | None]) -> r.Ruleset:
    """``text`` as the filter table; rules before any ``Chain`` line are one anonymous chain named ``""``. Raises ParseError."""
    chains: dict[str, _Chain] = {}
    verbose = True
    current = ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        chain, header = _CHAIN.fullmatch(line.rstrip()), _HEADER.fullmatch(line)
        if chain is not None:
            current = chain["name"]
            chains[current] = _Chain(policy=chain["policy"])
        elif header is not None:
            verbose = header["interfaces"] is not None
        else:
            into = chains.setdefault(current, _Chain())
            rule, packets, interfaces = _rule(line, number, where, service_port)
            verbose = interfaces if current == "" else verbose
            into.rules.append(rule)
            if packets is not None:
                into.packets.append(packets)
    if not chains:
        raise ParseError(where=where, line=1, text=text[:200], problem="no chain and no rule in it", remedy=_REMEDY)
    return _ruleset(chains, where, verbose=verbose)


def _ruleset(chains: dict[str, _Chain], where: str, *, verbose: bool) -> r.Ruleset:
    known = frozenset(chains)
    made = {
        name: r.Chain(
            name=name,
            policy=chain.policy,
            rules=tuple(chain.rules),
            packets=tuple(chain.packets) if chain.packets and len(chain.packets) == len(chain.rules) else None,
        )
        for name, chain in chains.items()
    }
    lost = {r.Loss.OTHER_TABLES, r.Loss.HASHLIMIT_NAMES}
    lost |= set() if verbose else {r.Loss.INTERFACES}
    lost |= {r.Loss.CHAIN_NAMES} if "" in known else set()
    return r.Ruleset(tables={"filter": r.Table(name="filter", chains=made)}, origin=where, lost=frozenset(lost))


def _rule(line: str, number: int, where: str, service_port: Callable[[str], int | None]) -> tuple[r.Rule, int | None, bool]:
    """One line: the rule, its packets if they are shown, and whether interfaces are."""
    plain = _PLAIN.fullmatch(line.rstrip())
    found = plain or _VERBOSE.fullmatch(line.rstrip())
    if found is None:
        raise ParseError(where=where, line=number, text=line, problem="not a line that iptables -L prints", remedy=_REMEDY)
    try:
        protocol = _protocol(found["protocol"])
        target = found["target"] or ""
        matches, extended = extension(
            (found["rest"] or "").strip(), target=target, protocol=protocol.number if protocol else 0, service=service_port
        )
        rule = r.Rule(
            source=_address(found["source"]),
            destination=_address(found["destination"]),
            in_interface=_interface(None if plain else found["in"]),
            out_interface=_interface(None if plain else found["out"]),
            protocol=protocol,
            fragment={"-f": True, "!f": False}.get(found["opt"]),
            matches=canonical.matches_in_order(matches),
            target=extended,
        )
    except (KeyError, ValueError) as error:
        raise ParseError(where=where, line=number, text=line, problem=f"it cannot be understood ({error})", remedy=_REMEDY) from error
    return rule, _count(found["packets"]), plain is None


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else int(text)


def _protocol(text: str) -> r.ProtocolMatch | None:
    negated = text.startswith("!")
    name = text.removeprefix("!")
    number = names.PROTOCOLS.get(name)
    return canonical.protocol(int(name) if number is None else number, negated=negated)


def _interface(text: str | None) -> r.InterfaceMatch | None:
    if text is None or text in ("*", "any"):
        return None
    return r.InterfaceMatch(name=text.removeprefix("!"), negated=text.startswith("!"))


def _address(text: str) -> r.AddressMatch | None:
    negated = text.startswith("!")
    plain = text.removeprefix("!")
    if plain in _ANYWHERE and not negated:
        return None
    return address(plain, negated=negated)
