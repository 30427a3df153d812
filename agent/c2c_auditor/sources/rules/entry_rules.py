"""A cache of decoded entries of legacy tables, keyed by the bytes that make their rules."""

from __future__ import annotations

from struct import Struct

from c2c_auditor.model import rule as r
from c2c_auditor.netfilter.binary.entries import LAYOUTS, decode_entry, parts_of

_JUMP_DATA = 8

Key = bytes | tuple[bytes, bytes]


class EntryRules:
    """Rules by entry: equal parts give the identical `Rule`.

    Parts are cut out by layout, and the layout is not known before they are; but entries of one size rarely have more
    than two layouts, so each is tried. An entry that is found under a layout has that layout, because the names and
    sizes in it are part of what was found.
    """

    def __init__(self, family: r.AddressFamily = r.AddressFamily.IPV4) -> None:
        self._family = family
        self._sizes = LAYOUTS[family].sizes
        self._shapes: dict[bytes, list[_Shape]] = {}

    def __len__(self) -> int:
        return sum(len(shape.known) for shapes in self._shapes.values() for shape in shapes)

    def rule(self, entry: bytes, chain: bytes | None) -> r.Rule:
        """The rule of ``entry``; ``chain`` is its chain if it is a jump.

        Raises NotUnderstood for bytes that the kernel cannot have given.
        """
        for shape in self._shapes.get(entry[self._sizes], ()):
            key = shape.key(entry, chain)
            rule = shape.known.get(key)
            if rule is not None:
                shape.used[key] = rule
                return rule
        return self._learn(entry, chain)

    def forget_unused(self) -> None:
        """Drop the rules that were not looked up since the last call."""
        for shapes in self._shapes.values():
            for shape in shapes:
                shape.known, shape.used = shape.used, {}
            shapes[:] = [shape for shape in shapes if shape.known]
        self._shapes = {sizes: shapes for sizes, shapes in self._shapes.items() if shapes}

    def _learn(self, entry: bytes, chain: bytes | None) -> r.Rule:
        new = _Shape(parts_of(entry, self._family))
        shapes = self._shapes.setdefault(entry[self._sizes], [])
        shape = next((shape for shape in shapes if shape.parts.format == new.parts.format), new)
        if shape is new:
            shapes.append(new)
        key = shape.key(entry, chain)
        name = None if chain is None else chain.decode("utf-8", "surrogateescape")
        rule = shape.known[key] = shape.used[key] = decode_entry(entry, name, self._family)
        return rule


class _Shape:
    """The rules of entries of one layout: all ``known``, and those ``used`` since `forget_unused` last ran."""

    def __init__(self, parts: Struct) -> None:
        self.parts = parts
        self.known: dict[Key, r.Rule] = {}
        self.used: dict[Key, r.Rule] = {}

    def key(self, entry: bytes, chain: bytes | None) -> Key:
        """The bytes that make the rule of an entry of this layout.

        A jump's offset moves with every rule before it: its chain stands for it.
        """
        parts = b"".join(self.parts.unpack(entry))
        return parts if chain is None else (parts[:-_JUMP_DATA], chain)
