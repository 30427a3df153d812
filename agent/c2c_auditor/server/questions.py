"""Questions about traffic, sent by the listening process to the auditing process, which alone knows the rules.

A question is a short line of JSON, an answer a status and JSON. Nothing else crosses the pipe, and the auditing side
unpickles nothing. There one thread answers one question at a time from the last scene. It has dropped its capabilities,
and after each answer it sleeps for several times the answer's cost, so that clients cannot keep a cell busy.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

from attrs import frozen

from c2c_auditor.privileges import drop_in_thread

_LONGEST_QUESTION = 4096
_ANSWER_SECONDS = 20.0
# An answer may cost 60 ms on the largest cell; under a constant load of questions this thread takes a fifth of a core.
_REST = 4
_LONGEST_REST_SECONDS = 5.0


@frozen(kw_only=True)
class Answer:
    """An HTTP status and the JSON that goes with it."""

    status: int
    body: bytes


AnswerFunction = Callable[[str, Mapping[str, str]], Answer]


class Answers:
    """What answers at the moment: put by the thread that audits, asked by the one that answers (`QuestionServer`)."""

    def __init__(self) -> None:
        self._current: AnswerFunction | None = None

    def put(self, current: AnswerFunction | None) -> None:
        """Take what answers from the last audit; None while rules cannot be read."""
        self._current = current

    def answer(self, subject: str, arguments: Mapping[str, str]) -> Answer:
        """The answer to one question."""
        current = self._current
        if current is None:
            return refusal(503, "the last audit could not read the rules, or there was none yet")
        return current(subject, arguments)


class QuestionClient:
    """The listening side.

    Any number of threads may use it. At most one of them waits for an answer, so that the others can serve scrapes.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def ask(self, subject: str, arguments: Mapping[str, str]) -> Answer:
        """The answer, or a refusal when the auditing process is busy or gone."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        number = next(self._numbers)
        question = json.dumps([number, subject, dict(arguments)]).encode("ascii")
        if len(question) > _LONGEST_QUESTION:
            return refusal(414, "the question is too long")
        if not self._lock.acquire(blocking=False):
            return refusal(503, "another question is being answered: try again in a moment")
        try:
            self._pipe.send_bytes(question)
            while self._pipe.poll(max(0.0, deadline - time.monotonic())):
                head, _, body = self._pipe.recv_bytes().partition(b" ")
                status, _, answered_number = head.partition(b":")
                if int(answered_number) == number:  # else it belongs to a question whose time was over
                    return Answer(status=int(status), body=body)
        except (OSError, EOFError, ValueError):
            return refusal(503, "the auditing process does not answer")
        finally:
            self._lock.release()
        return refusal(503, "the answer took too long: try again")


class QuestionServer(threading.Thread):
    """The auditing side: answers what comes by ``pipe`` until it ends."""

    def __init__(self, pipe: Connection, answer: AnswerFunction) -> None:
        super().__init__(name="questions", daemon=True)
        self._pipe = pipe
        self._answer = answer

    def run(self) -> None:
        """Answer one question after the other, with a rest after each."""
        drop_in_thread()
        with self._pipe, contextlib.suppress(OSError, EOFError):
            while True:
                question = self._pipe.recv_bytes(_LONGEST_QUESTION)
                started = time.monotonic()
                number, answer = self._answer_to(question)
                self._pipe.send_bytes(b"%d:%d " % (answer.status, number) + answer.body)
                time.sleep(min(_LONGEST_REST_SECONDS, _REST * (time.monotonic() - started)))

    def _answer_to(self, question: bytes) -> tuple[int, Answer]:
        """The question's number and its answer; a malformed question is refused.

        The listening process may have been taken over, so its questions are not trusted.
        """
        try:
            number, subject, arguments = json.loads(question)
        except (ValueError, TypeError, RecursionError):
            return 0, refusal(400, "the question cannot be understood")
        texts = isinstance(arguments, dict) and all(isinstance(value, str) for value in arguments.values())
        if not (isinstance(number, int) and isinstance(subject, str) and texts):
            return 0, refusal(400, "the question cannot be understood")
        try:
            return number, self._answer(subject, arguments)
        except Exception as error:  # noqa: BLE001 - one failed question must not end the thread
            return number, refusal(500, f"this question cannot be answered: {type(error).__name__}: {error}")


def refusal(status: int, why: str) -> Answer:
    """An answer that only says why there is none."""
    return Answer(status=status, body=json.dumps({"error": why}).encode("ascii"))
