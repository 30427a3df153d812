"""Listings of iptables -L are the rules that iptables-save would have printed, as far as a listing shows them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_auditor.errors import ParseError
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.canonical import as_listed
from c2c_auditor.netfilter.listing import parse_listing
from c2c_auditor.netfilter.parse import RuleParser
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.services import service_port
from support.recordings import CELL_NAMES, CELLS

SERVICES = {"http": 80, "http-alt": 8080, "https": 443, "domain": 53}


def listing(text: str) -> r.Ruleset:
    """``text`` as a Ruleset, with the services that these tests know."""
    return parse_listing(text, where="listing", service_port=SERVICES.get)


def rule(line: str) -> r.Rule:
    """The one rule of a pasted line."""
    (found,) = listing(line).chains("filter")[""].rules
    return found


def column(text: str, target: str = "ACCEPT") -> r.Rule:
    """A rule with ``text`` behind its addresses."""
    return rule(f"{target}     all  --  anywhere             anywhere             {text}")


def saved(body: str) -> r.Rule:
    """The rule that iptables-save would print as ``body``."""
    return RuleParser().rule(body)


@pytest.mark.parametrize("name", CELL_NAMES)
@pytest.mark.parametrize("form", ["iptables-L.txt", "iptables-L-n-v.txt"])
def test_a_recorded_cell_is_listed_as_it_is_saved(name: str, form: str) -> None:
    """Both listings of each recorded cell mean what its iptables-save says, but for what they say is lost.

    -v brings counters.
    """
    wanted = parse_save((CELLS / name / "iptables-save.txt").read_text(), where="save").chains("filter")
    found = parse_listing((CELLS / name / form).read_text(), where="list", service_port=service_port)
    assert set(found.chains("filter")) == set(wanted)
    for chain in wanted.values():
        listed = found.chains("filter")[chain.name]
        assert (listed.policy, listed.rules) == (
            chain.policy,
            tuple(as_listed(each, found.lost) for each in chain.rules),
        )
        assert bool(listed.packets) == ("-v" in form and bool(chain.rules))
    assert found.lost == {r.Loss.OTHER_TABLES, r.Loss.HASHLIMIT_NAMES} | (
        {r.Loss.INTERFACES} if "-v" not in form else set()
    )


def test_the_article_is_understood() -> None:
    """The lines that the article shows: two ACCEPTs by mark 0x1 and 0x4, one MARK, of a chain without a name."""
    found = listing((CELLS / "article" / "iptables-L.destination-cell.txt").read_text())
    assert [
        match.value
        for each in found.chains("filter")[""].rules
        for match in each.matches
        if isinstance(match, r.MarkMatch)
    ] == [1, 4]
    assert found.lost == set(r.Loss) - {
        r.Loss.NATIVE_EXPRESSIONS,
        r.Loss.NATIVE_TABLES,
        r.Loss.OTHER_CHAINS,
        r.Loss.OTHER_BACKEND,
    }
    source = listing((CELLS / "article" / "iptables-L.source-cell.txt").read_text())
    assert [each.target for each in source.chains("filter")[""].rules] == [r.SetMark(value=1)]


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (
            "target     prot opt source               destination         ",
            "ACCEPT     tcp  --  10.255.1.4           anywhere             tcp dpt:http-alt",
        ),
        (
            "target     prot opt source               destination         ",
            "ACCEPT     6    --  10.255.1.4           0.0.0.0/0            tcp dpt:8080",
        ),
        (
            "target     prot opt source               destination         ",
            "ACCEPT     tcp  --  10.255.1.4/32        0.0.0.0/0            tcp dpt:8080",
        ),
        (
            "num  target     prot opt source               destination         ",
            "12   ACCEPT     tcp  --  10.255.1.4           anywhere             tcp dpt:8080",
        ),
        (
            " pkts bytes target     prot opt in     out     source               destination         ",
            " 125K  38M ACCEPT     tcp  --  any    any     10.255.1.4           anywhere             tcp dpt:8080",
        ),
        (
            "num      pkts      bytes target     prot opt in     out     source               destination         ",
            (
                "1      125000 38000000 ACCEPT     6    --  *      *       10.255.1.4           0.0.0.0/0            "
                "tcp dpt:8080"
            ),
        ),
    ],
)
def test_all_forms_are_one_rule(header: str, line: str) -> None:
    """Numbers or names, counters or none, with a header or pasted without: the same rule."""
    wanted = saved("-s 10.255.1.4/32 -p tcp -m tcp --dport 8080 -j ACCEPT")
    chain = listing(f"Chain FORWARD (policy DROP 125K packets, 38M bytes)\n{header}\n{line}\n\n").chains("filter")[
        "FORWARD"
    ]
    assert (chain.policy, chain.rules) == ("DROP", (wanted,))
    assert chain.packets == ((125_000,) if "pkts" in header else None)
    assert rule(line) == wanted
    assert rule(line.strip()) == wanted


def test_interfaces() -> None:
    """-v shows them: any and * are none, an exclamation mark inverts."""
    head = "Chain sub (1 references)\n pkts bytes target     prot opt in     out     source               destination\n"
    line = "    0     0 ACCEPT     all  --  eth0   !silk-vtep  anywhere            !10.0.0.0/255.0.255.0"
    assert listing(head + line).chains("filter")["sub"].rules == (
        saved("-i eth0 ! -o silk-vtep ! -d 10.0.0.0/255.0.255.0 -j ACCEPT"),
    )
    assert r.Loss.INTERFACES not in listing(head).lost
    assert rule(line) == saved("-i eth0 ! -o silk-vtep ! -d 10.0.0.0/255.0.255.0 -j ACCEPT")


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("ACCEPT    !17   --  0.0.0.0/0            0.0.0.0/0", "! -p udp -j ACCEPT"),
        ("ACCEPT    !udp  --  anywhere             anywhere", "! -p udp -j ACCEPT"),
        ("ACCEPT     253  --  anywhere             link-local/16", "-d 169.254.0.0/16 -p 253 -j ACCEPT"),
        ("ACCEPT     all  --  localhost            loopback/8", "-s 127.0.0.1 -d 127.0.0.0/8 -j ACCEPT"),
        ("ACCEPT     all  -f  anywhere             anywhere", "-f -j ACCEPT"),
        ("ACCEPT     all  !f  anywhere             anywhere", "! -f -j ACCEPT"),
        ("           all  --  anywhere             anywhere", ""),
        ("123        all  --  anywhere             anywhere", "-j 123"),
        ("sub        0    --  0.0.0.0/0            0.0.0.0/0           [goto] ", "-g sub"),
        (
            "sub        tcp  --  anywhere             anywhere            [goto]  tcp dpt:domain",
            "-p tcp -m tcp --dport 53 -g sub",
        ),
        ("   0     0            tcp  --  any    any     anywhere             anywhere", "-p tcp"),
        ("3        0     0 QUEUE      all  --  any    any     anywhere             anywhere", "-j QUEUE"),
    ],
)
def test_conditions(line: str, body: str) -> None:
    """What stands before the last column, pasted without a header."""
    assert rule(line) == saved(body)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("tcp dpt:http-alt", "-m tcp --dport 8080"),
        (
            "tcp spts:1024:65535 dpts:!8000:9000 flags:0x17/0x02",
            "-m tcp --sport 1024:65535 ! --dport 8000:9000 --tcp-flags FIN,SYN,RST,ACK SYN",
        ),
        (
            "tcp flags:!FIN,SYN,RST,PSH,ACK,URG/NONE option=!7",
            "-m tcp ! --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE ! --tcp-option 7",
        ),
        ("tcp spts:http:https", "-m tcp --sport 80:443"),
        ("udp spt:!domain", "-m udp ! --sport 53"),
        ("sctp dpts:80:90", "-m sctp --dport 80:90"),
        ("tcp", ""),
        ("mark match 0x1", "-m mark --mark 0x1"),
        ("mark match ! 0x0/0xff", "-m mark ! --mark 0x0/0xff"),
        ("mark match !0x0", "-m mark ! --mark 0x0"),
        ("state RELATED,ESTABLISHED", "-m state --state RELATED,ESTABLISHED"),
        ("! state NEW", "-m state ! --state NEW"),
        ("! ctstate INVALID,NEW,SNAT", "-m conntrack ! --ctstate INVALID,NEW,SNAT"),
        ("limit: avg 100/sec burst 5", "-m limit --limit 100/sec"),
        (
            "limit: above 10/sec burst 7 mode srcip-dstip",
            '-m hashlimit --hashlimit-above 10/s --hashlimit-burst 7 --hashlimit-mode dstip,srcip --hashlimit-name ""',
        ),
        (
            (
                "limit: up to 100/min burst 5 mode srcip htable-size 64 htable-max 10 htable-gcinterval 500 "
                "htable-expire 30000 srcmask 24 dstmask 16"
            ),
            (
                "-m hashlimit --hashlimit-upto 100/min --hashlimit-mode srcip --hashlimit-htable-size 64 "
                "--hashlimit-htable-max 10 --hashlimit-htable-gcinterval 500 --hashlimit-htable-expire 30000 "
                '--hashlimit-srcmask 24 --hashlimit-dstmask 16 --hashlimit-name ""'
            ),
        ),
        ("source IP range 10.0.0.1-10.0.0.9", "-m iprange --src-range 10.0.0.1-10.0.0.9"),
        ("destination IP range ! 10.0.0.1-10.0.0.9", "-m iprange ! --dst-range 10.0.0.1-10.0.0.9"),
        (
            "source IP range ! 10.0.0.1-10.0.0.9 destination IP range 10.1.0.1-10.1.0.9",
            "-m iprange ! --src-range 10.0.0.1-10.0.0.9 --dst-range 10.1.0.1-10.1.0.9",
        ),
        ("icmptype 8 code 0", "-m icmp --icmp-type 8/0"),
        ("icmptype 3", "-m icmp --icmp-type 3"),
        ("icmptype 255", "-m icmp --icmp-type any"),
        ("icmp !type 11 code 1", "-m icmp ! --icmp-type 11/1"),
        ("icmp echo-request", "-m icmp --icmp-type 8"),
        ("icmp !fragmentation-needed", "-m icmp ! --icmp-type 3/4"),
        ("multiport dports http,https,8000:9000", "-m multiport --dports 80,443,8000:9000"),
        ("multiport sports  !http", "-m multiport ! --sports 80"),
        ("ADDRTYPE match dst-type LOCAL", "-m addrtype --dst-type LOCAL"),
        (
            "ADDRTYPE match src-type !UNICAST,LOCAL dst-type BROADCAST limit-in",
            "-m addrtype ! --src-type UNICAST,LOCAL --dst-type BROADCAST --limit-iface-in",
        ),
        ("/* src:1_dst:2 */", "-m comment --comment src:1_dst:2"),
        ("/*  */", '-m comment --comment ""'),
        ('/* a  "b" \\ c */', '-m comment --comment "a  \\"b\\" \\\\ c"'),
        (
            "tcp dpt:80 mark match 0x1 /* c */ limit: avg 1/sec burst 1",
            "-m tcp --dport 80 -m mark --mark 0x1 -m comment --comment c -m limit --limit 1/s --limit-burst 1",
        ),
    ],
)
def test_matches(text: str, body: str) -> None:
    """Each spelling of each match, with service names and with numbers."""
    assert column(text) == saved(f"{body} -j ACCEPT")


@pytest.mark.parametrize(
    ("target", "text", "body"),
    [
        ("MARK", "MARK set 0x1", "-j MARK --set-xmark 0x1/0xffffffff"),
        ("MARK", "/* src:1 */ MARK xset 0x1/0xff", "-m comment --comment src:1 -j MARK --set-xmark 0x1/0xff"),
        ("MARK", "MARK and 0xff", "-j MARK --and-mark 0xff"),
        ("MARK", "MARK or 0xff", "-j MARK --or-mark 0xff"),
        ("MARK", "MARK xor 0xff", "-j MARK --xor-mark 0xff"),
        ("LOG", 'LOG flags 0 level 4 prefix "OK_1 "', '-j LOG --log-prefix "OK_1 "'),
        ("LOG", "LOG level warn", "-j LOG"),
        (
            "LOG",
            'LOG level debug tcp-sequence uid prefix "a "q" b"',
            '-j LOG --log-prefix "a \\"q\\" b" --log-level 7 --log-tcp-sequence --log-uid',
        ),
        (
            "LOG",
            "tcp dpt:80 LOG flags 47 level 7",
            (
                "-m tcp --dport 80 -j LOG --log-level 7 --log-tcp-sequence --log-tcp-options --log-ip-options "
                "--log-uid --log-macdecode"
            ),
        ),
        ("REJECT", "reject-with icmp-port-unreachable", "-j REJECT"),
        ("REJECT", "reject-with tcp-reset", "-j REJECT --reject-with tcp-reset"),
        ("DNAT", "tcp dpt:61001 to:10.255.2.7:8080", "-m tcp --dport 61001 -j DNAT --to-destination 10.255.2.7:8080"),
        ("DNAT", "to::8080", "-j DNAT --to-destination :8080"),
        (
            "DNAT",
            "to:10.0.0.1-10.0.0.9 random persistent",
            "-j DNAT --to-destination 10.0.0.1-10.0.0.9 --random --persistent",
        ),
        ("MASQUERADE", "", "-j MASQUERADE"),
        ("MASQUERADE", "masq ports: 1000-2000 random", "-j MASQUERADE --to-ports 1000-2000 --random"),
        ("MASQUERADE", "random-fully", "-j MASQUERADE --random-fully"),
    ],
)
def test_targets(target: str, text: str, body: str) -> None:
    """Each spelling of each target, after matches and alone."""
    assert column(text, target) == saved(body)


@pytest.mark.parametrize(
    ("target", "text", "kept", "value"),
    [
        ("ACCEPT", "PHYSDEV match --physdev-in eth1", ("PHYSDEV match --physdev-in eth1",), r.ACCEPT),
        (
            "ACCEPT",
            'STRING match  "tcp dpt:80 x" ALGO name bm',
            ('STRING match  "tcp dpt:80 x" ALGO name bm',),
            r.ACCEPT,
        ),
        (
            "ACCEPT",
            "limit: up to 100kb/s burst 1mb mode dstip",
            ("limit: up to 100kb/s burst 1mb mode dstip",),
            r.ACCEPT,
        ),
        (
            "ACCEPT",
            "limit: up to 9/min burst 5 rate-match rate-interval 3",
            ("limit: up to 9/min burst 5 rate-match rate-interval 3",),
            r.ACCEPT,
        ),
        ("ACCEPT", "tcp dpt:nobody-knows", ("tcp dpt:nobody-knows",), r.ACCEPT),
        ("ACCEPT", "icmp no-such-type", ("icmp no-such-type",), r.ACCEPT),
        ("ACCEPT", "/* never ends", ("/* never ends",), r.ACCEPT),
        ("ACCEPT", "MARK set 0x1", ("MARK set 0x1",), r.ACCEPT),
        ("NFLOG", 'nflog-prefix "x y"', (), r.OpaqueTarget(name="NFLOG", arguments=('nflog-prefix "x y"',))),
        ("MARK", "MARK something new", (), r.OpaqueTarget(name="MARK", arguments=("MARK something new",))),
        ("LOG", "LOG flags 255 level 4", (), r.OpaqueTarget(name="LOG", arguments=("LOG flags 255 level 4",))),
        ("REJECT", "", (), r.OpaqueTarget(name="REJECT")),
    ],
)
def test_what_no_row_knows_is_kept(target: str, text: str, kept: tuple[str, ...], value: r.Target) -> None:
    """Text without a word of its own is an opaque match, or the text of a target that is not known; never dropped."""
    found = column(text, target)
    assert (found.matches, found.target) == (
        tuple(r.OpaqueMatch(module="listing", arguments=(each,)) for each in kept),
        value,
    )


def test_matches_around_unknown_text_are_understood() -> None:
    """What is known before and after unknown text keeps its value."""
    found = column("tcp dpt:80 length 1:100 mark match 0x1 MARK set 0x2", "MARK")
    known = saved("-m tcp --dport 80 -m mark --mark 0x1 -j MARK --set-xmark 0x2")
    assert (*known.matches, r.OpaqueMatch(module="listing", arguments=("length 1:100",))) == found.matches
    assert found.target == known.target


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("/* mark match 0x1 */", "mark match 0x1"),
        ("/* a */ b */ mark match 0x1", "a */ b"),
        ("/* MARK set 0x9 */ b */ mark match 0x1", "MARK set 0x9 */ b"),
        ("/* /* */ mark match 0x1", "/*"),
    ],
)
def test_comments_may_look_like_anything(text: str, comment: str) -> None:
    """A comment ends where all that follows is understood."""
    found = column(text)
    assert r.CommentMatch(text=comment) in found.matches
    assert {type(match) for match in found.matches} <= {r.CommentMatch, r.MarkMatch}


@pytest.mark.parametrize("text", ["/* a */ mark match 0x7 /* b */", "/* */ */ */ */ */ */ */ */ */ */ */"])
def test_a_text_with_two_meanings_is_kept(text: str) -> None:
    """Two comments with a mark between them, or one that says so: a listing cannot tell, so neither is claimed."""
    found = column(f"tcp dpt:80 {text}")
    assert r.OpaqueMatch(module="listing", arguments=(text,)) in found.matches
    assert not any(isinstance(match, r.MarkMatch | r.CommentMatch) for match in found.matches)


def test_a_comment_may_hold_newlines() -> None:
    """A rule whose comment runs over lines is one rule."""
    head = "Chain FORWARD (policy ACCEPT)\ntarget     prot opt source               destination\n"
    found = listing(f"{head}ACCEPT     all  --  anywhere             anywhere             /* a\nb\n\nc */\n")
    assert [each.matches for each in found.chains("filter")["FORWARD"].rules] == [(r.CommentMatch(text="a\nb\n\nc"),)]


@pytest.mark.parametrize(
    ("chains", "table"),
    [
        (("INPUT", "FORWARD", "OUTPUT"), "filter"),
        (("FORWARD",), "filter"),
        (("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "netin--x"), "nat"),
        (("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"), "mangle"),
    ],
)
def test_built_in_chains_tell_the_table(chains: tuple[str, ...], table: str) -> None:
    """No listing names its table, but each table has its own built-in chains."""
    assert set(listing("\n".join(f"Chain {name} (policy ACCEPT)" for name in chains)).tables) == {table}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no chain and no rule"),
        ("hello", "line 1: not a line that iptables -L prints"),
        ("Chain A (1 references)\nChain A (1 references)", "line 2: this chain appears twice"),
        ("ACCEPT     all  -- ", "it ends before its addresses"),
        ("ACCEPT     all  --  anywhere", "it ends before its addresses"),
        (
            "ACCEPT     tcp  --  web.example.com      anywhere             tcp dpt:80",
            "'web.example.com' is a name and not an address.*-n",
        ),
        (
            "ACCEPT     all  --  any    any     anywhere             web.example.com",
            "'web.example.com' is a name and not an address.*-n",
        ),
        ("ACCEPT     all  --  10.0.0.300           anywhere", "conditions that no rule has"),
        ("ACCEPT     sneaky --  anywhere             anywhere", "unknown protocol 'sneaky'.*-n"),
        (
            "target     prot opt source               destination\n1 ACCEPT     all  --  anywhere             anywhere",
            "columns are not those",
        ),
        (
            "iptables v1.8.9 (nf_tables): table `filter' is incompatible, use 'nft' tool.",
            "not a line that iptables -L prints",
        ),
    ],
)
def test_what_is_no_listing_is_refused(text: str, said: str) -> None:
    """The error names the line and what to do."""
    with pytest.raises(ParseError) as caught:
        listing(text)
    assert re.search(said, str(caught.value))


def test_iptables_warnings_are_kept() -> None:
    """Where the other backend has tables too, iptables says so in the listing."""
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy to see them"
    assert listing(f"Chain A (0 references)\n{warning}\n").warnings == (warning,)


WORDS = [
    "ACCEPT",
    "MARK",
    "all",
    "tcp",
    "--",
    "-f",
    "anywhere",
    "10.0.0.1",
    "tcp dpt:80",
    "/*",
    "*/",
    "mark match",
    "0x1",
    "[goto]",
    "!",
    '"',
    "\n",
    "Chain A (1 references)",
]


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=30).map(" ".join))
def test_any_text_is_a_ruleset_or_refused(text: str) -> None:
    """Whatever somebody pastes, the answer is rules or an error that names a line."""
    try:
        line = 1
        assert listing(text).tables
    except ParseError as error:
        line = error.line
    assert 1 <= line <= len(text.splitlines()) + 1


@given(
    st.lists(
        st.sampled_from(["tcp dpt:80", "mark match 0x1", "/* a */", "/*", "*/", "odd", '"', "MARK set 0x1"]),
        max_size=40,
    ).map(" ".join)
)
def test_any_column_is_one_rule(text: str) -> None:
    """Each line of a rule is one rule, and text that is not understood stands in it."""
    found = column(text, "MARK")
    for word in ("odd", '"'):
        if word in text.split():
            assert word in repr(found)
