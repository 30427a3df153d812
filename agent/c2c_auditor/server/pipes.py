"""The pipes between the two processes, and the thread that writes reports into one of them."""

from __future__ import annotations

import contextlib
import threading
from multiprocessing.connection import Connection

from attrs import frozen

from c2c_auditor.model.report import Report
from c2c_auditor.server.tls import Credentials


@frozen(kw_only=True)
class ChildPipes:
    """The child's ends of the pipes.

    ``updates`` brings reports and certificates, ``ready`` takes the addresses once the child serves or the error if it
    cannot, ``questions`` takes questions and brings their answers.
    """

    updates: Connection
    ready: Connection
    questions: Connection


class Sender(threading.Thread):
    """Writes reports and certificates into the pipe, so that a listening process that does not read delays no audit.

    Of several reports that wait only the last is sent; of several certificates likewise.
    """

    def __init__(self, pipe: Connection) -> None:
        super().__init__(name="reports", daemon=True)
        self._pipe = pipe
        self._changed = threading.Condition()
        self._next: dict[type, Report | Credentials] = {}
        self._ended = False

    def put(self, update: Report | Credentials) -> None:
        """The next one, in place of one of its type that was not sent yet."""
        with self._changed:
            self._next[type(update)] = update
            self._changed.notify()

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Send until the end, or until the child is gone: that is noticed through `ServerProcess.sentinel`."""
        with self._pipe, contextlib.suppress(OSError):
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._next or self._ended)
                    if self._ended:
                        return
                    _, update = self._next.popitem()
                self._pipe.send(update)
