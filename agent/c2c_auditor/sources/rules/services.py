"""Looks up service names, which ``iptables -L`` without ``-n`` prints instead of ports."""

from __future__ import annotations

import socket

# Images without /etc/services still meet the names of the ports that cells use.
_USUAL = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "kerberos": 88, "pop3": 110,
    "sunrpc": 111, "ntp": 123, "imap2": 143, "ldap": 389, "https": 443, "submission": 587, "ldaps": 636,
    "imaps": 993, "pop3s": 995, "ms-sql-s": 1433, "nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389,
    "postgresql": 5432, "amqps": 5671, "amqp": 5672, "redis": 6379, "http-alt": 8080, "webcache": 8080,
    "https-alt": 8443,
}  # fmt: skip


def service_port(name: str) -> int | None:
    """The port that ``name`` stands for on this machine, or usually; None for an unknown name."""
    for protocol in ("tcp", "udp"):
        try:
            return socket.getservbyname(name, protocol)
        except (OSError, ValueError):  # no such service, or text that no name can be
            continue
    return _USUAL.get(name)
