"""Keeps the texts of the policy server's answers, for a capture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from c2c_auditor.model.cell import PolicySet, SecurityGroup
from c2c_auditor.sources.facts.policy_answers import merged, parse_policies, parse_security_groups
from c2c_auditor.sources.facts.policy_server import PolicyServer

# Takes one source's text under its name in a bundle; a later text replaces an earlier one of the same name.
KeepText = Callable[[str, str], None]
_POLICIES, _GROUPS = "policies.json", "security_groups.json"


class TextKeepingServer:
    """A policy server whose answers are handed to ``keep`` before they are parsed; several answers make one text.

    The text of an answer that cannot be parsed is kept too, because it is needed to find the cause.
    """

    def __init__(self, server: PolicyServer, keep: KeepText) -> None:
        self._server = server
        self._keep = keep

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def last_updated(self) -> int:
        """When policies last changed, by the server's clock in ns. Raises SourceError."""
        updated = self._server.last_updated()
        self._keep("policies_last_updated", str(updated))
        return updated

    def policies(self, guids: frozenset[str]) -> PolicySet:
        """The policies of ``guids``. Raises SourceError."""
        texts, answers = [], []
        for text in self._server.policy_texts(guids):
            self._keep(_POLICIES, text)
            answers.append(parse_policies(text, where=_POLICIES))
            texts.append(text)
        self._keep(_POLICIES, _one_answer(texts))
        return merged(answers)

    def security_groups_last_updated(self) -> int | None:
        """When security groups last changed, in ns; None from a server without that endpoint. Raises SourceError."""
        return self._server.security_groups_last_updated()

    def security_groups(self, spaces: frozenset[str]) -> tuple[SecurityGroup, ...]:
        """The security groups of ``spaces``. Raises SourceError."""
        texts: list[str] = []
        groups: dict[str, SecurityGroup] = {}
        for text in self._server.security_group_texts(spaces):
            self._keep(_GROUPS, text)
            for group in parse_security_groups(text, where=_GROUPS)[0]:
                groups.setdefault(group.guid, group)
            texts.append(text)
        self._keep(_GROUPS, _one_page(texts))
        return tuple(groups.values())


def _one_answer(texts: Sequence[str]) -> str:
    """Several answers about policies as one, each policy once; a single one letter by letter."""
    if len(texts) == 1:
        return texts[0]
    found = {json.dumps(policy): policy for text in texts for policy in json.loads(text)["policies"]}
    return json.dumps({"total_policies": len(found), "policies": list(found.values())})


def _one_page(texts: Sequence[str]) -> str:
    """All pages of security groups as one; a single one letter by letter."""
    if len(texts) == 1:
        return texts[0]
    found: dict[str, object] = {}
    for text in texts:
        for group in json.loads(text)["security_groups"]:
            found.setdefault(group["guid"], group)
    return json.dumps({"next": 0, "security_groups": list(found.values())})
