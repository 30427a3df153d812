"""Private data of the targets that have a value of their own, in the manner of `xtables_matches`.

Layouts: Linux include/uapi/linux/netfilter/xt_MARK.h, xt_LOG.h, nf_nat.h, netfilter_ipv4/ipt_REJECT.h. MARK before
revision 2 is not here: no kernel since 2.6.38 has it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.matches import text

_REJECT_ANSWERS = (
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
_ADDRESSES, _PORTS, _RANDOM, _PERSISTENT, _RANDOM_FULLY = 1, 2, 4, 8, 16


def _mark(data: bytes) -> r.SetMark:
    return canonical.set_mark(*struct.unpack_from("=II", data))


def _log(data: bytes) -> r.Log:
    level, flags, prefix = struct.unpack_from("=BB30s", data)
    return r.Log(level=level, flags=flags, prefix=text(prefix))


def _reject(data: bytes) -> r.Reject:
    (answer,) = struct.unpack_from("=I", data)
    if answer >= len(_REJECT_ANSWERS):
        raise ValueError(answer)
    return r.Reject(answer=_REJECT_ANSWERS[answer])


def _options(flags: int, known: dict[int, str]) -> tuple[str, ...]:
    """The options behind ``flags``, sorted as the text readers do; ValueError for a flag without a word."""
    if flags & ~(_ADDRESSES | _PORTS | sum(known)):
        raise ValueError(flags)
    return tuple(sorted(name for bit, name in known.items() if flags & bit))


def _dnat(flags: int, addresses: tuple[int, int], ports: tuple[int, int]) -> r.Dnat:
    return r.Dnat(
        addresses=addresses if flags & _ADDRESSES else None,
        ports=ports if flags & _PORTS else None,
        options=_options(flags, {_RANDOM: "--random", _PERSISTENT: "--persistent"}),
    )


def _dnat_0(data: bytes) -> r.Dnat:
    count, flags = struct.unpack_from("=II", data)
    if count != 1:
        raise ValueError(count)
    low, high, first, last = struct.unpack_from("!IIHH", data, 8)
    return _dnat(flags, (low, high), (first, last))


def _dnat_1(data: bytes) -> r.Dnat:
    """Revisions 1 and 2, which differ in what follows the ports."""
    (flags,) = struct.unpack_from("=I", data)
    low, high, first, last = struct.unpack_from("!I12xI12xHH", data, 4)
    return _dnat(flags, (low, high), (first, last))


def _masquerade(data: bytes) -> r.Masquerade:
    count, flags = struct.unpack_from("=II", data)
    if count != 1 or flags & _ADDRESSES:
        raise ValueError(flags)
    ports = struct.unpack_from("!HH", data, 16)
    return r.Masquerade(
        ports=(ports[0], ports[1]) if flags & _PORTS else None,
        options=_options(flags, {_RANDOM: "--random", _RANDOM_FULLY: "--random-fully"}),
    )


TARGETS: dict[tuple[str, int], Callable[[bytes], r.Target]] = {
    ("MARK", 2): _mark,
    ("LOG", 0): _log,
    ("REJECT", 0): _reject,
    ("DNAT", 0): _dnat_0,
    ("DNAT", 1): _dnat_1,
    ("DNAT", 2): _dnat_1,
    ("MASQUERADE", 0): _masquerade,
}
