"""TLS towards the policy server: both sides show certificates, and one deadline bounds each answer."""

from __future__ import annotations

import ssl
from pathlib import Path

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.sources.facts.deadline import DeadlineSocket
from c2c_auditor.sources.files import read_text_file

_MOST_BYTES = 4 << 20


class _Socket(DeadlineSocket, ssl.SSLSocket):
    """A TLS socket with a deadline."""


def mutual_tls(ca_file: Path, certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """A context that verifies the server and shows it a certificate. Raises SourceError that names the file."""
    for path in (ca_file, certificate_file, key_file):
        # OpenSSL would block on a FIFO, and does not say which file it could not read. So each is read here first.
        read_text_file(path, source="policy_server", most=_MOST_BYTES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    where = str(ca_file)
    try:
        context.load_verify_locations(cafile=ca_file)
        where = f"{certificate_file} and {key_file}"
        # With a password given, OpenSSL refuses an encrypted key instead of prompting on the terminal.
        context.load_cert_chain(certificate_file, key_file, password="")
    except ssl.SSLError as error:
        problem = f"no usable PEM, or not of one pair: {describe_tls_error(error)}"
        raise SourceError(
            source="policy_server",
            reason=Reason.TLS,
            where=where,
            problem=problem,
            remedy="render the certificates again",
        ) from error
    return context


def describe_tls_error(cause: BaseException) -> str:
    """What OpenSSL or the system says went wrong, without the names of objects."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else f"{cause!r:.200}"
