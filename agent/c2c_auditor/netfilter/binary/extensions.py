"""Decodes one match or target of xtables by its name, its revision and its data.

Legacy tables and nf_tables' compat expressions hold the same bytes. A match or target without a layout in `matches` or
`target_data`, or with options that its value has no word for, is kept whole: its name, its revision, and its bytes in
hexadecimal. iptables-save would print its options in words of its own, which only its shared library knows, so such a
value never equals the one that a text gives. Since Linux 4.11 the kernel blanks whatever it keeps in these bytes for
itself (x_tables.c, ``xt_data_to_user``), so they compare.
"""

from __future__ import annotations

from c2c_auditor.errors import NotUnderstood
from c2c_auditor.model import rule as r
from c2c_auditor.netfilter import canonical
from c2c_auditor.netfilter.binary.matches import MATCHES
from c2c_auditor.netfilter.binary.target_data import TARGETS
from c2c_auditor.netfilter.cached import cached


@cached
def decode_match(family: r.AddressFamily, module: str, revision: int, data: bytes) -> r.Match | None:
    """One match; None for one that matches everything. Remembered by its bytes: most matches of a cell repeat."""
    decoder = MATCHES[family].get((module, revision))
    if decoder is not None:
        try:
            found = decoder(data)
            return found if found is None else canonical.shared(found)
        except NotUnderstood:
            pass
    return r.OpaqueMatch(module=module, arguments=_opaque(revision, data))


@cached
def decode_target(family: r.AddressFamily, name: str, revision: int, data: bytes) -> r.Target:
    """One target that has a name of its own."""
    decoder = TARGETS[family].get((name, revision))
    if decoder is not None:
        try:
            return canonical.shared(decoder(data))
        except NotUnderstood:
            pass
    return r.OpaqueTarget(name=name, arguments=_opaque(revision, data))


def _opaque(revision: int, data: bytes) -> tuple[str, ...]:
    return f"revision {revision}", data.hex()
