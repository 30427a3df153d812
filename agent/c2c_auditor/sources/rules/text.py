"""Reads rules from the text that ``iptables-save``, ``-S`` or ``-L`` printed, of iptables or ip6tables.

The form is recognised by its lines.
"""

from __future__ import annotations

import re

from c2c_auditor.errors import ParseError
from c2c_auditor.model.rule import Ruleset
from c2c_auditor.netfilter.listing import parse_listing
from c2c_auditor.netfilter.savefile import parse_save
from c2c_auditor.sources.rules.older_reader import marked_if_older
from c2c_auditor.sources.rules.services import service_port

_SAVED = re.compile(r"^(?:\*\w+|:\S+ \S+|(?:\[\d+:\d+\] )?-A \S+|-[PN] \S+|# Table .* is incompatible)", re.MULTILINE)


def read_text(text: str, *, where: str) -> Ruleset:
    """``text`` as a Ruleset, of the family that it shows.

    Raises ParseError for a text that is empty or of no form of iptables'.
    """
    if not text.strip():
        raise ParseError(
            where=where,
            line=1,
            text="",
            problem="there is nothing in it",
            remedy="give the output of iptables-save, iptables -S or iptables -L",
        )
    if _SAVED.search(text):
        return marked_if_older(parse_save(text, where=where))
    return marked_if_older(parse_listing(text, where=where, service_port=service_port))
