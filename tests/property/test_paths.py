"""Sets of flows against single packets: what `paths` says of all flows at once, `evaluate` says of each."""

from __future__ import annotations

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.evaluate import evaluate
from c2c_auditor.netfilter.flows import ALL, FlowSet, Piece, both, matching, of_protocol, pieces, union, without
from c2c_auditor.netfilter.packet import Certainty, Packet
from c2c_auditor.netfilter.paths import Disposition, Paths

HOSTS = (0x0AFF0102, 0x0AFF0103, 0x0AFF0204)
MARKS = (0, 1, 2, 0x10001)
INTERFACES = ("silk-vtep", "s-010255001002", "s-+")
CHAINS = ("one", "two", "three")
PORTS = st.sampled_from((0, 1, 79, 80, 81, 8080, 65534, 65535))


def addresses() -> st.SearchStrategy[r.AddressMatch | None]:
    """Hosts of the pool, a network that holds some of them, or none."""
    return (
        st.none()
        | st.builds(
            r.AddressMatch,
            value=st.sampled_from(HOSTS),
            negated=st.booleans(),
        )
        | st.just(r.AddressMatch(value=0x0AFF0100, mask=0xFFFFFF00))
    )


def port_ranges() -> st.SearchStrategy[r.PortRange | None]:
    """Ranges between few bounds, so that they meet."""
    ordered = st.tuples(PORTS, PORTS).map(sorted)
    return st.none() | st.tuples(ordered, st.booleans()).map(lambda drawn: canonical.ports(*drawn[0], negated=drawn[1]))


@st.composite
def transports(draw: st.DrawFn, protocol: int) -> list[r.Match]:
    """What is asked of ports, and of TCP's flags; a source port now and then."""
    source = draw(port_ranges()) if draw(st.integers(0, 4)) == 0 else None
    destination = draw(port_ranges())
    flags = (0x17, 0x02, draw(st.booleans())) if protocol == r.TCP and draw(st.integers(0, 4)) == 0 else None
    if not (source or destination or flags):
        return []
    return [r.TransportMatch(protocol=protocol, source=source, destination=destination, tcp_flags=flags)]


OTHERS: st.SearchStrategy[r.Match] = st.one_of(
    st.builds(r.MarkMatch, value=st.sampled_from(MARKS), mask=st.sampled_from((r.ALL_BITS, 1)), negated=st.booleans()),
    st.builds(
        canonical.states,
        st.sampled_from((frozenset({"NEW"}), frozenset({"ESTABLISHED", "RELATED"}))),
        negated=st.booleans(),
    ),
    st.builds(r.IpRangeMatch, source=st.just((HOSTS[0], HOSTS[1], False))),
    st.just(r.LimitMatch(period=100)),
    st.just(r.OpaqueMatch(module="set")),
)


@st.composite
def rules(draw: st.DrawFn, deeper: tuple[str, ...]) -> r.Rule:
    """A rule; it jumps to chains of ``deeper`` only, so that there is no loop."""
    number = draw(st.sampled_from((0, r.TCP, r.UDP, r.ICMP, 47)))
    matches: list[r.Match] = draw(st.lists(OTHERS, max_size=1))
    if number in (r.TCP, r.UDP):
        matches += draw(transports(number))
    if number == r.ICMP:
        matches.append(
            r.IcmpMatch(
                type=draw(st.sampled_from((8, 3, 255))),
                code=draw(st.sampled_from(((0, 255), (1, 2)))),
                negated=draw(st.booleans()),
            )
        )
    if number == 0 and draw(st.integers(0, 5)) == 0:
        pair = sorted(draw(st.tuples(PORTS, PORTS)))
        matches.append(
            r.MultiportMatch(
                side=draw(st.sampled_from(("dports", "ports", "sports"))),
                ranges=((pair[0], pair[1]),),
                negated=draw(st.booleans()),
            )
        )
    ends: list[r.Target] = [
        r.ACCEPT,
        r.DROP,
        r.REJECT,
        r.RETURN,
        r.NO_TARGET,
        r.Verdict(name="QUEUE"),
        r.OpaqueTarget(name="CONNMARK"),
    ]
    calls: list[r.Target] = [
        target for name in deeper for target in (r.Jump(chain=name), r.Jump(chain=name), r.Goto(chain=name))
    ]
    marking = st.builds(r.SetMark, value=st.sampled_from(MARKS), mask=st.sampled_from((r.ALL_BITS, 1)))
    return r.Rule(
        source=draw(addresses()),
        destination=draw(addresses()),
        in_interface=draw(
            st.none() | st.builds(r.InterfaceMatch, name=st.sampled_from(INTERFACES), negated=st.booleans())
        ),
        protocol=canonical.protocol(number, negated=number != 0 and not matches and draw(st.booleans())),
        matches=canonical.matches_in_order(matches),
        target=draw(st.sampled_from(ends + calls) | marking),
    )


