"""Lookups of one reading: containers by address, apps by guid and by tag, and how sentences name an app."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from attrs import field, frozen

from c2c_auditor.model.cell import Container, Names, Policy, PolicySet, Store
from c2c_auditor.model.finding import App
from c2c_auditor.netfilter.derived import derived

_LONGEST_NAME = 64
_MARKS = frozenset('"\\')
_WORD = re.compile(rf"[A-Za-z0-9._-]{{0,{_LONGEST_NAME}}}")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)


@frozen(kw_only=True)
class People:
    """Lookups over one reading of the facts; several containers at one address are all kept, in order of handle."""

    by_address: Mapping[int, tuple[Container, ...]] = field(factory=dict)
    names: Mapping[str, Names] = field(factory=dict)
    tag_owners: Mapping[int, frozenset[str]] = field(factory=dict)
    app_tags: Mapping[str, frozenset[int]] = field(factory=dict)
    _display_names: dict[str, str] = field(factory=dict, init=False, eq=False, repr=False)

    @staticmethod
    @derived
    def of(store: Store | None, policies: PolicySet | None) -> People:
        """The lookups for what is known; an absent source leaves its part empty."""
        containers = store.containers if store is not None else ()
        addresses: dict[int, tuple[Container, ...]] = {}
        for container in containers:
            key = int(container.address)
            addresses[key] = (*addresses.get(key, ()), container)
        pairs = set(_tags(policies.policies if policies is not None else ()))
        return People(
            by_address=addresses,
            names={container.app: container.names for container in containers if container.app and container.names.app},
            tag_owners=_grouped((tag, app) for app, tag in pairs),
            app_tags=_grouped(pairs),
        )

    def app(self, guid: str) -> App:
        """The app with the names that people gave it, as far as this cell knows them."""
        return App(guid=guid, names=self.names.get(guid, Names()))

    def display_name(self, guid: str) -> str:
        """``"frontend" (acme/dev)``, or the guid where the cell knows no name.

        It is quoted, so that it cannot be read as a part of the sentence around it.
        """
        known = self._display_names.get(guid)
        if known is None:
            known = self._display_names[guid] = _display_name(guid, self.names.get(guid))
        return known

    def holders(self, tag: int) -> str:
        """The names of the apps that carry this mark, or that it is of an app unknown on this cell."""
        owners = sorted(self.tag_owners.get(tag, ()))
        return " and ".join(map(self.display_name, owners)) if owners else "an app unknown on this cell"


def _display_name(guid: str, names: Names | None) -> str:
    if names is None:
        return f"app {_word(guid)}" if guid else "an app without a guid"
    if not (names.org or names.space):
        return quoted(names.app)
    return f"{quoted(names.app)} ({_word(names.org)}/{_word(names.space)})"


def quoted(name: str) -> str:
    """``name`` in quotation marks, cut to length: tenants choose it, and it must not read like the sentence around it.

    Quotation marks and backslashes in it have a backslash in front; what cannot be printed is an escape.
    """
    shown = "".join(
        f"\\{char}"
        if char in _MARKS
        else char
        if char.isprintable()
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in shortened(name)
    )
    return f'"{shown}"'


def shortened(name: str) -> str:
    """``name`` with an ellipsis in place of what is beyond 64 characters."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def _word(name: str) -> str:
    """``name`` as it is where it is one plain word, else quoted."""
    return name if _WORD.fullmatch(name) else quoted(name)


def _tags(policies: Iterable[Policy]) -> Iterable[tuple[str, int]]:
    for policy in policies:
        yield policy.source, policy.source_tag
        if policy.destination_tag:
            yield policy.destination, policy.destination_tag


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, frozenset[V]]:
    found: dict[K, set[V]] = {}
    for key, value in pairs:
        found.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in found.items()}
