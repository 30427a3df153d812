"""Sets of flows in words: what people would say, whichever of two ways is shorter."""

from __future__ import annotations

import pytest

from c2c_auditor.audit.traffic.wording import flows_text, listed
from c2c_auditor.model.rule import ICMP, TCP, UDP
from c2c_auditor.netfilter.flows import ALL, NOTHING, FlowSet, of_protocol, ports, union, without

WEB = ports(TCP, 8080, 8080)


@pytest.mark.parametrize(
    ("flows", "text"),
    [
        (NOTHING, ""),
        (ALL, "everything"),
        (WEB, "tcp 8080"),
        (union(WEB, ports(TCP, 9000, 9010), ports(UDP, 53, 53)), "tcp 8080, tcp 9000-9010, udp 53"),
        (without(of_protocol(TCP), WEB), "tcp except 8080"),
        (without(of_protocol(TCP), union(WEB, ports(TCP, 22, 22))), "tcp except 22 and 8080"),
        (without(ALL, WEB), "tcp except 8080, and every other protocol"),
        (without(ALL, of_protocol(ICMP)), "every protocol but icmp"),
        (
            union(WEB, without(ALL, union(of_protocol(TCP), of_protocol(UDP)))),
            "tcp 8080, and every other protocol but udp",
        ),
        (union(of_protocol(TCP), of_protocol(UDP)), "tcp, udp"),
        (union(*(ports(TCP, port, port) for port in range(1, 14, 2))), "tcp 1, tcp 3, tcp 5, tcp 7 and 3 more ranges"),
    ],
)
def test_flows_are_told_by_what_is_meant_or_by_what_is_not(flows: FlowSet, text: str) -> None:
    """Ports within a protocol, and protocols among all."""
    assert flows_text(flows) == text


def test_a_large_number_shows_all() -> None:
    """As the matrix does."""
    flows = union(*(ports(TCP, port, port) for port in range(1, 14, 2)))
    assert flows_text(flows, 1000).count("tcp") == 7


def test_one_that_is_too_many_is_listed_all_the_same() -> None:
    """Counting it would take as many words as naming it."""
    assert listed(["a"], 3, "rules") == "a"
    assert listed(["a", "b", "c", "d"], 3, "rules") == "a, b, c and d"
    assert listed(["a", "b", "c", "d", "e"], 3, "rules") == "a, b, c and 2 more rules"
