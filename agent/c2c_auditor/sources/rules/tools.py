"""Finds the programs of iptables on this cell and their versions: a name alone does not show the backend.

``iptables`` is a link that an operator, a package or a stemcell points at either backend, and a directory may hold
programs of only one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.rule import Backend
from c2c_auditor.sources.rules.command import Limits, run

_MOST = 1 << 16
_NAMES = {Backend.NFT: "nf_tables", Backend.LEGACY: "legacy"}
_VERSION = re.compile(r"^\S+ v\d\S*(?: \((?:nf_tables|legacy)\))?$", re.MULTILINE)


@frozen(kw_only=True)
class Tool:
    """One program. ``version`` is its own answer (``iptables v1.8.9 (nf_tables)``), empty if it gave none."""

    path: str
    version: str

    @property
    def backend(self) -> Backend | None:
        """The backend that it reads; None if it gave no version. Versions before 1.8 name none and know only legacy."""
        if not self.version:
            return None
        return Backend.NFT if self.version.endswith("(nf_tables)") else Backend.LEGACY


class Tools:
    """The programs of ``bin_dir``, or of PATH if that is None. One that is replaced is run again for its version."""

    def __init__(self, bin_dir: Path | None, seconds: float) -> None:
        """``seconds`` bound an answer."""
        self._limits = Limits(seconds=seconds, bytes=_MOST)
        self._bin_dir = bin_dir
        self._known: dict[str, tuple[tuple[int, int], Tool]] = {}

    def find_nft(self, *names: str) -> Tool:
        """The first of ``names`` that is a program of nf_tables, or whose backend is not known.

        Raises SourceError when there is none; the error names the program that was found instead.
        """
        return self._find(Backend.NFT, names)

    def find_legacy(self, *names: str) -> Tool:
        """The same for a program of the legacy backend."""
        return self._find(Backend.LEGACY, names)

    def _find(self, backend: Backend, names: Sequence[str]) -> Tool:
        others: list[Tool] = []
        for name in names:
            path = shutil.which(name, path=str(self._bin_dir) if self._bin_dir is not None else None)
            if path is None:
                continue
            tool = self._tool(path)
            if tool.backend in (None, backend):
                return tool
            others.append(tool)
        where = str(self._bin_dir / names[0]) if self._bin_dir is not None else names[0]
        refused = next((path for path in self._paths(names) if path.exists()), None)
        if refused is not None and not others:
            raise SourceError(
                source="rules",
                reason=Reason.PERMISSION,
                where=str(refused),
                problem="it is there and cannot be executed",
                remedy="check the file's type and permissions",
            )
        found = f", and {others[0].path} is {others[0].version}" if others else ""
        raise SourceError(
            source="rules",
            reason=Reason.MISSING,
            where=where,
            problem=f"there is no such program{found}",
            remedy=f"install iptables, or set iptables_bin_dir to the directory of its {_NAMES[backend]} programs",
        )

    def _paths(self, names: Iterable[str]) -> Iterator[Path]:
        """Where programs of these names are looked for."""
        directories = [self._bin_dir] if self._bin_dir is not None else map(Path, os.get_exec_path())
        return (directory / name for directory in directories for name in names)

    def _tool(self, path: str) -> Tool:
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            known = self._known[path] = stamp, Tool(path=path, version=self._version(path))
        return known[1]

    def _version(self, path: str) -> str:
        """The program's version; empty when it gives none. Its first real use then raises the error."""
        try:
            output = run([path, "--version"], self._limits)
        except SourceError:
            return ""
        found = _VERSION.search(output.text)
        return found[0] if found is not None and output.status == 0 else ""


def _stamp(path: str) -> tuple[int, int]:
    """What changes when a program is replaced."""
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns
