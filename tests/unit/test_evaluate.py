"""One packet through the rules: each condition's yes, no and may; the order of jumps, gotos and returns.

Doubt, marks, and what is refused.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from attrs import evolve

from c2c_auditor.errors import EvaluationError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.evaluate import Outcome, evaluate
from c2c_auditor.netfilter.packet import Certainty, Packet, conditions, every, marked, negated
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save

YES, NO, MAY = Certainty.YES, Certainty.NO, Certainty.MAY
BACKEND = int(IPv4Address("10.255.2.7"))
PACKET = Packet(
    source=int(IPv4Address("10.255.1.4")),
    destination=BACKEND,
    protocol=r.TCP,
    in_interface="s-010255001004",
    out_interface="s-010255002007",
    source_port=40000,
    destination_port=8080,
    tcp_options=frozenset({2, 8}),
    mark=0x10001,
    source_type="UNICAST",
    destination_type="UNICAST",
)
PING = evolve(PACKET, protocol=r.ICMP, icmp=(8, 0), source_port=None, destination_port=None)
UNKNOWN = Packet(
    source=PACKET.source,
    destination=BACKEND,
    protocol=r.TCP,
    in_interface=None,
    out_interface=None,
    tcp_flags=None,
    mark=None,
    state=None,
)


def table(text: str) -> dict[str, r.Chain]:
    """Chains from lines as iptables-save prints them, a policy of DROP for FORWARD and INPUT."""
    lines = [line.strip() for line in text.strip().splitlines()]
    names = dict.fromkeys(line.split()[1] for line in lines) | dict.fromkeys(("FORWARD", "INPUT"))
    heads = [f":{name} {'DROP' if name in ('FORWARD', 'INPUT') else '-'} [0:0]" for name in names]
    return dict(parse_save("\n".join(["*filter", *heads, *lines, "COMMIT", ""]), where="test").chains("filter"))


def outcome(text: str, packet: Packet = PACKET) -> Outcome:
    """What becomes of ``packet`` in FORWARD."""
    return evaluate(table(text), "FORWARD", packet)


def holds(body: str, packet: Packet) -> Certainty:
    """Whether all conditions of a rule hold."""
    rule = RuleParser().rule(body)
    return every((conditions(rule, packet), marked(rule, packet.mark)))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("", YES),
        ("-s 10.255.1.4/32", YES),
        ("-s 10.255.0.0/16", YES),
        ("-s 10.255.1.5/32", NO),
        ("! -s 10.255.1.4/32", NO),
        ("-d 10.0.2.7/255.0.255.255", YES),
        ("-d 10.0.2.6/255.0.255.255", NO),
        ("! -d 10.255.0.0/16", NO),
        ("-i s-010255001004", YES),
        ("-i s-+", YES),
        ("-i s-01025500100", NO),
        ("! -i s-+", NO),
        ("! -i silk-vtep", YES),
        ("! -i +", NO),
        ("-o s-010255002007", YES),
        ("-o eth0", NO),
        ("-p tcp", YES),
        ("-p udp", NO),
        ("! -p tcp", NO),
        ("! -p udp", YES),
        ("-f", NO),
        ("! -f", YES),
        ("-p tcp -m tcp --dport 8080", YES),
        ("-p tcp -m tcp --dport 8080:8090 --sport 1024:65535", YES),
        ("-p tcp -m tcp --dport 8081:8090", NO),
        ("-p tcp -m tcp ! --dport 8080", NO),
        ("-p tcp -m tcp --sport 0:39999", NO),
        ("-p udp -m udp --dport 8080", NO),
        ("-p tcp -m tcp --syn", YES),
        ("-p tcp -m tcp ! --syn", NO),
        ("-p tcp -m tcp --tcp-flags SYN,ACK ACK", NO),
        ("-p tcp -m tcp --tcp-option 8", YES),
        ("-p tcp -m tcp --tcp-option 3", NO),
        ("-p tcp -m tcp ! --tcp-option 3", YES),
        ("-p tcp -m multiport --dports 22,8000:8080", YES),
        ("-p tcp -m multiport --dports 22,40000", NO),
        ("-p tcp -m multiport --sports 40000", YES),
        ("-p tcp -m multiport --sports 8080", NO),
        ("-p tcp -m multiport --ports 40000", YES),
        ("-p tcp -m multiport --ports 22,23", NO),
        ("-p tcp -m multiport ! --ports 8080", NO),
        ("-p tcp -m multiport ! --dports 40000", YES),
        ("-m iprange --src-range 10.255.1.4-10.255.1.9", YES),
        ("-m iprange --src-range 10.255.1.5-10.255.1.9", NO),
        ("-m iprange ! --src-range 10.255.1.5-10.255.1.9 --dst-range 10.255.2.7", YES),
        ("-m iprange ! --dst-range 10.255.0.0-10.255.2.7", NO),
        ("-m state --state NEW", YES),
        ("-m conntrack --ctstate ESTABLISHED,RELATED", NO),
        ("-m conntrack ! --ctstate INVALID,UNTRACKED", YES),
        ("-m conntrack --ctstate NEW,DNAT", MAY),
        ("-m addrtype --dst-type UNICAST", YES),
        ("-m addrtype --dst-type LOCAL,BROADCAST", NO),
        ("-m addrtype ! --src-type LOCAL --dst-type UNICAST", YES),
        ("-m addrtype --src-type LOCAL ! --dst-type LOCAL", NO),
        ("-m addrtype --dst-type UNICAST --limit-iface-in", MAY),
        ("-m mark --mark 0x10001", YES),
        ("-m mark --mark 0x1", NO),
        ("-m mark --mark 0x1/0xffff", YES),
        ("-m mark ! --mark 0x10000/0x10000", NO),
        ("-m mark --mark 0x3/0x1", NO),
        ("-m comment --comment src:a", YES),
        ("-m limit --limit 1/sec", MAY),
        ("-m hashlimit --hashlimit-upto 1/sec --hashlimit-name a", MAY),
        ("-m set --match-set a src", MAY),
        ("-m physdev --physdev-in eth0", MAY),
        ("-s 10.255.1.5/32 -m limit --limit 1/sec", NO),
        ("-m limit --limit 1/sec -m mark --mark 0x1", NO),
        ("-p icmp -m icmp --icmp-type 8", NO),
    ],
)
def test_a_known_packet_meets_a_condition_or_not(body: str, answer: Certainty) -> None:
    """May only where the match itself cannot be known."""
    assert holds(body, PACKET) is answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("-i s-+", MAY),
        ("! -i s-+", MAY),
        ("-i +", YES),
        ("! -i +", NO),
        ("-p tcp -m tcp --dport 8080", MAY),
        ("-p tcp -m tcp ! --sport 8080", MAY),
        ("-p tcp -m tcp --syn", MAY),
        ("-p tcp -m tcp --tcp-option 2", MAY),
        ("-p udp -m udp --dport 8080", NO),
        ("-p tcp -m multiport --ports 22", MAY),
        ("-p tcp -m multiport ! --dports 22", MAY),
        ("-p udp -m multiport --dports 22", NO),
        ("-m state --state NEW", MAY),
        ("-m addrtype --dst-type LOCAL", MAY),
        ("-m addrtype ! --src-type LOCAL", MAY),
        ("-m mark --mark 0x1", MAY),
        ("-m mark ! --mark 0x1", MAY),
        ("-s 10.255.1.5/32 -m mark --mark 0x1", NO),
    ],
)
def test_what_a_packet_does_not_tell_is_doubt(body: str, answer: Certainty) -> None:
    """Negated too; unless something known decides anyway."""
    assert holds(body, UNKNOWN) is answer


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("-p icmp -m icmp --icmp-type any", YES),
        ("-p icmp -m icmp --icmp-type 8", YES),
        ("-p icmp -m icmp --icmp-type 8/0", YES),
        ("-p icmp -m icmp --icmp-type 8/1", NO),
        ("-p icmp -m icmp --icmp-type 3", NO),
        ("-p icmp -m icmp ! --icmp-type 8/0", NO),
        ("-p icmp -m icmp ! --icmp-type 8/1", YES),
        ("-p icmp -m icmp ! --icmp-type any", NO),
        ("-p tcp -m multiport --dports 22", NO),
    ],
)
def test_icmp_has_types_and_codes_and_no_ports(body: str, answer: Certainty) -> None:
    """Any is any, and its opposite nothing."""
    assert holds(body, PING) is answer


def test_an_icmp_packet_of_no_known_type_may_be_of_any() -> None:
    """Any type takes it all the same."""
    unknown = evolve(PING, icmp=None)
    assert holds("-p icmp -m icmp --icmp-type any", unknown) is YES
    assert holds("-p icmp -m icmp --icmp-type 8", unknown) is MAY
    assert holds("-p icmp -m icmp ! --icmp-type 8", unknown) is MAY


@pytest.mark.parametrize(
    ("body", "protocol", "answer"),
    [
        ("-f", r.TCP, YES),
        ("! -f", r.TCP, NO),
        ("-p sctp -m sctp --dport 8080", r.SCTP, NO),
        ("-p tcp -m multiport --dports 8080", r.TCP, NO),
        ("-p icmp -m icmp ! --icmp-type 8", r.ICMP, NO),
        ("-p tcp -m tcp --dport 8080", r.TCP, MAY),
        ("-p udp -m udp --dport 8080", r.UDP, MAY),
    ],
)
def test_a_later_fragment_has_no_header(body: str, protocol: int, answer: Certainty) -> None:
    """But nf_tables takes any bytes for one of tcp and udp."""
    assert holds(body, evolve(PACKET, protocol=protocol, fragment=True)) is answer


def test_three_values_keep_doubt() -> None:
    """No outweighs may, may outweighs yes; the opposite of may is may."""
    assert [every(answers) for answers in ((), (YES, YES), (YES, MAY), (MAY, NO), (NO, MAY))] == [YES, YES, MAY, NO, NO]
    assert [negated(answer, when=True) for answer in (YES, NO, MAY)] == [NO, YES, MAY]
    assert [negated(answer, when=False) for answer in (YES, NO, MAY)] == [YES, NO, MAY]


@pytest.mark.parametrize(("policy", "answer"), [("ACCEPT", YES), ("DROP", NO), (None, YES)])
def test_a_packet_that_no_rule_decides_meets_the_policy(policy: str | None, answer: Certainty) -> None:
    """An unknown policy is the kernel's own default; the policy is the last step, position 0."""
    result = evaluate({"FORWARD": r.Chain(name="FORWARD", policy=policy, rules=(r.Rule(),))}, "FORWARD", PACKET)
    assert result.passes is answer
    assert [(step.position, step.rule, step.matched) for step in result.trace] == [(1, r.Rule(), YES), (0, None, YES)]
    assert (result.accepted or result.refused) == result.trace[-1:]


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("ACCEPT", YES),
        ("DROP", NO),
        ("REJECT --reject-with tcp-reset", NO),
        ("LOG --log-prefix a", YES),
        ("NFLOG --nflog-group 5", YES),
        ("MARK --set-xmark 0x1/0x1", YES),
        ("CONNMARK --restore-mark", YES),
        ("CONNMARK --save-mark", YES),
        ("TCPMSS --clamp-mss-to-pmtu", YES),
        ("CT --notrack", YES),
        ("RETURN", NO),
        ("QUEUE", MAY),
        ("NFQUEUE --queue-num 3", MAY),
        ("SYNPROXY --mss 1400", MAY),
        ("elsewhere", MAY),
    ],
)
def test_a_target_ends_the_walk_or_lets_it_go_on(target: str, answer: Certainty) -> None:
    """Behind it stands an ACCEPT, and a DROP is the policy: what goes on passes.

    What is not known, and a chain that is not there, may do anything.
    """
    assert outcome(f"-A FORWARD -j {target}\n-A FORWARD -j ACCEPT").passes is answer


