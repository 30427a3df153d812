"""Damages that a person does with one command, for the kinds of findings that the demo's faults do not raise."""

from __future__ import annotations

from c2c_auditor.model.kind import Kind

OVERLAY = "overlay--35bf992d-c9e9-4616-"

# Kind, recorded cell, what somebody types; VPA stands for the cell's policy chain.
BY_HAND = {
    Kind.CONTAINER_CHAIN_ORPHAN: ("pair", "-N overlay--ffffffff-0000-4000-"),
    Kind.CONTAINER_RULE_MISSING: ("pair", f"-D {OVERLAY} 2"),
    Kind.FOREIGN_RULE: ("pair", "-I FORWARD -j LOG"),
    Kind.JUMP_DUPLICATE: ("pair", "-I FORWARD -j VPA"),
    Kind.MARK_STALE: (
        "pair",
        "-A VPA -s 10.255.2.7 -m comment --comment src:20e39f68-f0ed-40db-8564-d432d5716f29 -j MARK --set-xmark 0x2",
    ),
    Kind.INGRESS_MISSING: ("pair-overlay-ingress", "-D VPA 4"),
    Kind.INGRESS_STALE: (
        "pair-overlay-ingress",
        "-A VPA -d 10.255.2.7 -p tcp --dport 9999 -m mark --mark 0x3 -j ACCEPT",
    ),
    Kind.LOG_RULE_MISSING: ("pair-c2c-logging", "-D VPA 2"),
    # The destination's answers to other cells carry no mark: with this policy nothing lets them leave, and no rule is
    # to blame.
    Kind.FLOW_BLOCKED: ("pair", "-P FORWARD DROP"),
    Kind.LOG_RULE_STALE: ("pair-c2c-logging", "-I VPA 2 -d 10.255.2.7 -p tcp --dport 99 -m mark --mark 0x1 -j LOG"),
}
