"""The fork: the auditing process, which sends reports, and its child, the listening process, which serves them.

Pipes, the order in which privileges are dropped, and the threads of both sides belong here; what a path answers belongs
to `routes`, how sockets are handled to `listener`.
"""

from __future__ import annotations

import contextlib
import encodings.ascii
import encodings.idna  # noqa: F401 - imported before the change of user: the new user may not read the library's files
import gc
import json
import multiprocessing
import os
import resource
import signal
import socket
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

from attrs import evolve, frozen

from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import AuditorError, ConfigError
from c2c_auditor.export.bounded import bounded
from c2c_auditor.model.report import Report
from c2c_auditor.privileges import drop_all, drop_bounding_set, end_with_parent, set_limit, switch_user
from c2c_auditor.server.listener import Listener, bind
from c2c_auditor.server.local import bind_path
from c2c_auditor.server.pages import Templates
from c2c_auditor.server.questions import AnswerFunction, QuestionClient, QuestionServer
from c2c_auditor.server.routes import LatestReport, application, health_application, local_application
from c2c_auditor.server.tls import Credentials, tls_context

_STARTUP_SECONDS = 15.0
_STOP_SECONDS = 0.8
_WATCH_SECONDS = 0.5
# Bounds of the listening process: several times what 400 connections and the largest report take.
_DATA_BYTES = 512 << 20
_DESCRIPTORS = 1024
# Of those that answer on the machine itself: one may wait for the auditing process.
_LOCAL_THREADS = 2
# Of a thread's stack all counts as data, used or not.
_STACK_BYTES = 1 << 20


@frozen(kw_only=True)
class _ChildPipes:
    """The child's ends of the pipes.

    ``updates`` brings reports and certificates, ``ready`` takes the addresses once the child serves or the error if it
    cannot, ``questions`` takes questions and brings their answers.
    """

    updates: Connection
    ready: Connection
    questions: Connection


def _serve(pipes: _ChildPipes, settings: ServerSettings, credentials: Credentials | None) -> None:
    """Run the child until its pipes end.

    Its main thread receives reports and certificates and closes overdue connections. Each listener has one thread that
    accepts and a fixed number of threads that answer.
    """
    gc.freeze()  # what the fork brought along lives as long as this process
    latest = LatestReport()
    try:
        listeners = _listeners(settings, latest, pipes, credentials)
        for listener in listeners:
            listener.prepare()
    except AuditorError as error:
        pipes.ready.send_bytes(f"error {error}".encode())
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the auditing process decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # likewise
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for listener in listeners:
        threading.Thread(target=listener.serve, name="http", daemon=True).start()
    set_limit(resource.RLIMIT_NPROC, 0)  # every thread is there
    pipes.ready.send_bytes(json.dumps([_address(listener) for listener in listeners]).encode())
    pipes.ready.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            if pipes.updates.poll(_WATCH_SECONDS):
                update = pipes.updates.recv()
                if isinstance(update, Credentials):
                    with contextlib.suppress(ConfigError):  # `ServerProcess.reload` has tried them
                        listeners[0].renew(tls_context(update))  # the other has no certificate
                else:
                    latest.put(update)
            for listener in listeners:
                listener.close_overdue()
    os._exit(0)


def _listeners(
    settings: ServerSettings, latest: LatestReport, pipes: _ChildPipes, credentials: Credentials | None
) -> tuple[Listener, ...]:
    """The listener for clients, then those that are set of: health checks, the machine's own clients, the socket.

    Privileges are dropped once all are bound.
    """
    context = tls_context(credentials) if credentials is not None else None
    main = bind(settings)
    health = _bind_loopback(settings, settings.health_port)
    local = [*_bind_loopback(settings, settings.local_port)]
    if settings.socket is not None:
        local.append(bind_path(settings.socket))
    templates = Templates.read()
    auditor = os.getppid()
    _drop_privileges(settings.user, auditor)
    questions = QuestionClient(pipes.questions)
    everything = application(latest, questions, templates, ready_max_age=settings.ready_max_age, pid=auditor)
    only_health = health_application(latest, ready_max_age=settings.ready_max_age)
    # One thread may wait for the auditing process (`QuestionClient`); the others are for scrapes.
    return (
        Listener(main, everything, threads=settings.threads + 1, context=context),
        *(Listener(bound, only_health, threads=1) for bound in health),
        *(Listener(bound, local_application(everything), threads=_LOCAL_THREADS) for bound in local),
    )


