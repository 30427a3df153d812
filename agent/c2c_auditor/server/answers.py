"""The auditing process's answers to questions: an explanation or the matrix, worked out from a scene."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address

from c2c_auditor.audit.questions.cells import Cell
from c2c_auditor.audit.questions.explanation import Elsewhere, explain, parse_flow
from c2c_auditor.audit.questions.lookup import about, find
from c2c_auditor.audit.questions.matrix import Named, Only, Wanted, matrix
from c2c_auditor.audit.scene import Scene
from c2c_auditor.errors import EvaluationError, UsageError
from c2c_auditor.export.explained import explanation_document, print_explanation
from c2c_auditor.export.lines import PlainLines
from c2c_auditor.export.traffic import matrix_document
from c2c_auditor.server.questions import Answer, AnswerFunction, refusal

_MOST_LINES = 2000


def answering(scene: Scene | None) -> AnswerFunction | None:
    """What answers from ``scene``, which holds everything that a question needs; None without a scene."""
    return partial(_answer, scene) if scene is not None else None


def _answer(scene: Scene, subject: str, arguments: Mapping[str, str]) -> Answer:
    """The answer to a question by its subject.

    ``explain`` takes source, destination and flow, address and mark (of the end on another cell), and text for the
    words that people get; ``end`` takes name; ``matrix`` takes source and destination (as explain does), from and
    to (parts of their names), differences, first and most (of the lines).
    """
    try:
        if subject == "explain":
            return _explain(scene, arguments)
        if subject == "end":
            return _end(scene, arguments)
        return _matrix(scene, arguments)
    except UsageError as error:
        return refusal(400, str(error))
    except EvaluationError as error:
        return refusal(409, str(error))


def _explain(scene: Scene, arguments: Mapping[str, str]) -> Answer:
    if "source" not in arguments or "destination" not in arguments:
        return refusal(400, "give ?source=…&destination=…; &flow=8080/tcp is optional")
    flow = parse_flow(arguments["flow"]) if "flow" in arguments else None
    source, destination = arguments["source"], arguments["destination"]
    cells = about((scene.questioned,), source, destination)
    document = explanation_document(explain(cells, source, destination, flow, elsewhere=_elsewhere(arguments)))
    if arguments.get("text") != "1":
        return _ok(document)
    lines = PlainLines()
    print_explanation(document, lines)
    return _ok({"text": lines.text()})


def _elsewhere(arguments: Mapping[str, str]) -> Elsewhere:
    """What is known of the end on another cell. Raises UsageError."""
    mark, address = arguments.get("mark"), arguments.get("address")
    if mark is not None and not re.fullmatch(r"0x[0-9a-f]{1,8}", mark):
        raise UsageError(f"mark={mark}: give it as 0x and hexadecimal digits")
    try:
        at = ip_address(address) if address is not None else None
    except ValueError as error:
        raise UsageError(f"address={address}: this is no address") from error
    return Elsewhere(address=at, mark=int(mark, 16) if mark is not None else None)


def _end(scene: Scene, arguments: Mapping[str, str]) -> Answer:
    """Which app and which containers of this cell a name means: for whoever asks several cells about one path."""
    if "name" not in arguments:
        return refusal(400, "give ?name=…: an app's name or guid, a handle or an address")
    name = arguments["name"]
    end = find(name, tuple(map(Cell.of, about((scene.questioned,), name))))
    containers = [{"handle": one.container.handle, "address": str(one.container.address)} for one in end.containers]
    return _ok({"app": end.app, "containers": containers})


def _matrix(scene: Scene, arguments: Mapping[str, str]) -> Answer:
    if scene.judgement.reach is None:
        return refusal(409, "reachability is not known: see the notes of /api/v1/report")
    first, most = _number(arguments, "first", 0), min(_number(arguments, "most", _MOST_LINES), _MOST_LINES)
    differences = arguments.get("differences") == "1"
    found = matrix(scene.reached, differences=differences, only=_wanted(scene, arguments), first=first, most=most)
    return _ok(matrix_document(found))


def _wanted(scene: Scene, arguments: Mapping[str, str]) -> Wanted:
    """The lines between two ends, or those with certain parts in their names. Raises UsageError."""
    if "source" in arguments or "destination" in arguments:
        inputs = (inputs for inputs, _ in scene.reached)
        return Only.of(inputs, arguments.get("source"), arguments.get("destination"))
    return Named(source=arguments.get("from", ""), destination=arguments.get("to", ""))


def _number(arguments: Mapping[str, str], name: str, default: int) -> int:
    """A number of lines. Raises UsageError."""
    given = arguments.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", given):
        raise UsageError(f"{name}={given}: give a number of lines")
    return int(given)


def _ok(document: dict[str, object]) -> Answer:
    return Answer(status=200, body=json.dumps(document).encode("ascii"))
