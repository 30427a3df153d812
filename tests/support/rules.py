"""Strategies for rules: every match and target that has a value of its own, as the kernel takes them."""

from __future__ import annotations

from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical

CHAIN = "target-chain"
_MARKS = st.integers(0, r.ALL_BITS)
_PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
# A C string ends at NUL and a line of iptables-restore at a newline; comments hold 255 bytes.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1, max_size=60)
_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=10)


def _ports(*, negated: bool) -> st.SearchStrategy[r.PortRange | None]:
    return _PORTS.map(lambda pair: canonical.ports(pair[0], pair[1], negated=negated))


_LENGTHS = {r.AddressFamily.IPV4: (32, 32, 24, 16, 8, 1), r.AddressFamily.IPV6: (128, 128, 64, 48, 3, 1)}
_ANY_ADDRESS = {
    r.AddressFamily.IPV4: st.integers(1, 0xDFFFFFFF),
    # Short ones print with the colons together; 0xFFFF in the last but two groups prints as an IPv4 address inside.
    r.AddressFamily.IPV6: st.integers(1, 0xFF << 120) | st.integers(1, 0xFFFF) | st.just(0xFFFF_0A00_0001),
}


@st.composite
def addresses(draw: st.DrawFn, family: r.AddressFamily = r.AddressFamily.IPV4) -> r.AddressMatch | None:
    """A host or a network, now and then negated."""
    mask = family.prefix_mask(draw(st.sampled_from(_LENGTHS[family])))
    value = draw(_ANY_ADDRESS[family]) & mask
    match = r.AddressMatch(value=value, family=family, mask=mask, negated=draw(st.booleans()))
    return draw(st.sampled_from((match, None)))


@st.composite
def transports(draw: st.DrawFn, protocol: int) -> r.TransportMatch | None:
    """Ports of tcp or udp."""
    source = draw(st.none() | st.booleans().flatmap(lambda negated: _ports(negated=negated)))
    destination = draw(st.none() | st.booleans().flatmap(lambda negated: _ports(negated=negated)))
    return (
        r.TransportMatch(protocol=protocol, source=source, destination=destination) if source or destination else None
    )


_STATES = st.sets(st.sampled_from(("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")), min_size=1).map(frozenset)


def _range(family: r.AddressFamily) -> st.SearchStrategy[tuple[int, int, bool]]:
    ends = st.tuples(_ANY_ADDRESS[family], _ANY_ADDRESS[family], st.booleans())
    return ends.map(lambda t: (min(t[:2]), max(t[:2]), t[2]))


def _matches(family: r.AddressFamily) -> tuple[st.SearchStrategy[r.Match], ...]:
    between = _range(family)
    return (
        st.builds(r.MarkMatch, value=_MARKS, mask=st.just(r.ALL_BITS), negated=st.booleans()),
        st.builds(canonical.comment, _TEXT),
        st.builds(canonical.states, _STATES, negated=st.booleans()),
        st.builds(r.LimitMatch, period=st.sampled_from((100, 10_000, 600_000)), burst=st.integers(1, 10000)),
        st.builds(r.IpRangeMatch, family=st.just(family), source=st.none() | between, destination=between),
        st.builds(
            r.AddressTypeMatch,
            destination=st.sampled_from((("LOCAL",), ("UNICAST",))),
            destination_negated=st.booleans(),
        ),
    )


MATCHES = {family: _matches(family) for family in r.AddressFamily}


def _targets(family: r.AddressFamily) -> st.SearchStrategy[r.Target]:
    ends: tuple[r.Target, ...] = (
        *(r.ACCEPT, r.DROP, r.RETURN, r.REJECTS[family]),
        *(r.NO_TARGET, r.Jump(chain=CHAIN), r.Goto(chain=CHAIN)),
    )
    prefix = st.text("abc _\"\\'", max_size=20)
    logs = st.builds(r.Log, prefix=prefix, level=st.integers(0, 7), flags=st.sampled_from((0, 1, 8)))
    return st.one_of(st.sampled_from(ends), logs)


TARGETS = {family: _targets(family) for family in r.AddressFamily}
MARK_TARGETS = st.builds(r.SetMark, value=_MARKS, mask=_MARKS)


@st.composite
def rules(
    draw: st.DrawFn,
    targets: st.SearchStrategy[r.Target] | None = None,
    family: r.AddressFamily = r.AddressFamily.IPV4,
) -> r.Rule:
    """A rule that the family's tool would take; with any of `TARGETS` if none are given."""
    number = draw(st.sampled_from((0, r.TCP, r.UDP, family.icmp, 47)))
    chosen = sorted(draw(st.sets(st.integers(0, len(MATCHES[family]) - 1), max_size=3)))
    matches: list[r.Match] = [draw(MATCHES[family][index]) for index in chosen]
    if number in (r.TCP, r.UDP) and (transport := draw(transports(number))) is not None:
        matches.append(transport)
    if number == family.icmp:
        code = draw(st.sampled_from(((0, 255), (3, 3))))
        matches.append(r.IcmpMatch(family=family, type=draw(st.integers(0, 40)), code=code))
    interface = draw(st.none() | st.builds(r.InterfaceMatch, name=_WORD, negated=st.booleans()))
    return r.Rule(
        source=draw(addresses(family)),
        destination=draw(addresses(family)),
        in_interface=interface,
        protocol=canonical.protocol(number),
        matches=canonical.matches_in_order(matches),
        target=draw(TARGETS[family] if targets is None else targets),
    )