def test_a_goto_to_a_chain_that_is_not_there_may_do_anything() -> None:
    """A listing may have lost the chain."""
    assert outcome("-A FORWARD -g elsewhere\n-A FORWARD -j ACCEPT").passes is MAY


def visited(text: str, packet: Packet = PACKET) -> list[str]:
    """The walk, in short: chain, position, and the depth of jumps as dots."""
    return [f"{'.' * step.depth}{step.chain}:{step.position}" for step in outcome(text, packet).trace]


def test_a_jump_comes_back_behind_itself() -> None:
    """With what the chain leaves undecided, or returns."""
    text = "-A FORWARD -j one\n-A FORWARD -j ACCEPT\n-A one -j two\n-A one -j RETURN\n-A one -j DROP\n-A two"
    assert visited(text) == ["FORWARD:1", ".one:1", "..two:1", ".one:2", "FORWARD:2"]


def test_a_goto_comes_back_to_the_caller() -> None:
    """Not behind itself: from a jumped-to chain behind the jump, from a built-in one to the policy."""
    text = "-A FORWARD -j one\n-A FORWARD -j ACCEPT\n-A one -g two\n-A one -j DROP\n-A two"
    assert visited(text) == ["FORWARD:1", ".one:1", "..two:1", "FORWARD:2"]
    assert visited("-A FORWARD -g two\n-A FORWARD -j ACCEPT\n-A two") == ["FORWARD:1", ".two:1", "FORWARD:0"]


