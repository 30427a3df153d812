"""libiptc as python-iptables brings it along: copies of legacy tables, and a walk through them by address."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.family import AddressFamily

ABSENT = (errno.ENOENT, errno.ENOPROTOOPT)
"""What the kernel says of a table that is not there."""


@frozen(kw_only=True)
class Libiptc:
    """libiptc's functions with plain addresses in and out.

    The pointer objects that python-iptables declares cost more than the walk.
    """

    init: Callable[[bytes], int | None]
    free: Callable[[int], None]
    first_chain: Callable[[int], bytes | None]
    next_chain: Callable[[int], bytes | None]
    get_policy: Callable[[bytes, ctypes.Array[ctypes.c_char], int], bytes | None]
    first_rule: Callable[[bytes, int], int | None]
    next_rule: Callable[[int, int], int | None]
    get_target: Callable[[int, int], bytes]

    @contextmanager
    def opened(self, table: str) -> Iterator[int | None]:
        """A copy of ``table`` as a handle, None if there is no such table.

        A table that could be there is *made* by opening it.
        """
        handle = self.init(table.encode())
        number = ctypes.get_errno()
        if not handle and number not in ABSENT:
            denied = number in (errno.EPERM, errno.EACCES)
            raise failed(
                Reason.PERMISSION if denied else Reason.FAILED,
                f"cannot open table {table}: {os.strerror(number)}",
                "give the agent CAP_NET_ADMIN and CAP_NET_RAW"
                if denied
                else f"try `iptables-legacy-save -t {table}`, for IPv6 ip6tables-legacy-save",
            )
        try:
            yield handle
        finally:
            if handle:
                self.free(handle)


def load(family: AddressFamily = AddressFamily.IPV4) -> Libiptc:
    """Import python-iptables and return libiptc's functions for ``family``.

    Raises SourceError when it or a library that it needs is missing.

    The import has effects, so it does not stand at the top of a module: it runs ``ldconfig -p`` to find libraries, and
    ``modprobe`` for ip_tables and ip6_tables, whatever the family.
    """
    try:
        with _nothing_written(), _without_distutils(), warnings.catch_warnings():
            # Its source (1.2.0: ip4tc.py, xtables.py) has invalid escape sequences, of which every Python warns that
            # compiles it: with a DeprecationWarning before 3.12, a SyntaxWarning since. Any other warning is heard.
            for category in (DeprecationWarning, SyntaxWarning):
                warnings.filterwarnings("ignore", message=".*invalid escape sequence", category=category)
            from iptc.ip4tc import iptc  # noqa: PLC0415 - see the docstring
            from iptc.ip6tc import ip6tc  # noqa: PLC0415 - see the docstring
    except Exception as error:  # what goes wrong while it looks for libraries may be of any kind
        raise failed(
            Reason.MISSING,
            f"python-iptables cannot be loaded: {error}",
            "install libip4tc, libip6tc and libxtables (package iptables), or set XTABLES_LIBDIR to the directory of "
            "xtables' modules",
        ) from error
    address, handle, text = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[Any, ...]] = {
        "init": (handle, text),
        "free": (None, handle),
        "first_chain": (text, handle),
        "next_chain": (text, handle),
        "get_policy": (text, text, text, handle),
        "first_rule": (address, text, handle),
        "next_rule": (address, address, handle),
        "get_target": (text, address, handle),
    }
    of_family = iptc if family is AddressFamily.IPV4 else ip6tc
    pointers = {
        name: ctypes.cast(getattr(of_family, f"iptc_{name}"), ctypes.c_void_p).value or 0 for name in signatures
    }
    return Libiptc(
        **{name: ctypes.CFUNCTYPE(*types, use_errno=True)(pointers[name]) for name, types in signatures.items()}
    )


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Keep python-iptables from two searches that write, by giving their results in the environment.

    It looks for its own library with a trial run of the linker, which makes files in /tmp, and for xtables' modules
    with ``ldconfig -N -v``, which as root mends links in /lib. Nothing here uses those modules. What the operator set
    stays; afterwards the environment is as it was, because the programs that are run later read it too.
    """
    package = find_spec("iptc")
    places = (
        [str(Path(place).parent) for place in package.submodule_search_locations or ()] if package is not None else []
    )
    added = {
        name: value
        for name, value in (("IPTABLES_LIBDIR", ":".join(places)), ("XTABLES_LIBDIR", "/usr/lib/xtables"))
        if name not in os.environ
    }
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _without_distutils() -> Iterator[None]:
    """Keep python-iptables from importing distutils, 100 modules of setuptools for one path: 6 MiB as long as it runs.

    It has another way to the path where there is no distutils, as there is none since Python 3.12.
    """
    name = "distutils"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # as the import system documents it: there is none
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


def failed(reason: Reason, problem: str, remedy: str) -> SourceError:
    """What this backend's reader raises."""
    return SourceError(source="rules", reason=reason, where="legacy iptables", problem=problem, remedy=remedy)
