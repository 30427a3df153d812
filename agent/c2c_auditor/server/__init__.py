"""L7: the process that listens on the network and serves metrics, health, readiness, reports and answers.

It is forked before any thread exists and holds no capability. It never reads rules or facts itself.

The auditing process sends reports over one pipe. Over a second pipe this process sends questions, each a short line of
JSON; a thread of the auditing process that has dropped its capabilities answers them (`questions`). This process ends
when the pipes end.
"""

from c2c_auditor.server.process import ServerProcess
from c2c_auditor.server.questions import Answers

__all__ = ["Answers", "ServerProcess"]
