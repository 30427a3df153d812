"""Finds the end that a question names: an app by name or guid, a container by handle, a host by address.

A name that is unknown or ambiguous is refused with the names that the cells know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import IPv6Address, ip_address

from attrs import frozen

from c2c_auditor.audit.questions.cells import Cell, people_of, policies_of
from c2c_auditor.audit.questions.pairs import mark_pairs
from c2c_auditor.audit.reading.inputs import Inputs
from c2c_auditor.audit.reading.people import People
from c2c_auditor.errors import UsageError
from c2c_auditor.model.cell import CellFacts, Container
from c2c_auditor.model.family import Address, AddressFamily

_SHORTEST_PREFIX = 4
_MOST_CANDIDATES = 12


class Where(Enum):
    """What kind of end it is. ``OVERLAY``: containers, here or on other cells."""

    OVERLAY = "overlay"
    CELL = "cell"
    OUTSIDE = "outside"


@frozen(kw_only=True)
class Located:
    """A container and the cell that it runs on."""

    cell: Cell
    container: Container


@frozen(kw_only=True)
class End:
    """One end of a question.

    Its containers on the cells that are asked, or the app or address of an end elsewhere. ``address`` is None for the
    cell itself and for the outside where any of its addresses is meant. ``whole_app``: the app was named, with all of
    its containers.
    """

    app: str = ""
    containers: tuple[Located, ...] = ()
    address: Address | None = None
    where: Where = Where.OVERLAY
    whole_app: bool = False


def about(cells: Sequence[Sequence[Inputs]], *ends: str) -> tuple[Inputs, ...]:
    """Of each cell's families the one that a question is about: IPv6 where one of ``ends`` is such an address.

    Raises UsageError where no cell's rules of that family are known.
    """
    ipv6 = any(isinstance(_address(end), IPv6Address) for end in ends)
    found = tuple(inputs for families in cells for inputs in families if inputs.ipv6 == ipv6)
    if found:
        return found
    message = (
        f"there are no rules of {'IPv6' if ipv6 else 'IPv4'} to look at: IPv6 is off on this cell, or not part of this "
        "recording"
    )
    raise UsageError(message)


def find(text: str, cells: Sequence[Cell]) -> End:
    """The end that ``text`` means: also ``cell``, and ``outside``. Raises UsageError with the candidates."""
    located = [Located(cell=cell, container=container) for cell in cells for container in cell.containers]
    address = _address(text)
    if address is not None:
        return _end_at(address, located, cells)
    whole = [one for one in located if one.container.handle == text]
    if whole:
        return End(app=whole[0].container.app, containers=tuple(whole))
    people = people_of(cells)
    known = {one.container.app for one in located if one.container.app} | _named(cells)
    found = _matching(text, known, people)
    if len(found) == 1:
        containers = tuple(one for one in located if one.container.app == found[0])
        return End(app=found[0], containers=containers, whole_app=True)
    handles = [one for one in located if len(text) >= _SHORTEST_PREFIX and one.container.handle.startswith(text)]
    if not found and len(handles) == 1:
        return End(app=handles[0].container.app, containers=tuple(handles))
    if not found and not handles and text in (Where.CELL.value, Where.OUTSIDE.value):
        return End(where=Where(text))
    if found or handles:
        message = (
            f"{text!r} is ambiguous, it may mean {_listed(found, people, handles)}: give a guid, a handle or an address"
        )
        raise UsageError(message)
    here, knows = ("this cell knows", "It knows") if len(cells) == 1 else ("these cells know", "They know")
    message = f"{text!r} is no app, handle or address that {here}. {knows} {_listed(sorted(known), people, ())}"
    if not known:
        message += f"; {_why_nobody(cells)}"
    raise UsageError(message)


def _named(cells: Sequence[Cell]) -> set[str]:
    """The apps of policies; where a cell's are not known, those of its rules' comments."""
    known = {guid for policy in policies_of(cells) for guid in (policy.source, policy.destination)}
    shown = [cell.inputs.ruleset for cell in cells if cell.inputs.facts.policies is None]
    pairs = mark_pairs(shown, CellFacts())
    return known | {guid for pair in pairs for guid in (pair.source, pair.destination) if guid}


def _why_nobody(cells: Sequence[Cell]) -> str:
    """Why no app is known: nothing was read, or nothing is there."""
    if all(cell.inputs.facts.store is not None for cell in cells):
        return "no app runs here"
    return (
        "the container metadata could not be read or was not given (--store FILE), and no rule's comment names an app"
    )


def _matching(text: str, guids: Iterable[str], people: People) -> list[str]:
    """The apps that ``text`` may mean: by guid or name (``app``, ``space/app``, ``org/space/app``).

    Where there is none of these, by the beginning of a guid.
    """
    names = people.names
    every = sorted(guids)
    exact = [guid for guid in every if guid == text]
    if exact:
        return exact
    spelled = [
        guid
        for guid in every
        if guid in names
        and text
        in (
            names[guid].app,
            f"{names[guid].space}/{names[guid].app}",
            f"{names[guid].org}/{names[guid].space}/{names[guid].app}",
        )
    ]
    return spelled or [guid for guid in every if len(text) >= _SHORTEST_PREFIX and guid.startswith(text)]


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _end_at(address: Address, located: Sequence[Located], cells: Sequence[Cell]) -> End:
    here = [one for one in located if one.container.address == address]
    if here:
        return End(app=here[0].container.app, containers=tuple(here[:1]))
    fitting = of_its_family(address, cells)
    if isinstance(address, IPv6Address) or any(cell.on_overlay(int(address)) for cell in fitting):
        return End(address=address)
    own = any(cell.is_own(int(address)) for cell in fitting)
    return End(address=address, where=Where.CELL if own else Where.OUTSIDE)


def of_its_family(address: Address, cells: Iterable[Cell]) -> list[Cell]:
    """Those of ``cells`` whose rules are of ``address``'s family. Raises UsageError where there are none."""
    found = [cell for cell in cells if cell.inputs.ruleset.family is AddressFamily.of(address.version)]
    if found:
        return found
    message = (
        f"{address} is an address of IPv{address.version}, and only rules of the other family are looked at: give both "
        "ends of one family"
    )
    if isinstance(address, IPv6Address):
        message += "; IPv6 may be off on this cell, or not part of this recording"
    raise UsageError(message)


def _listed(guids: Iterable[str], people: People, handles: Iterable[Located]) -> str:
    """Apps and containers as people know them, the first twelve of them."""
    texts = [f"{people.display_name(guid)} [{guid}]" if guid in people.names else guid for guid in guids]
    texts += [f"the container {one.container.handle} at {one.container.address}" for one in handles]
    text_of_candidates = ", ".join(texts[:_MOST_CANDIDATES]) or "none"
    return (
        f"{text_of_candidates} and {len(texts) - _MOST_CANDIDATES} more"
        if len(texts) > _MOST_CANDIDATES
        else text_of_candidates
    )