def silks(target: st.SearchStrategy[r.Target]) -> st.SearchStrategy[r.Rule]:
    """The shapes of a policy chain: a mark for a source, an ACCEPT for a destination, ports and a mark."""
    host = st.sampled_from(HOSTS).map(lambda value: r.AddressMatch(value=value))
    first = st.sampled_from((79, 80, 8080))
    return st.one_of(
        st.builds(r.Rule, source=host, target=st.builds(r.SetMark, value=st.sampled_from(MARKS))),
        st.builds(
            r.Rule,
            destination=host,
            protocol=st.just(r.ProtocolMatch(number=r.TCP)),
            matches=st.tuples(
                first.map(lambda port: canonical.transport(r.TCP, port, port + 1)),
                st.sampled_from(MARKS).map(canonical.mark),
            ),
            target=target,
        ),
        st.builds(r.Rule, destination=host, target=target),
    )


@st.composite
def tables(draw: st.DrawFn) -> dict[str, r.Chain]:
    """FORWARD and three chains below it."""
    names = ("FORWARD", *CHAINS)
    return {
        name: r.Chain(
            name=name,
            policy=draw(st.sampled_from(("ACCEPT", "DROP"))) if name == "FORWARD" else None,
            rules=tuple(
                draw(
                    st.lists(
                        rules(names[depth + 1 :]) | silks(st.sampled_from((r.ACCEPT, r.REJECT))),
                        min_size=1 if depth == 0 else 0,
                        max_size=6,
                    )
                )
            ),
        )
        for depth, name in enumerate(names)
    }


def packets() -> st.SearchStrategy[Packet]:
    """Two ends of the pool."""
    return st.builds(
        Packet,
        source=st.sampled_from(HOSTS),
        destination=st.sampled_from(HOSTS),
        protocol=st.just(0),
        in_interface=st.sampled_from(("silk-vtep", "s-010255001002")),
        out_interface=st.just("s-010255002004"),
        mark=st.sampled_from(MARKS),
        state=st.sampled_from(("NEW", "ESTABLISHED")),
    )


def said(disposition: Disposition, flows: FlowSet) -> Certainty:
    """What ``disposition`` says of ``flows``, which it treats alike."""
    if both(disposition.passes, flows):
        return Certainty.YES
    return Certainty.MAY if both(disposition.may_pass, flows) else Certainty.NO


def alike(table: dict[str, r.Chain], packet: Packet) -> list[Piece]:
    """A flow of each range that every rule of the table treats alike, by the bounds that occur in the rules."""
    bounds = {0}
    for chain in table.values():
        for rule in chain.rules:
            for flows in matching(rule, packet):
                bounds |= {point for first, last in flows for point in (first, last + 1)}
    last = ALL[-1][1]
    points = [((point, point),) for point in sorted(bounds) if point <= last]
    return [piece for point in points if both(ALL, point) for piece in pieces(point)]


@settings(max_examples=400, deadline=None)
@given(table=tables(), packet=packets())
def test_every_flow_of_a_set_is_judged_as_its_packets_are(table: dict[str, r.Chain], packet: Packet) -> None:
    """In each range, what surely passes does so from every port, and what surely does not from none.

    Where the answer is doubt, neither verdict holds for all packets.
    """
    paths = Paths(table, "FORWARD")
    disposition = paths.disposition(packet)
    for piece in alike(table, packet):
        one = piece.packet(packet)
        assert evaluate(table, "FORWARD", one).passes is said(disposition, piece.flows), (piece, one)
        for port in (0, 79, 80, 65535) if one.destination_port is not None else ():
            known = evaluate(table, "FORWARD", evolve(one, source_port=port)).passes
            assert said(disposition, piece.flows) in (known, Certainty.MAY)


@settings(max_examples=200, deadline=None)
@given(table=tables(), packet=packets())
def test_marks_are_those_of_the_packets_that_pass(table: dict[str, r.Chain], packet: Packet) -> None:
    """The marks with which a set of flows can leave are those with which its packets can."""
    disposition = Paths(table, "FORWARD").disposition(packet)
    for piece in alike(table, packet):
        outcome = evaluate(table, "FORWARD", piece.packet(packet))
        assert outcome.marks == {mark for mark, flows in disposition.marks.items() if both(flows, piece.flows)}


