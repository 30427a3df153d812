"""L7: the process that listens: metrics, health, readiness, reports, answers.

It is forked before any thread exists and holds no capability.

Reports come over a pipe from the process that audits. Over another one go questions, a short line of JSON each, to a
thread there that has given up its capabilities too (`questions`). When the pipes end, so does this process.
"""

from c2c_auditor.server.answers import Answers
from c2c_auditor.server.process import ServerProcess

__all__ = ["Answers", "ServerProcess"]
