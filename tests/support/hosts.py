"""The addresses of the tests that send packets.

A router filters, with clients behind one of its interfaces and servers behind the other.
"""

from __future__ import annotations

from c2c_auditor.model import rule as r

CLIENT_SIDE, SERVER_SIDE = INTERFACES = ("s-010255000001", "silk-vtep")
CLIENT_NET, SERVER_NET, OWN_NET = 0x0AFF0000, 0x0AFF8000, 0x0AFFC000

CLIENTS = tuple(CLIENT_NET + offset for offset in (1, 2, 3, 4, 5, 6, 0x101, 0x102))
SERVERS = tuple(SERVER_NET + offset for offset in (1, 2, 3, 4, 5, 6, 0x101, 0x102))
# The router's own.
OWN = (OWN_NET + 1, OWN_NET + 2)
# What the routing table has another word for than UNICAST. The last is the broadcast address of the client side's own
# network: clients use it as a source.
BROADCAST = 0x0AFE00FF
TYPES = dict.fromkeys(OWN, "LOCAL") | {BROADCAST: "BROADCAST"}

# Marks that packets have before the first rule of the filter table.
MARKS = (0, 1, 2, 3, 0x4000, 0x10000, 0x10001, 0x7FFFFFFF, 0x80000000, r.ALL_BITS)
