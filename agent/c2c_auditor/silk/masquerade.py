"""The MASQUERADE rule of a container in nat's POSTROUTING: what leaves the overlay leaves with the cell's address.

Source: silk-release cni-wrapper-plugin/netrules/masquerader.go (ec7a013d) and lib/rules/rules.go
(``NewDefaultEgressRule``). Silk leaves out ``no_masquerade_cidr_range`` where the operator set one. Else it leaves out
this cell's lease from 3.65 or 3.66 on; before, the job's template put the overlay network there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from c2c_auditor.model import rule as r
from c2c_auditor.model.cell import Container
from c2c_auditor.netfilter import canonical

# What is not masqueraded: a network, or the first and last address of a range.
Excluded = IPv4Network | tuple[IPv4Address, IPv4Address]


def masquerade_rule(container: Container, excluded: Excluded, vtep: str) -> r.Rule:
    """``-s IP ! -d EXCLUDED ! -o VTEP -j MASQUERADE``."""
    network = canonical.network(excluded) if isinstance(excluded, IPv4Network) else None
    matches: tuple[r.Match, ...] = ()
    if not isinstance(excluded, IPv4Network):
        first, last = map(int, excluded)
        matches = (r.IpRangeMatch(destination=(first, last, True)),)
    return r.Rule(
        source=canonical.host(container.address),
        destination=r.AddressMatch(value=network.value, mask=network.mask, negated=True) if network else None,
        out_interface=r.InterfaceMatch(name=vtep, negated=True),
        matches=matches,
        target=r.Masquerade(),
    )
