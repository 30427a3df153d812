"""The listening process itself, behind the fork: its sockets, its threads, and how it gives up its privileges.

It alone imports the libraries that serve, and nothing that audits (`process`).
"""

from __future__ import annotations

import contextlib
import encodings.ascii
import encodings.idna  # noqa: F401 - imported before the change of user: the new user may not read the library's files
import gc
import json
import os
import resource
import signal
import socket
import threading

from attrs import evolve

from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import AuditorError, ConfigError
from c2c_auditor.privileges import drop_all, drop_bounding_set, end_with_parent, set_limit, switch_user
from c2c_auditor.server.listener import Listener, bind
from c2c_auditor.server.local import bind_path
from c2c_auditor.server.pages import Templates
from c2c_auditor.server.pipes import ChildPipes
from c2c_auditor.server.questions import QuestionClient
from c2c_auditor.server.routes import LatestReport, application, health_application, local_application
from c2c_auditor.server.tls import Credentials, tls_context

# How often overdue connections are looked for. Without a client a look twice a second would be most of what the process
# costs; the first client after that may be late by so much longer.
_WATCH_SECONDS, _IDLE_SECONDS = 0.5, 2.0
# Bounds of the listening process: several times what 400 connections and the largest report take.
_DATA_BYTES = 512 << 20
_DESCRIPTORS = 1024
# Of those that answer on the machine itself: one may wait for the auditing process.
_LOCAL_THREADS = 2
# Of a thread's stack all counts as data, used or not.
_STACK_BYTES = 1 << 20


def serve(pipes: ChildPipes, settings: ServerSettings, credentials: Credentials | None) -> None:
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
        clients = True
        while True:
            if pipes.updates.poll(_WATCH_SECONDS if clients else _IDLE_SECONDS):
                update = pipes.updates.recv()
                if isinstance(update, Credentials):
                    with contextlib.suppress(ConfigError):  # `ServerProcess.reload` has tried them
                        listeners[0].renew(tls_context(update))  # the other has no certificate
                else:
                    latest.put(update)
            connected = [listener.close_overdue() for listener in listeners]
            clients = any(connected)
    os._exit(0)


def _listeners(
    settings: ServerSettings, latest: LatestReport, pipes: ChildPipes, credentials: Credentials | None
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