def test_a_return_from_a_built_in_chain_is_the_policy() -> None:
    """As the end of it is."""
    assert visited("-A FORWARD -j RETURN\n-A FORWARD -j ACCEPT") == ["FORWARD:1", "FORWARD:0"]


def test_the_trace_says_of_each_rule_whether_it_took_the_packet() -> None:
    """In the order in which they are tried; the deciding steps are among them."""
    result = outcome(
        "-A FORWARD -p udp -j DROP\n-A FORWARD -m limit --limit 1/sec -j REJECT\n-A FORWARD -d 10.255.2.7 -j "
        "ACCEPT\n-A FORWARD -j DROP"
    )
    assert [(step.position, step.matched) for step in result.trace] == [(1, NO), (2, MAY), (3, YES)]
    assert (result.passes, result.refused, result.accepted) == (MAY, result.trace[1:2], result.trace[2:])


def test_doubt_that_comes_to_the_same_is_none() -> None:
    """Whether the limit took it or not, it passes; there are two deciding steps."""
    result = outcome("-A FORWARD -m limit --limit 1/sec -j ACCEPT\n-A FORWARD -j ACCEPT")
    assert result.passes is YES
    assert [step.position for step in result.accepted] == [1, 2]


def test_a_jump_that_may_be_taken_is_walked_both_ways() -> None:
    """What the chain lets go on and what did not enter it meet again behind it."""
    text = (
        "-A FORWARD -m limit --limit 1/sec -j one\n"
        "-A FORWARD -m mark --mark 0x5 -j ACCEPT\n"
        "-A one -j MARK --set-xmark 0x5"
    )
    result = outcome(text)
    assert (result.passes, result.marks) == (MAY, frozenset({5}))
    assert [step.matched for step in result.trace] == [MAY, YES, MAY, YES]


