"""The actions of targets in a walk: accept, refuse, jump, return, mark, go on."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum
from itertools import pairwise

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.packet import UNNAMED

# Targets that have no word of their own here, let a packet go on and leave its mark alone. Of each, the function named
# gives XT_CONTINUE for every packet that the kernel can read (net/netfilter/, net/ipv4/netfilter/).
_GO_ON = frozenset(
    {
        # Notes about the packet: xt_NFLOG.c nflog_tg, xt_TRACE.c trace_tg, xt_AUDIT.c audit_tg, xt_LED.c led_tg,
        # xt_IDLETIMER.c idletimer_tg_target, xt_RATEEST.c xt_rateest_tg; ULOG was ipt_ULOG.c ulog_tg until Linux 3.16.
        *("NFLOG", "ULOG", "TRACE", "AUDIT", "LED", "IDLETIMER", "RATEEST"),
        # Addresses into sets, a copy to elsewhere: xt_set.c set_target_v3, xt_TEE.c tee_tg4.
        *("SET", "TEE"),
        # Changes to headers: xt_TCPMSS.c tcpmss_tg4, xt_TCPOPTSTRIP.c tcpoptstrip_tg4, xt_DSCP.c dscp_tg (TOS: tos_tg),
        # ipt_ECN.c ecn_tg, xt_HL.c ttl_tg and hl_tg6, xt_CHECKSUM.c checksum_tg.
        *("TCPMSS", "TCPOPTSTRIP", "DSCP", "TOS", "ECN", "TTL", "HL", "CHECKSUM"),
        # What the kernel keeps beside the packet, but not its mark: xt_CLASSIFY.c classify_tg, xt_SECMARK.c secmark_tg,
        # xt_CONNSECMARK.c connsecmark_tg, xt_CT.c xt_ct_target (NOTRACK: notrack_tg).
        *("CLASSIFY", "SECMARK", "CONNSECMARK", "CT", "NOTRACK"),
    },
)
# The same, but it sets a mark that depends on more than the rule: xt_HMARK.c hmark_tg_v4.
_GO_ON_MARKED = frozenset({"HMARK"})
# Of these the kernel takes the packet on, with another address or port (net/netfilter/xt_nat.c, xt_REDIRECT.c,
# xt_NETMAP.c). What of them is a packet's destination, a chain of PREROUTING leads elsewhere.
_TRANSLATIONS = frozenset({"SNAT", "NETMAP", "REDIRECT"})
# What CONNMARK does to the connection's mark leaves the packet's alone (xt_connmark.c connmark_tg_shift).
_CONNECTION_ONLY = frozenset({"--save-mark", "--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"})


class Action(Enum):
    """What comes next. ``DOUBT``: it may pass, may be stopped, and may go on with any mark."""

    GO_ON = "go on"
    SET_MARK = "set mark"
    RESTORE_MARK = "restore mark"
    FORGET_MARK = "forget mark"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    ACCEPT = "accept"
    REFUSE = "refuse"
    DOUBT = "doubt"


MARKING = frozenset({Action.SET_MARK, Action.RESTORE_MARK, Action.FORGET_MARK})
"""What changes a packet's mark, or may."""
_VERDICTS = {"ACCEPT": Action.ACCEPT, "DROP": Action.REFUSE, "RETURN": Action.RETURN}
_CLASSES: dict[type[r.Target], Action] = {
    r.Reject: Action.REFUSE,
    r.SetMark: Action.SET_MARK,
    r.Log: Action.GO_ON,
    r.NoTarget: Action.GO_ON,
    r.Dnat: Action.ACCEPT,
    r.Masquerade: Action.ACCEPT,
    r.Policy: Action.REFUSE,
}


def action(target: r.Target, chains: Container[str], *, redirects: bool = False) -> Action:
    """What ``target`` does where the table has these ``chains``. QUEUE, and what is not known, is doubt.

    ``redirects``: a packet whose destination is rewritten does not come to the one that it was sent to.
    """
    if redirects and leads_elsewhere(target):
        return Action.REFUSE
    if isinstance(target, r.Verdict):
        return _VERDICTS.get(target.name, Action.DOUBT)
    if isinstance(target, r.Jump | r.Goto):
        if target.chain not in chains:
            return Action.DOUBT
        return Action.JUMP if isinstance(target, r.Jump) else Action.GOTO
    if isinstance(target, r.OpaqueTarget):
        return _opaque(target)
    return _CLASSES[type(target)]


def leads_elsewhere(target: r.Target) -> bool:
    """Whether ``target`` gives a packet another destination where packets come in."""
    return isinstance(target, r.Dnat) or (
        isinstance(target, r.OpaqueTarget) and target.name in ("DNAT", *_TRANSLATIONS - {"SNAT"})
    )


def saves_mark(target: r.Target) -> bool:
    """Whether ``target`` gives a packet's connection a mark."""
    return isinstance(target, r.OpaqueTarget) and target.name == "CONNMARK" and not _restores(target)


def _restores(target: r.OpaqueTarget) -> bool:
    return _CONNECTION_ONLY.isdisjoint(target.arguments)


def _opaque(target: r.OpaqueTarget) -> Action:
    if target.name == "CONNMARK":
        return Action.RESTORE_MARK if _restores(target) else Action.GO_ON
    if target.name in _TRANSLATIONS:
        return Action.ACCEPT
    if target.name in _GO_ON:
        return Action.GO_ON
    return Action.FORGET_MARK if target.name in _GO_ON_MARKED else Action.DOUBT


def new_mark(target: r.SetMark, mark: int | None) -> int | None:
    """The mark after ``target``; None is any, and so is `UNNAMED` in which some bits were set."""
    if mark is None or mark == UNNAMED:
        return target.value if target.mask == r.ALL_BITS else None
    return (mark & ~target.mask) ^ target.value


def restored_mark(target: r.Target, mark: int | None, connection: int | None) -> int | None:
    """The mark after CONNMARK gave a packet its connection's, ``connection``; None is any."""
    masks = {"--nfmask": r.ALL_BITS, "--ctmask": r.ALL_BITS}
    words = target.arguments if isinstance(target, r.OpaqueTarget) else ()
    for name, value in pairwise(words):
        if name in masks or name == "--mask":
            masks |= dict.fromkeys(masks if name == "--mask" else (name,), int(value, 16))
    if connection is None:
        return None
    return new_mark(r.SetMark(value=connection & masks["--ctmask"], mask=masks["--nfmask"]), mark)
