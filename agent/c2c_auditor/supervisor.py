"""L7: what systemd is told of the agent: that it answers, that it lives, that it ends (sd_notify(3)).

One datagram each to $NOTIFY_SOCKET, which systemd sets for units of Type=notify. Without it nobody is told. A message
that cannot be sent is dropped: what the agent is for does not depend on it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class Supervisor:
    """Tells whoever started the agent with the variables in ``environment``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with @ stands for one that is in no file system.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._patience = int(environment.get("WATCHDOG_USEC", "0")) / 1e6

    def ready(self, longest: float) -> None:
        """The listener answers and audits begin; ``longest`` seconds may pass between two calls of `alive`.

        Where the unit's WatchdogSec is less than that it is raised.
        """
        raised = f"\nWATCHDOG_USEC={round(longest * 1e6)}" if 0 < self._patience < longest else ""
        self._send(f"READY=1{raised}")

    def alive(self) -> None:
        """The loop goes round."""
        if self._patience > 0:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The loop has ended."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            sock.sendto(message.encode(), self._address)