def test_marks_are_set_under_their_mask() -> None:
    """Mark = (mark AND NOT mask) XOR value."""
    result = outcome("-A FORWARD -j MARK --set-xmark 0x6/0x3\n-A FORWARD -m mark --mark 0x10006 -j ACCEPT")
    assert (result.passes, result.marks) == (YES, frozenset({0x10006}))


def test_an_unknown_mark_is_known_once_it_is_set_whole() -> None:
    """Under a mask it stays unknown."""
    whole = "-A FORWARD -j MARK --set-xmark 0x5\n-A FORWARD -m mark --mark 0x5 -j ACCEPT"
    assert outcome(whole, UNKNOWN).passes is YES
    part = outcome(whole.replace("0x5\n", "0x5/0xff\n"), UNKNOWN)
    assert (part.passes, part.marks) == (MAY, frozenset({None}))


def test_connmark_makes_the_mark_unknown() -> None:
    """It may be restored from anything; what is saved in the connection leaves the packet's mark alone."""
    assert outcome("-A FORWARD -j CONNMARK --restore-mark\n-A FORWARD -m mark --mark 0x10001 -j ACCEPT").passes is MAY
    assert outcome("-A FORWARD -j CONNMARK --save-mark\n-A FORWARD -m mark --mark 0x10001 -j ACCEPT").passes is YES


