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


@st.composite
def addresses(draw: st.DrawFn) -> r.AddressMatch | None:
    """A host or a network, now and then negated."""
    length = draw(st.sampled_from((32, 32, 24, 16, 8, 1)))
    mask = (r.ALL_BITS << (32 - length)) & r.ALL_BITS
    match = r.AddressMatch(value=draw(st.integers(1, 0xDFFFFFFF)) & mask, mask=mask, negated=draw(st.booleans()))
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
_RANGE = st.tuples(st.integers(1, 0xDFFFFFFF), st.integers(1, 0xDFFFFFFF), st.booleans()).map(
    lambda t: (*sorted(t[:2]), t[2])
)
MATCHES: tuple[st.SearchStrategy[r.Match], ...] = (
    st.builds(r.MarkMatch, value=_MARKS, mask=st.just(r.ALL_BITS), negated=st.booleans()),
    st.builds(canonical.comment, _TEXT),
    st.builds(canonical.states, _STATES, negated=st.booleans()),
    st.builds(r.LimitMatch, period=st.sampled_from((100, 10_000, 600_000)), burst=st.integers(1, 10000)),
    st.builds(r.IpRangeMatch, source=st.none() | _RANGE, destination=_RANGE),
    st.builds(
        r.AddressTypeMatch, destination=st.sampled_from((("LOCAL",), ("UNICAST",))), destination_negated=st.booleans()
    ),
)
TARGETS: st.SearchStrategy[r.Target] = st.one_of(
    st.sampled_from((r.ACCEPT, r.DROP, r.RETURN, r.REJECT, r.NO_TARGET, r.Jump(chain=CHAIN), r.Goto(chain=CHAIN))),
    st.builds(
        r.Log, prefix=st.text("abc _\"\\'", max_size=20), level=st.integers(0, 7), flags=st.sampled_from((0, 1, 8))
    ),
)
MARK_TARGETS = st.builds(r.SetMark, value=_MARKS, mask=_MARKS)


@st.composite
def rules(draw: st.DrawFn, targets: st.SearchStrategy[r.Target] = TARGETS) -> r.Rule:
    """A rule that iptables would take."""
    number = draw(st.sampled_from((0, r.TCP, r.UDP, r.ICMP, 47)))
    chosen = sorted(draw(st.sets(st.integers(0, len(MATCHES) - 1), max_size=3)))
    matches: list[r.Match] = [draw(MATCHES[index]) for index in chosen]
    if number in (r.TCP, r.UDP) and (transport := draw(transports(number))) is not None:
        matches.append(transport)
    if number == r.ICMP:
        matches.append(r.IcmpMatch(type=draw(st.integers(0, 40)), code=draw(st.sampled_from(((0, 255), (3, 3))))))
    interface = draw(st.none() | st.builds(r.InterfaceMatch, name=_WORD, negated=st.booleans()))
    return r.Rule(
        source=draw(addresses()),
        destination=draw(addresses()),
        in_interface=interface,
        protocol=canonical.protocol(number),
        matches=canonical.matches_in_order(matches),
        target=draw(targets),
    )
