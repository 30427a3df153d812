"""What one commit of somebody else than silk did to the rules."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Change:
    """One commit. ``seen`` is when the agent read it, in seconds since the epoch.

    ``process`` is cut at 15 bytes; ``parent`` is empty where the process was gone before it could be looked up.
    ``chains`` are those that it named, with their tables. ``added`` and ``removed`` are rules as iptables prints them,
    the first few; ``left_out`` counts the others.
    """

    seen: float
    generation: int
    pid: int
    process: str
    parent: str = ""
    chains: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left_out: int = 0