def _bind_loopback(settings: ServerSettings, port: int | None) -> tuple[socket.socket, ...]:
    """The socket of a further listener without TLS, none without a port."""
    return (bind(evolve(settings, address="127.0.0.1", port=port, tls=None)),) if port is not None else ()


def _address(listener: Listener) -> str:
    address = listener.bind_addr
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _drop_privileges(user: str | None, auditor: int) -> None:
    """Drop every privilege that an attacker in this process could use, before its first thread starts.

    Raises AuditorError where that cannot be done.
    """
    drop_bounding_set()  # while there is the right to
    switch_user(user)
    drop_all()
    end_with_parent(auditor)
    threading.stack_size(_STACK_BYTES)
    set_limit(resource.RLIMIT_DATA, _DATA_BYTES)
    set_limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    set_limit(resource.RLIMIT_CORE, 0)  # the server's key is in its memory


class _Sender(threading.Thread):
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


class ServerProcess:
    """The forked child, from the auditing process's side.

    Use as a context manager; raises ConfigError when the child cannot serve.
    """

    def __init__(self, settings: ServerSettings, answer: AnswerFunction) -> None:
        """``answer`` is called in a thread of this process's, for one question after the other."""
        context = multiprocessing.get_context("fork")
        self._settings = settings
        update_receiver, self._updates = context.Pipe(duplex=False)
        ready_pipe, ready_sender = context.Pipe(duplex=False)
        self._questions, question_pipe = context.Pipe(duplex=True)
        self._child: BaseProcess = context.Process(
            target=self._run,
            args=(
                _ChildPipes(updates=update_receiver, ready=ready_sender, questions=question_pipe),
                settings,
                self._credentials(),
            ),
            daemon=True,
        )
        self._child.start()
        for end in (update_receiver, ready_sender, question_pipe):
            end.close()
        self.address, *others = self._await_start(ready_pipe)
        self.health_address = others.pop(0) if settings.health_port is not None else None
        self.local_address = others.pop(0) if settings.local_port is not None else None
        self._sender = _Sender(self._updates)  # the first threads of this process, and only after the fork
        self._sender.start()
        QuestionServer(self._questions, answer).start()

    def _await_start(self, ready_pipe: Connection) -> list[str]:
        """The addresses at which the child serves. Raises ConfigError with the child's message when it cannot serve."""
        with ready_pipe:
            try:
                message = (
                    ready_pipe.recv_bytes(4096).decode()
                    if ready_pipe.poll(_STARTUP_SECONDS)
                    else "error the server did not start in time"
                )
            except EOFError:
                message = "error the server ended before it could say why: see standard error"
        if message.startswith("error "):
            self._child.join(_STOP_SECONDS)
            raise ConfigError(message.removeprefix("error "))
        addresses: list[str] = json.loads(message)
        return addresses

    def _credentials(self) -> Credentials | None:
        return Credentials.read(self._settings.tls) if self._settings.tls is not None else None

    def _run(self, pipes: _ChildPipes, settings: ServerSettings, credentials: Credentials | None) -> None:
        self._updates.close()  # the child's copies of the other ends: without this the pipes would never end
        self._questions.close()
        _serve(pipes, settings, credentials)

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the child has ended."""
        return self._child.sentinel

    def publish(self, report: Report) -> None:
        """Hand over a report of bounded size, without waiting. A child that is gone is noticed through `sentinel`."""
        self._sender.put(bounded(report))

    def reload(self) -> None:
        """Read the certificates again and hand them to the child.

        Raises ConfigError if they are broken; the old ones then stay in use.
        """
        credentials = self._credentials()
        if credentials is not None:
            tls_context(credentials)  # the child cannot say what is wrong with them
            self._sender.put(credentials)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.end()
        self._child.join(_STOP_SECONDS)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        self._sender.join()
