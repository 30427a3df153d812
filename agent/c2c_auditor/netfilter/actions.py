"""What a target does with a packet that it takes, in the words of a walk."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum

from c2c_auditor.model import rule as r

# Targets that have no word of their own here, let a packet go on and leave its mark alone (man iptables-extensions).
_GO_ON = frozenset(
    [
        "AUDIT",
        "CHECKSUM",
        "CLASSIFY",
        "CONNSECMARK",
        "DSCP",
        "ECN",
        "HL",
        "IDLETIMER",
        "LED",
        "NFLOG",
        "NOTRACK",
        "RATEEST",
        "SECMARK",
        "SET",
        "TCPMSS",
        "TCPOPTSTRIP",
        "TEE",
        "TOS",
        "TRACE",
        "TTL",
        "ULOG",
    ],
)
# The same, but they may set the mark.
_GO_ON_MARKED = frozenset({"CONNMARK", "CT", "HMARK"})


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
        return (
            Action.GO_ON
            if target.name in _GO_ON
            else Action.FORGET_MARK
            if target.name in _GO_ON_MARKED
            else Action.DOUBT
        )
    return _CLASSES[type(target)]


def new_mark(target: r.SetMark, mark: int | None) -> int | None:
    """The mark after ``target``; None is any."""
    if mark is None:
        return target.value if target.mask == r.ALL_BITS else None
    return (mark & ~target.mask) ^ target.value
