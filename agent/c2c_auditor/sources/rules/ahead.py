"""Receives the rules of large chains by a thread, while those that came before are decoded.

The kernel writes the answer to a dump while it is being received, which takes it about as long as Python to decode it.
Both together take two processors; on one they take turns, as they would anyway.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

from c2c_auditor.sources.rules.committers import TURN_SECONDS
from c2c_auditor.sources.rules.netlink import Requests

Place = tuple[int, str, str]
"""A chain: family, table and name."""
_WAITING = 2
"""How often what came together, up to 512 KiB, may wait to be decoded."""
_TURN_SECONDS = 0.0002
"""How long this thread waits for its turn at most, while another one decodes: the kernel does nothing meanwhile."""


class Ahead:
    """The rules of ``chains``, one chain after the other. Use as a context manager.

    The thread has a socket of its own, in the network namespace of the caller, and ends with its last chain, or soon
    after the context is left.
    """

    def __init__(self, chains: Sequence[Place]) -> None:
        self._chains = chains
        self._received: SimpleQueue[list[bytes] | BaseException | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(_WAITING):
            self._room.put(None)
        self._left = False

    def __enter__(self) -> Ahead:
        if self._chains:
            threading.Thread(target=self._receive, name="dumps", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._room.put(None)

    def next_rules(self) -> Iterator[bytes]:
        """The datagrams of the next chain's rules. Raises what the thread met."""
        while (received := self._received.get()) is not None:
            if isinstance(received, BaseException):
                raise received
            yield from received
            self._room.put(None)

    def _receive(self) -> None:
        before = sys.getswitchinterval()
        sys.setswitchinterval(_TURN_SECONDS)
        try:
            with Requests(many=True) as requests:
                for chain in self._chains:
                    for together in requests.rules_together(*chain):
                        self._room.get()
                        if self._left:
                            return
                        self._received.put(together)
                    self._received.put(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
            self._received.put(error)
        finally:  # as short as `Committers`, which may have begun meanwhile, wants it
            sys.setswitchinterval(min(before, TURN_SECONDS))