def test_more_marks_than_can_be_kept_are_any() -> None:
    """Seven limits that each may set one bit: 128 marks."""
    bits = "\n".join(
        f"-A FORWARD -m limit --limit 1/sec -j MARK --set-xmark {1 << bit:#x}/{1 << bit:#x}" for bit in range(8, 15)
    )
    result = outcome(f"{bits}\n-A FORWARD -m mark --mark 0x80000000/0x80000000 -j ACCEPT")
    assert (result.passes, result.marks) == (MAY, frozenset({None}))


def test_a_chain_that_is_not_there_cannot_be_walked() -> None:
    """The message names it."""
    with pytest.raises(EvaluationError, match="no chain FORWARD"):
        evaluate({}, "FORWARD", PACKET)


@pytest.mark.parametrize("call", ["-j", "-g"])
def test_a_loop_is_an_error_that_names_it(call: str) -> None:
    """By goto too: the kernel would refuse such rules."""
    with pytest.raises(EvaluationError, match="one → two → one"):
        outcome(f"-A FORWARD -j one\n-A one {call} two\n-A two {call} one")


def test_a_loop_that_a_packet_does_not_enter_is_none() -> None:
    """Only what it meets is walked."""
    assert outcome("-A FORWARD -p udp -j one\n-A FORWARD -j ACCEPT\n-A one -j one").passes is YES


def test_a_chain_that_is_called_twice_is_no_loop() -> None:
    """One after the other."""
    assert outcome("-A FORWARD -j one\n-A FORWARD -j one\n-A FORWARD -j ACCEPT\n-A one").passes is YES


@pytest.mark.parametrize("call", ["-j", "-g"])
def test_200_nested_chains_are_an_error(call: str) -> None:
    """And no RecursionError."""
    chains = "\n".join(f"-A n{n} {call} n{n + 1}" for n in range(200))
    with pytest.raises(EvaluationError, match="more than 64 jumps"):
        outcome(f"-A FORWARD -j n0\n{chains}\n-A n200 -j ACCEPT")


def test_64_nested_chains_are_walked() -> None:
    """The deepest is at the depth of 64."""
    chains = "\n".join(f"-A n{n} -j n{n + 1}" for n in range(1, 64))
    result = outcome(f"-A FORWARD -j n1\n{chains}\n-A n64 -j ACCEPT")
    assert (result.passes, result.trace[-1].depth) == (YES, 64)


def test_chains_that_double_the_work_at_each_level_are_an_error() -> None:
    """Not an endless walk."""
    chains = "\n".join(f"-A n{n} -j n{n + 1}\n-A n{n} -j n{n + 1}" for n in range(1, 25))
    with pytest.raises(EvaluationError, match="more than 250000 rules"):
        outcome(f"-A FORWARD -j n1\n{chains}\n-A n25")
