"""Sets of flows in words: ports and protocols as people say them, short even where all but a few of them are meant."""

from __future__ import annotations

from collections.abc import Sequence

from c2c_auditor.netfilter.flows import ALL, FlowSet, both, of_protocol, pieces, touched, whole, without

_MOST = 4


def flows_text(flows: FlowSet, most: int = _MOST) -> str:
    """``tcp 8080, udp 53`` or ``tcp except 8080, and every other protocol``; the ranges beyond ``most`` are counted."""
    if flows == ALL:
        return "everything"
    entire = whole(flows)
    protocols = list(dict.fromkeys(piece.protocol for piece in pieces(without(flows, entire))))
    texts = [_some_of(protocol, both(flows, of_protocol(protocol)), most) for protocol in protocols]
    return ", ".join([*texts, *_entire(entire, touched(flows), most, others=bool(texts))])


def listed(texts: Sequence[str], most: int, what: str, *, count: int = 0) -> str:
    """``a, b and c``; where there are more than one beyond ``most``, they are counted: ``a, b and 12 more ranges``.

    ``count`` is how many there are, where not all of them are given.
    """
    count = count or len(texts)
    shown = list(texts[:most]) if count > most + 1 else list(texts)
    if len(shown) < count:
        shown.append(f"{count - most} more {what}")
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _some_of(protocol: int, flows: FlowSet, most: int) -> str:
    """Some flows of one protocol, by what is missing where that is shorter."""
    entire = of_protocol(protocol)
    name = str(next(pieces(entire)))
    present, missing = list(pieces(flows)), list(pieces(without(entire, flows)))
    if len(missing) < len(present):
        return f"{name} except {listed([str(piece).removeprefix(f'{name} ') for piece in missing], most, 'ranges')}"
    texts = [str(piece) for piece in present]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more ranges"


def _entire(flows: FlowSet, named: FlowSet, most: int, *, others: bool) -> list[str]:
    """Protocols of which all flows are meant; ``named`` are the flows of every protocol that is spoken of."""
    names = [str(piece) for piece in pieces(flows)]
    if len(names) <= most:
        return names
    missing = [str(piece) for piece in pieces(without(ALL, named))]
    every = "and every other protocol" if others else "every protocol"
    if not missing:
        return [every]
    if len(missing) <= most:
        return [f"{every} but {listed(missing, most, 'protocols')}"]
    return [listed(names, most, "protocols")]
