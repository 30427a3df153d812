"""The server's certificate: the auditing process reads it, the listening process uses it.

Only root may be allowed to read the files, and the listening process runs as another user when a new certificate comes.
So the auditing process reads the files and sends their bytes.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import field, frozen

from c2c_auditor.config import TlsSettings
from c2c_auditor.errors import ConfigError
from c2c_auditor.sources.files import shown_by

# A bundle of every public CA is a quarter of this.
_MOST_BYTES = 1 << 20


@frozen(kw_only=True)
class Credentials:
    """The contents of the files in ``settings``, in PEM; ``client_ca`` is None if clients need no certificate."""

    settings: TlsSettings
    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None

    @classmethod
    def read(cls, settings: TlsSettings) -> Credentials:
        """The files as they are now. Raises ConfigError that names the one that cannot be read."""
        return cls(
            settings=settings,
            certificate=_contents(settings.certificate),
            key=_contents(settings.key),
            client_ca=_contents(settings.client_ca) if settings.client_ca is not None else None,
        )


def _contents(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK the opening of a FIFO waits for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: it is no regular file (server.tls)")
            contents = file.read(_MOST_BYTES + 1)
    except OSError as error:
        remedy = shown_by(path) if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror} (server.tls){remedy}") from error
    if len(contents) > _MOST_BYTES:
        raise ConfigError(f"{path}: it is larger than {_MOST_BYTES} bytes (server.tls)")
    return contents


def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """A server's context: TLS 1.2 and newer, with client certificates demanded where there is a client CA.

    Raises ConfigError that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    blamed = credentials.settings.certificate
    try:
        with _file(credentials.certificate) as certificate, _file(credentials.key) as key:
            # Without a password given, an encrypted key would ask the terminal for one.
            context.load_cert_chain(certificate, key, password="")
        if credentials.client_ca is not None:
            blamed = credentials.settings.client_ca or blamed
            context.load_verify_locations(cadata=credentials.client_ca.decode("ascii", "replace"))
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise ConfigError(f"{blamed}: not a usable certificate: {error} (server.tls)") from error
    return context


@contextlib.contextmanager
def _file(contents: bytes) -> Iterator[str]:
    """A name under which OpenSSL can open ``contents``, which stay in memory: `ssl` takes a key from a file only."""
    descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(contents)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
