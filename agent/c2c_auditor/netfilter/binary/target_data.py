"""Decodes the private data of targets that have a value class, in the manner of `matches`.

Layouts: Linux include/uapi/linux/netfilter/xt_MARK.h, xt_connmark.h, xt_LOG.h, nf_nat.h, netfilter_ipv4/ipt_REJECT.h,
netfilter_ipv6/ip6t_REJECT.h. MARK before revision 2 is not here: no kernel since 2.6.38 has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.matches import address, fields, known, text

_IPV4_ANSWERS = (
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "echo-reply",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "tcp-reset",
    "icmp-admin-prohibited",
)
# Number 5 answers an echo request and 2 nothing: ip6t_REJECT.c has no answer for them.
_IPV6_ANSWERS = {
    0: "icmp6-no-route",
    1: "icmp6-adm-prohibited",
    3: "icmp6-addr-unreachable",
    4: "icmp6-port-unreachable",
    6: "tcp-reset",
    7: "icmp6-policy-fail",
    8: "icmp6-reject-route",
}
_REJECT_ANSWERS = {
    r.AddressFamily.IPV4: dict(enumerate(_IPV4_ANSWERS)),
    r.AddressFamily.IPV6: _IPV6_ANSWERS,
}
_ADDRESSES, _PORTS, _RANDOM, _PERSISTENT, _RANDOM_FULLY = 1, 2, 4, 8, 16


def _mark(data: bytes) -> r.SetMark:
    return canonical.set_mark(*fields("=II", data))


def _connmark(at: int, data: bytes) -> r.OpaqueTarget:
    """CONNMARK in the words of iptables-save: what it does decides whether the packet's mark changes.

    Its mode stands ``at`` a byte: revision 2 has a shift, which is not understood, in front of it.
    """
    value, ctmask, nfmask = fields("=III", data)
    *shift, mode = data[12 : at + 1]
    if any(shift):
        raise NotUnderstood(str(shift))
    word = known({0: "--set-xmark", 1: "--save-mark", 2: "--restore-mark"}, mode)
    masks = (f"0x{value:x}/0x{ctmask:x}",) if mode == 0 else ("--nfmask", f"0x{nfmask:x}", "--ctmask", f"0x{ctmask:x}")
    return r.OpaqueTarget(name="CONNMARK", arguments=(word, *masks))


def _log(data: bytes) -> r.Log:
    level, flags, prefix = fields("=BB30s", data)
    return r.Log(level=level, flags=flags, prefix=text(prefix))


def _reject(family: r.AddressFamily, data: bytes) -> r.Reject:
    (answer,) = fields("=I", data)
    return r.Reject(answer=known(_REJECT_ANSWERS[family], answer))


def _options(flags: int, known: dict[int, str]) -> tuple[str, ...]:
    """The options behind ``flags``, sorted as the text readers do; NotUnderstood for a flag without a word."""
    if flags & ~(_ADDRESSES | _PORTS | sum(known)):
        raise NotUnderstood(str(flags))
    return tuple(sorted(name for bit, name in known.items() if flags & bit))


def _dnat(family: r.AddressFamily, flags: int, addresses: tuple[int, int], ports: tuple[int, int]) -> r.Dnat:
    return r.Dnat(
        family=family,
        addresses=addresses if flags & _ADDRESSES else None,
        ports=ports if flags & _PORTS else None,
        options=_options(flags, {_RANDOM: "--random", _PERSISTENT: "--persistent"}),
    )


def _dnat_0(data: bytes) -> r.Dnat:
    """Revision 0, of IPv4 alone."""
    count, flags = fields("=II", data)
    if count != 1:
        raise NotUnderstood(str(count))
    low, high, first, last = fields("!IIHH", data, 8)
    return _dnat(r.AddressFamily.IPV4, flags, (low, high), (first, last))


def _dnat_1(family: r.AddressFamily, data: bytes) -> r.Dnat:
    """Revisions 1 and 2, which differ in what follows the ports."""
    (flags,) = fields("=I", data)
    first, last = fields("!HH", data, 36)
    return _dnat(family, flags, (address(family, data, 4), address(family, data, 20)), (first, last))


def _masqueraded(flags: int, ports: tuple[int, int]) -> r.Masquerade:
    if flags & _ADDRESSES:
        raise NotUnderstood(str(flags))
    return r.Masquerade(
        ports=ports if flags & _PORTS else None,
        options=_options(flags, {_RANDOM: "--random", _RANDOM_FULLY: "--random-fully"}),
    )


def _masquerade(data: bytes) -> r.Masquerade:
    """``struct nf_nat_ipv4_multi_range_compat``."""
    count, flags = fields("=II", data)
    if count != 1:
        raise NotUnderstood(str(count))
    first, last = fields("!HH", data, 16)
    return _masqueraded(flags, (first, last))


def _masquerade_6(data: bytes) -> r.Masquerade:
    """``struct nf_nat_range``."""
    (flags,) = fields("=I", data)
    first, last = fields("!HH", data, 36)
    return _masqueraded(flags, (first, last))


Decoder = Callable[[bytes], r.Target]


def _targets(family: r.AddressFamily) -> dict[tuple[str, int], Decoder]:
    return {
        ("MARK", 2): _mark,
        ("LOG", 0): _log,
        ("CONNMARK", 1): partial(_connmark, 12),
        ("CONNMARK", 2): partial(_connmark, 14),
        ("REJECT", 0): partial(_reject, family),
        ("DNAT", 1): partial(_dnat_1, family),
        ("DNAT", 2): partial(_dnat_1, family),
    }


TARGETS = {
    r.AddressFamily.IPV4: _targets(r.AddressFamily.IPV4) | {("DNAT", 0): _dnat_0, ("MASQUERADE", 0): _masquerade},
    r.AddressFamily.IPV6: _targets(r.AddressFamily.IPV6) | {("MASQUERADE", 0): _masquerade_6},
}
"""The decoders of each family, by name and revision."""
