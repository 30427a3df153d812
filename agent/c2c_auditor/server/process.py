"""The two sides of the fork: the process that audits, which hands reports over, and its child, which serves them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

from attrs import evolve

from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import AuditorError, ConfigError
from c2c_auditor.model.report import Report
from c2c_auditor.privileges import drop_all
from c2c_auditor.server.listener import Listener, tls_context
from c2c_auditor.server.questions import Answering, QuestionClient, QuestionServer
from c2c_auditor.server.routes import Latest, application, health_application

_STARTUP_SECONDS = 15.0
_STOP_SECONDS = 0.8
_WATCH_SECONDS = 0.5


def _serve(reports: Connection, ready: Connection, question_client: QuestionClient, settings: ServerSettings) -> None:
    """The child's life.

    Its main thread takes reports and watches the clients; for each listener another accepts, and a fixed number
    answers.
    """
    latest = Latest()
    try:
        listeners = _listeners(settings, latest, question_client)
        addresses = [listener.listen() for listener in listeners]
    except AuditorError as error:
        ready.send_bytes(f"error {error}".encode())
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the auditing process decides
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, lambda *_: listeners[0].renew())  # the other has no certificate
    ready.send_bytes(" ".join(addresses).encode())
    ready.close()
    for listener in listeners:
        threading.Thread(target=listener.serve, name="http", daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            if reports.poll(_WATCH_SECONDS):
                latest.put(reports.recv())
            for listener in listeners:
                listener.lose_patience()
    os._exit(0)


def _listeners(settings: ServerSettings, latest: Latest, question_client: QuestionClient) -> tuple[Listener, ...]:
    """The one that everybody asks, and the one for supervisors.

    The first that listens drops the capabilities; the second then has none to drop.
    """
    main = Listener(
        settings,
        application(latest, question_client, ready_max_age=settings.ready_max_age, pid=os.getppid()),
        bound=drop_all,
    )
    if settings.health_port is None:
        return (main,)
    local = evolve(settings, address="127.0.0.1", port=settings.health_port, tls=None, threads=1)
    return main, Listener(local, health_application(latest, ready_max_age=settings.ready_max_age), bound=drop_all)


class _Sender(threading.Thread):
    """Writes reports into the pipe, so that a listening process that takes none holds up no audit.

    Of those that it missed it gets the last.
    """

    def __init__(self, pipe: Connection) -> None:
        super().__init__(name="reports", daemon=True)
        self._pipe = pipe
        self._next: queue.Queue[Report | None] = queue.Queue(maxsize=1)

    def put(self, report: Report | None) -> None:
        """The next one, in place of one that was not sent yet; None is the end. For one caller only."""
        with contextlib.suppress(queue.Empty):
            self._next.get_nowait()
        self._next.put_nowait(report)

    def run(self) -> None:
        """Send until the end, or until nobody listens: that is noticed through `ServerProcess.sentinel`."""
        with self._pipe, contextlib.suppress(OSError):
            while (report := self._next.get()) is not None:
                self._pipe.send(report)


class ServerProcess:
    """The forked child, from the auditing process's side.

    Use as a context manager; raises ConfigError when the child cannot serve.
    """

    def __init__(self, settings: ServerSettings, answer: Answering) -> None:
        """``answer`` is called in a thread of this process's, for one question after the other."""
        context = multiprocessing.get_context("fork")
        self._settings = settings
        self._reports: Connection
        receiving, self._reports = context.Pipe(duplex=False)
        told, telling = context.Pipe(duplex=False)
        self._questions, asking = context.Pipe(duplex=True)
        self._child: BaseProcess = context.Process(
            target=self._run, args=(receiving, telling, asking, settings), daemon=True
        )
        self._child.start()
        receiving.close()
        telling.close()
        asking.close()
        try:
            said = (
                told.recv_bytes(4096).decode()
                if told.poll(_STARTUP_SECONDS)
                else "error the server did not start in time"
            )
        except EOFError:
            said = "error the server ended before it could say why: see standard error"
        told.close()
        if said.startswith("error "):
            self._child.join(_STOP_SECONDS)
            raise ConfigError(said.removeprefix("error "))
        self.address, *health = said.split()
        self.health_address = health[0] if health else None
        self._sender = _Sender(self._reports)  # the first threads of this process, and only after the fork
        self._sender.start()
        QuestionServer(self._questions, answer).start()

    def _run(self, receiving: Connection, telling: Connection, asking: Connection, settings: ServerSettings) -> None:
        self._reports.close()  # the child's copies of the other ends: without this the pipes would never end
        self._questions.close()
        _serve(receiving, telling, QuestionClient(asking), settings)

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the child has ended."""
        return self._child.sentinel

    def publish(self, report: Report) -> None:
        """Hand over a report, without waiting for anybody. A child that is gone is noticed through `sentinel`."""
        self._sender.put(report)

    def reload(self) -> None:
        """Make the child read its certificates again.

        Raises ConfigError if they are broken; the old ones then stay in use.
        """
        if self._settings.tls is not None:
            tls_context(self._settings.tls)  # the child cannot say what it thinks of them
        if self._child.pid is not None and self._child.is_alive():
            os.kill(self._child.pid, signal.SIGHUP)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.put(None)
        self._child.join(_STOP_SECONDS)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        self._sender.join()
