"""The actions of targets in a walk: accept, refuse, jump, return, mark, go on."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum

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
# The same, but they may set the mark: xt_connmark.c connmark_tg_shift, xt_HMARK.c hmark_tg_v4.
_GO_ON_MARKED = frozenset({"CONNMARK", "HMARK"})
# What CONNMARK does to the connection's mark leaves the packet's alone.
_CONNECTION_ONLY = frozenset({"--save-mark", "--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"})


class Action(Enum):
    """What comes next. ``DOUBT``: it may pass, may be stopped, and may go on with any mark."""

    GO_ON = "go on"
    SET_MARK = "set mark"
    FORGET_MARK = "forget mark"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    ACCEPT = "accept"
    REFUSE = "refuse"
    DOUBT = "doubt"


_VERDICTS = {"ACCEPT": Action.ACCEPT, "DROP": Action.REFUSE, "RETURN": Action.RETURN}
_CLASSES: dict[type[r.Target], Action] = {
    r.Reject: Action.REFUSE,
    r.SetMark: Action.SET_MARK,
    r.Log: Action.GO_ON,
    r.NoTarget: Action.GO_ON,
    r.Dnat: Action.ACCEPT,
    r.Masquerade: Action.ACCEPT,
}


def action(target: r.Target, chains: Container[str]) -> Action:
    """What ``target`` does where the table has these ``chains``. QUEUE, and what is not known, is doubt."""
    if isinstance(target, r.Verdict):
        return _VERDICTS.get(target.name, Action.DOUBT)
    if isinstance(target, r.Jump | r.Goto):
        if target.chain not in chains:
            return Action.DOUBT
        return Action.JUMP if isinstance(target, r.Jump) else Action.GOTO
    if isinstance(target, r.OpaqueTarget):
        return _opaque(target)
    return _CLASSES[type(target)]


def _opaque(target: r.OpaqueTarget) -> Action:
    if target.name in _GO_ON or (target.name == "CONNMARK" and not _CONNECTION_ONLY.isdisjoint(target.arguments)):
        return Action.GO_ON
    return Action.FORGET_MARK if target.name in _GO_ON_MARKED else Action.DOUBT


def new_mark(target: r.SetMark, mark: int | None) -> int | None:
    """The mark after ``target``; None is any, and so is `UNNAMED` in which some bits were set."""
    if mark is None or mark == UNNAMED:
        return target.value if target.mask == r.ALL_BITS else None
    return (mark & ~target.mask) ^ target.value
