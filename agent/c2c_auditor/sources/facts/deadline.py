"""A socket with one time-out for everything it receives, so that a server that sends slowly cannot delay an audit."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class DeadlineSocket(socket.socket):
    """A socket whose time-out counts from when it is set; it does not start again with each byte."""

    _until: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Allow ``value`` seconds for all that is received from now on."""
        super().settimeout(value)
        self._until = None if value is None else time.monotonic() + value

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive within what is left of the time."""
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            super().settimeout(left)
        return super().recv_into(buffer, nbytes or 0, flags)
