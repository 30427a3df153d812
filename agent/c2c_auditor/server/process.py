"""The fork: the auditing process, which sends reports, and its child, the listening process, which serves them.

The fork and both ends of the pipes belong here; what the child does belongs to `serving`.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
from multiprocessing.process import BaseProcess
from types import TracebackType

from c2c_auditor.config import ServerSettings
from c2c_auditor.errors import ConfigError
from c2c_auditor.export.bounded import bounded
from c2c_auditor.model.report import Report
from c2c_auditor.server.pipes import ChildPipes, Sender
from c2c_auditor.server.questions import AnswerFunction, QuestionServer
from c2c_auditor.server.tls import Credentials, tls_context

_STARTUP_SECONDS = 15.0
_STOP_SECONDS = 0.8


class ServerProcess:
    """The forked child, from the auditing process's side.

    Making one forks, so it comes before every thread. As a context manager it waits until the child serves.
    """

    def __init__(self, settings: ServerSettings, answer: AnswerFunction) -> None:
        """``answer`` is called in a thread of this process's, for one question after the other.

        Raises ConfigError when the certificates cannot be read.
        """
        context = multiprocessing.get_context("fork")
        self._settings = settings
        self._answer = answer
        credentials = self._credentials()
        update_receiver, self._updates = context.Pipe(duplex=False)
        self._ready, ready_sender = context.Pipe(duplex=False)
        self._questions, question_pipe = context.Pipe(duplex=True)
        pipes = ChildPipes(updates=update_receiver, ready=ready_sender, questions=question_pipe)
        self._child: BaseProcess = context.Process(target=self._run, args=(pipes, credentials), daemon=True)
        # A page that either process writes to is held twice from then on, and the collector writes to all it looks at.
        gc.freeze()
        self._child.start()
        for end in (update_receiver, ready_sender, question_pipe):
            end.close()
        self._sender = Sender(self._updates)

    def __enter__(self) -> ServerProcess:
        """Wait until the child serves. Raises ConfigError when it cannot."""
        self.address, *others = self._await_start()
        self.health_address = others.pop(0) if self._settings.health_port is not None else None
        self.local_address = others.pop(0) if self._settings.local_port is not None else None
        self._sender.start()  # the first threads of this process, and only after the fork
        QuestionServer(self._questions, self._answer).start()
        return self

    def _await_start(self) -> list[str]:
        """The addresses at which the child serves. Raises ConfigError with the child's message when it cannot serve."""
        with self._ready:
            try:
                message = (
                    self._ready.recv_bytes(4096).decode()
                    if self._ready.poll(_STARTUP_SECONDS)
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

    def _run(self, pipes: ChildPipes, credentials: Credentials | None) -> None:
        for end in (self._updates, self._questions, self._ready):
            end.close()  # the child's copies of the other ends: without this the pipes would never end
        # Imported by the child alone: so this process does not hold the libraries that serve.
        from c2c_auditor.server.serving import serve  # noqa: PLC0415

        serve(pipes, self._settings, credentials)

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sender.end()
        self._child.join(_STOP_SECONDS)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()
        self._sender.join()