@settings(max_examples=200, deadline=None)
@given(table=tables(), packet=packets())
def test_equal_outlines_give_equal_answers(table: dict[str, r.Chain], packet: Packet) -> None:
    """Chains under other names, and rules for other hosts added, change neither outline nor answer."""
    stranger = r.Rule(destination=r.AddressMatch(value=0x0AFF0909), target=r.DROP)
    renamed = {
        (name if name == "FORWARD" else f"new-{name}"): evolve(
            chain,
            name=name if name == "FORWARD" else f"new-{name}",
            rules=tuple(
                part
                for rule in chain.rules
                for part in (
                    stranger,
                    evolve(rule, target=type(rule.target)(chain=f"new-{rule.target.chain}"))
                    if isinstance(rule.target, r.Jump | r.Goto)
                    else rule,
                )
            ),
        )
        for name, chain in table.items()
    }
    before, after = Paths(table, "FORWARD"), Paths(renamed, "FORWARD")
    outline, met = before.outlined(packet.destination, None)
    assert outline == after.outline(packet.destination)
    assert before.disposition(packet).passes == after.disposition(packet).passes
    assert after.met_again((None, packet.destination), met) is not None


@st.composite
def edited(draw: st.DrawFn, table: dict[str, r.Chain], whole: dict[str, r.Chain]) -> dict[str, r.Chain]:
    """``table`` with a rule taken away, moved, added or changed, or with a chain fewer, or one of ``whole`` again."""
    name = draw(st.sampled_from(sorted(whole)))
    if name not in table:
        return {**table, name: whole[name]}
    what = draw(st.sampled_from(("less", "moved", "more", "changed", "gone")))
    if what == "gone" and name != "FORWARD":
        return {other: chain for other, chain in table.items() if other != name}
    held = list(table[name].rules)
    if what == "more" or not held:
        held.insert(draw(st.integers(0, len(held))), draw(rules(CHAINS if name == "FORWARD" else ())))
    else:
        at = draw(st.integers(0, len(held) - 1))
        rule = held.pop(at)
        if what == "moved":
            held.insert(draw(st.integers(0, len(held))), rule)
        if what == "changed":
            held.insert(at, evolve(rule, in_interface=r.InterfaceMatch(name="eth9")))
    return {**table, name: evolve(table[name], rules=tuple(held))}


@settings(max_examples=600, deadline=None)
@given(data=st.data(), packet=packets())
def test_an_outline_is_taken_over_only_where_it_would_be_read_again(data: st.DataObject, packet: Packet) -> None:
    """And what it was read from is then what it would be read from now."""
    whole = data.draw(tables())
    source = data.draw(st.sampled_from((None, packet.source)))
    table = data.draw(edited(whole, whole))
    outline, met = Paths(table, "FORWARD").outlined(packet.destination, source)
    for _ in range(2):
        table = data.draw(edited(table, whole))
        paths = Paths(table, "FORWARD")
        again = paths.met_again((source, packet.destination), met)
        if again is None:
            return
        anew, met_anew = paths.outlined(packet.destination, source)
        assert anew == outline
        assert met_anew.items() <= again.items()
        met = again


def test_a_jump_to_nowhere_is_not_taken_over_under_another_name() -> None:
    """An outline has such a jump as it is spelled; the one to a chain that is there is without a name."""
    jumps = [r.Rule(target=r.Jump(chain=name)) for name in ("gone", "gone-too")]
    tables = [{"FORWARD": r.Chain(name="FORWARD", policy="ACCEPT", rules=(jump,))} for jump in jumps]
    before, after = (Paths(table, "FORWARD") for table in tables)
    outline, met = before.outlined(HOSTS[0], None)
    assert before.met_again((None, HOSTS[0]), met) == met
    assert after.outline(HOSTS[0]) != outline
    assert after.met_again((None, HOSTS[0]), met) is None


_FEW_ENDS: tuple[r.Target, ...] = (
    *(r.ACCEPT, r.DROP, r.RETURN, r.RETURN, r.Verdict(name="QUEUE"), r.OpaqueTarget(name="CONNMARK")),
    *(r.SetMark(value=value, mask=mask) for value in (1, 2) for mask in (r.ALL_BITS, 1)),
)


