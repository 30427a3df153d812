"""Names and numbers that iptables' texts use: one table each, so that a new spelling is a new row.

Sources: iptables libxtables/xtables.c (``xtables_chain_protos``), extensions/libxt_*.c, libipt_*.c; IANA protocol
numbers.
"""

from __future__ import annotations

from c2c_auditor.model.family import AddressFamily

PROTOCOLS: dict[str, int] = {
    "all": 0,
    "ip": 0,
    "icmp": 1,
    "igmp": 2,
    "ipencap": 4,
    "tcp": 6,
    "egp": 8,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "eigrp": 88,
    "ospf": 89,
    "ipip": 94,
    "pim": 103,
    "ipcomp": 108,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "ipv6-mh": 135,
    "mh": 135,
    "udplite": 136,
}
PROTOCOL_NAMES: dict[int, str] = {number: name for name, number in reversed(PROTOCOLS.items())}

# What follows -j and is no chain. Names that this project gives a value of its own are handled before this set is
# looked at.
EXTENSION_TARGETS = frozenset(
    [
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CLUSTERIP",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DSCP",
        "ECN",
        "HL",
        "HMARK",
        "IDLETIMER",
        "LED",
        "MIRROR",
        "NETMAP",
        "NFLOG",
        "NFQUEUE",
        "NOTRACK",
        "RATEEST",
        "REDIRECT",
        "SAME",
        "SECMARK",
        "SET",
        "SNAT",
        "SYNPROXY",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TPROXY",
        "TRACE",
        "TTL",
        "ULOG",
    ]
)

TIME_UNITS: dict[str, int] = {
    "s": 1, "sec": 1, "second": 1,
    "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hour": 3600,
    "d": 86400, "day": 86400,
}  # fmt: skip

LOG_LEVELS: dict[str, int] = {
    "emerg": 0, "panic": 0, "alert": 1, "crit": 2, "err": 3, "error": 3,
    "warn": 4, "warning": 4, "notice": 5, "info": 6, "debug": 7,
}  # fmt: skip

LOG_FLAGS: dict[str, int] = {
    "--log-tcp-sequence": 1,
    "--log-tcp-options": 2,
    "--log-ip-options": 4,
    "--log-uid": 8,
    "--log-macdecode": 32,
}

TCP_FLAGS: dict[str, int] = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}

# Older spellings that iptables and ip6tables still accept on the left, what they print on the right.
REJECT_ANSWERS: dict[str, str] = {
    "net-unreach": "icmp-net-unreachable",
    "host-unreach": "icmp-host-unreachable",
    "proto-unreach": "icmp-proto-unreachable",
    "port-unreach": "icmp-port-unreachable",
    "net-prohib": "icmp-net-prohibited",
    "host-prohib": "icmp-host-prohibited",
    "admin-prohib": "icmp-admin-prohibited",
    "tcp-rst": "tcp-reset",
    "no-route": "icmp6-no-route",
    "adm-prohibited": "icmp6-adm-prohibited",
    "addr-unreach": "icmp6-addr-unreachable",
    "policy-fail": "icmp6-policy-fail",
    "reject-route": "icmp6-reject-route",
}

_Types = dict[str, tuple[int, tuple[int, int]]]
_ICMP: _Types = {
    "any": (255, (0, 255)),
    "echo-reply": (0, (0, 255)),
    "pong": (0, (0, 255)),
    "destination-unreachable": (3, (0, 255)),
    "network-unreachable": (3, (0, 0)),
    "host-unreachable": (3, (1, 1)),
    "protocol-unreachable": (3, (2, 2)),
    "port-unreachable": (3, (3, 3)),
    "fragmentation-needed": (3, (4, 4)),
    "source-quench": (4, (0, 255)),
    "redirect": (5, (0, 255)),
    "echo-request": (8, (0, 255)),
    "ping": (8, (0, 255)),
    "router-advertisement": (9, (0, 255)),
    "router-solicitation": (10, (0, 255)),
    "time-exceeded": (11, (0, 255)),
    "ttl-exceeded": (11, (0, 255)),
    "parameter-problem": (12, (0, 255)),
    "timestamp-request": (13, (0, 255)),
    "timestamp-reply": (14, (0, 255)),
    "address-mask-request": (17, (0, 255)),
    "address-mask-reply": (18, (0, 255)),
}
# extensions/libip6t_icmp6.c; ip6tables has no name for any type.
_ICMP6: _Types = {
    "destination-unreachable": (1, (0, 255)),
    "no-route": (1, (0, 0)),
    "communication-prohibited": (1, (1, 1)),
    "beyond-scope": (1, (2, 2)),
    "address-unreachable": (1, (3, 3)),
    "port-unreachable": (1, (4, 4)),
    "failed-policy": (1, (5, 5)),
    "reject-route": (1, (6, 6)),
    "packet-too-big": (2, (0, 255)),
    "time-exceeded": (3, (0, 255)),
    "ttl-exceeded": (3, (0, 255)),
    "ttl-zero-during-transit": (3, (0, 0)),
    "ttl-zero-during-reassembly": (3, (1, 1)),
    "parameter-problem": (4, (0, 255)),
    "bad-header": (4, (0, 0)),
    "unknown-header-type": (4, (1, 1)),
    "unknown-option": (4, (2, 2)),
    "echo-request": (128, (0, 255)),
    "ping": (128, (0, 255)),
    "echo-reply": (129, (0, 255)),
    "pong": (129, (0, 255)),
    "router-solicitation": (133, (0, 255)),
    "router-advertisement": (134, (0, 255)),
    "neighbour-solicitation": (135, (0, 255)),
    "neighbor-solicitation": (135, (0, 255)),
    "neighbour-advertisement": (136, (0, 255)),
    "neighbor-advertisement": (136, (0, 255)),
    "redirect": (137, (0, 255)),
}
ICMP_TYPES = {AddressFamily.IPV4: _ICMP, AddressFamily.IPV6: _ICMP6}
"""Names of ICMP types that the tools accept, as (type, (lowest code, highest code)); saved rules carry numbers."""
