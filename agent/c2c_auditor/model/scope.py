"""What findings are about: the part of a cell's traffic, or of its rules and facts, that a kind of finding concerns."""

from __future__ import annotations

from enum import Enum


class Scope(str, Enum):
    """What findings of a kind are about, and with it which traffic shows what they do (`audit.effects`)."""

    POLICY_RULE = "policy_rule"  # the flows of one rule of the policy chain
    SENDER = "sender"  # everything that one container sends to others, which is decided by its mark
    IDENTITY = "identity"  # for whose packets a container's are taken, here and on other cells
    CONTAINER = "container"  # one container's chain: its traffic on the overlay where the chain is for that
    JUMP = "jump"  # the traffic that a jump should bring: one container's, or the cell's where no container is named
    CELL = "cell"  # the traffic between all containers of the cell
    SETTING = "setting"  # a switch of the whole cell, and the rule that carries it out
    STRANGER = "stranger"  # a rule that silk does not write: the flows that it decides
    FLOWS = "flows"  # flows themselves, without a rule to blame
    EGRESS = "egress"  # what a container sends beyond the overlay: by its security groups, and to the cell's services
    MAPPED_PORTS = "mapped_ports"  # what comes to a container by the cell's own ports
    BACKENDS = "backends"  # the rules of both backends together
    FACTS = "facts"  # what the store or the policy server says
    HYGIENE = "hygiene"  # rules that decide nothing