@st.composite
def repeating(draw: st.DrawFn) -> dict[str, r.Chain]:
    """A table in which the same few rules come again, as they do while silk has two policy chains in force."""
    tcp = r.Rule(protocol=canonical.protocol(r.TCP))
    conditions = st.sampled_from(
        (
            *(r.Rule(), tcp, r.Rule(in_interface=r.InterfaceMatch(name="silk-vtep"))),
            *(r.Rule(matches=(canonical.mark(value),)) for value in (1, 2)),
            r.Rule(matches=(r.LimitMatch(period=100),)),
        )
    )
    few = [
        r.Rule(
            matches=(canonical.mark(draw(st.sampled_from((1, 2)))),), target=draw(st.sampled_from((r.ACCEPT, r.DROP)))
        ),
        evolve(draw(conditions), target=canonical.set_mark(draw(st.sampled_from((1, 2))))),
        evolve(tcp, target=r.RETURN),
        *(evolve(draw(conditions), target=target) for target in draw(st.lists(st.sampled_from(_FEW_ENDS), max_size=3))),
    ]
    names = ("FORWARD", *CHAINS)
    table = {}
    for depth, name in enumerate(names):
        calls = [
            evolve(asked, target=target(chain=deeper))
            for deeper in names[depth + 1 :]
            for asked in (r.Rule(), tcp)
            for target in (r.Jump, r.Jump, r.Goto)
        ]
        drawn = draw(st.lists(st.sampled_from([*few, *few, *calls]), max_size=6))
        table[name] = r.Chain(name=name, policy="ACCEPT" if depth == 0 else None, rules=tuple(drawn))
    return table


def _table_of(outline: tuple[object, ...]) -> dict[str, r.Chain]:
    """Chains that hold what an outline says."""
    policy, *parts = outline
    assert policy is None or isinstance(policy, str)
    found: dict[str, list[r.Rule]] = {"FORWARD": []}
    path = ["FORWARD"]
    for part in parts:
        if part is None:
            path.pop()
            continue
        assert isinstance(part, r.Rule)
        target = part.target
        if isinstance(target, r.Jump | r.Goto):
            name = f"chain-{len(found)}"
            found[path[-1]].append(evolve(part, target=type(target)(chain=name)))
            found[name] = []
            path.append(name)
        else:
            found[path[-1]].append(part)
    return {
        name: r.Chain(name=name, rules=tuple(rules), policy=policy if name == "FORWARD" else None)
        for name, rules in found.items()
    }


def _twice(*rules: r.Rule) -> dict[str, r.Chain]:
    """A chain that is jumped to twice."""
    jump = r.Rule(target=r.Jump(chain="one"))
    return {
        "FORWARD": r.Chain(name="FORWARD", policy="ACCEPT", rules=(jump, jump)),
        "one": r.Chain(name="one", rules=rules),
    }


_ENDS = Packet(source=HOSTS[0], destination=HOSTS[1], protocol=0, in_interface="silk-vtep", mark=0)
_DROPS_MARKED = r.Rule(matches=(canonical.mark(1),), target=r.DROP)


@settings(max_examples=1000, deadline=None)
@example(
    table=_twice(_DROPS_MARKED, r.Rule(matches=(r.LimitMatch(period=100),), target=canonical.set_mark(1))),
    packet=_ENDS,
)
@example(table=_twice(_DROPS_MARKED, r.Rule(target=r.SetMark(value=1, mask=1))), packet=_ENDS)
@given(table=repeating(), packet=packets())
def test_an_outline_says_all_that_decides(table: dict[str, r.Chain], packet: Packet) -> None:
    """Rules made from an outline decide every flow as the rules that it was made from, with the same marks."""
    whole = Paths(table, "FORWARD")
    outlined = Paths(_table_of(whole.outline(packet.destination, packet.source)), "FORWARD")
    before, after = whole.disposition(packet), outlined.disposition(packet)
    assert (before.passes, before.may_pass) == (after.passes, after.may_pass)
    assert before.marks == after.marks
    for flows in (before.passes, before.may_pass):
        assert {rule for rules in before.deciding(flows) for rule in rules} == {
            rule for rules in after.deciding(flows) for rule in rules
        }


INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=6).map(
    lambda drawn: union(*(((first, first + length),) for first, length in drawn)),
)


@given(left=INTERVALS, right=INTERVALS)
def test_flow_sets_are_sets(left: FlowSet, right: FlowSet) -> None:
    """Union, intersection and difference of intervals are those of their points, in one spelling."""

    def points(flows: FlowSet) -> set[int]:
        return {point for first, last in flows for point in range(first, last + 1)}

    assert points(union(left, right)) == points(left) | points(right)
    assert points(both(left, right)) == points(left) & points(right)
    assert points(without(left, right)) == points(left) - points(right)
    assert union(both(left, right), without(left, right)) == left


def test_the_axis_holds_every_protocol_once() -> None:
    """All flows are the flows of the 256 protocols, and cut into pieces each protocol comes once."""
    assert union(*map(of_protocol, range(256))) == ALL
    assert sorted(piece.protocol for piece in pieces(ALL)) == list(range(256))
