"""A socket in the file system, for those who may be root on the machine: no port, and no certificate.

It is the one file that the agent makes while it runs, and only where ``server.socket`` names a path.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from c2c_auditor.errors import ConfigError

_OWNER_ONLY = 0o177


def bind_path(path: Path) -> socket.socket:
    """A socket at ``path``, not yet listening, that only its owner and root may open.

    What an agent that has ended left there is replaced. Call it before the process has threads: it sets the umask.
    Raises ConfigError where the path holds something else, where another agent answers, or where the kernel refuses.
    """
    mask = os.umask(_OWNER_ONLY)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise ConfigError(f"{path}: cannot listen: {error.strerror or error} (server.socket)") from error
    except ConfigError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that has ended; a socket at which nobody listens refuses its clients."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path}: there is a file of another type already (server.socket)")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ConfigError(f"{path}: another process answers there already (server.socket)")
