"""L7: the process that listens: metrics, health, readiness, reports. It is forked before any thread exists and holds no capability.

Reports come over a pipe from the process that audits; nothing is ever sent back, so the privileged side reads nothing that this side could have
written. When the pipe ends, so does this process.
"""

from c2c_auditor.server.process import ServerProcess

__all__ = ["ServerProcess"]
