"""What ships only reads: the built wheel holds no way to change a rule, and no file but a capture that is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from zipfile import ZipFile

import pytest

from support.reads_only import CAPTURE, LIBIPTC, LIBIPTC_READS, MANY, RUNNER, SOCKOPT, libiptc_functions, ways_to_write
from support.staging import ROOT, staging

NETLINK = "c2c_auditor/sources/rules/netlink.py"
NFT = "c2c_auditor/sources/rules/nft.py"
SAVED = "c2c_auditor/sources/rules/saved.py"


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Every file of the wheel by its name, as text."""
    with ZipFile(staging().build_wheel(tmp_path_factory.mktemp("wheel"))) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Mapping[str, str]) -> None:
    """Every module of the agent is there; the demo, which writes rules, and the tests are not."""
    folder = ROOT / "agent"
    modules = {str(path.relative_to(folder)) for path in folder.glob("c2c_auditor/**/*.py")}
    assert {name for name in wheel if name.endswith(".py")} == modules
    assert {name.partition("/")[0].partition("-")[0] for name in wheel} == {"c2c_auditor"}
    scripts = next(text for name, text in wheel.items() if name.endswith("entry_points.txt"))
    assert re.findall(r"^(\S+) = ", scripts, re.MULTILINE) == ["c2c-auditor"]


def test_no_module_can_write(wheel: Mapping[str, str]) -> None:
    """No program that loads rules, no option that changes them, no netlink message but questions, no file."""
    found = {name: ways for name, text in wheel.items() if name.endswith(".py") and (ways := ways_to_write(name, text))}
    assert found == {}


def test_libiptc_is_declared_for_reading(wheel: Mapping[str, str]) -> None:
    """Of its functions the agent knows those that copy a table and walk through the copy."""
    assert libiptc_functions(wheel[LIBIPTC]) == LIBIPTC_READS


@pytest.mark.parametrize(
    ("place", "planted", "said"),
    [
        (NFT, "run(['iptables-nft-restore'], limits)", "loads rules"),
        (SAVED, "run([program, '-t', table, '-A', chain], limits)", "more than show: '-A'"),
        (SAVED, "run([program, '--flush'], limits)", "more than show: '--flush'"),
        (NFT, "import subprocess", "past the one runner"),
        (NFT, "os.execvp(program, argv)", "starts a program"),
        (NFT, "os.posix_spawn(program, argv, {})", "starts a program"),
        (NFT, "from iptc.ip4tc import Table", "past the one place"),
        (NFT, "__import__(name)", "cannot be read here"),
        (NFT, "ctypes.CDLL(None).syscall(1)", "calls C functions"),
        (NFT, "Path('/run/x').write_text('')", "writes files"),
        (NFT, "open('/run/x', 'w')", "writes files"),
        (NFT, "Path('/run/x').open(mode='ab')", "writes files"),
        (NFT, "os.open('/run/x', os.O_RDONLY | os.O_CREAT)", "writes files"),
        (NFT, "part.replace(whole)", "writes files"),
        (NETLINK, "sock.send(HEADER.pack(20, _NEWRULE, 1, 1, 0))", "netlink message"),
        (NETLINK, "sock.send(HEADER.pack(20, kind, 1, 1, 0))", "netlink message"),
        (NETLINK, "sock.setsockopt(socket.IPPROTO_IP, 64, table)", "replace a table"),
        (SOCKOPT, "libc.ioctl(descriptor, 1)", "more than read: ioctl"),
        (SOCKOPT, "_libc.ioctl(descriptor, 1)", "more than read: ioctl"),
        (NFT, "_libc.mount(source, target)", "more than read: mount"),
        (MANY, "libc.sendmmsg(descriptor, messages, 1, 0)", "more than read: sendmmsg"),
        (LIBIPTC, "names = ('init', 'commit')", "libiptc that writes"),
        (LIBIPTC, "iptc.iptc_flush_entries(chain, handle)", "libiptc that writes"),
    ],
)
def test_a_way_to_write_is_found_where_it_is_planted(
    wheel: Mapping[str, str], place: str, planted: str, said: str
) -> None:
    """Each rule of the check speaks in a real module of the wheel."""
    (way,) = ways_to_write(place, f"{wheel[place]}\n{planted}\n")
    assert said in way


@pytest.mark.parametrize(
    ("place", "elsewhere"),
    [
        (RUNNER, "starts programs past"),
        (CAPTURE, "writes files"),
        (LIBIPTC, "past the one place"),
        (SOCKOPT, "calls C functions"),
        (MANY, "calls C functions"),
    ],
)
def test_what_is_allowed_in_one_place_is_not_elsewhere(wheel: Mapping[str, str], place: str, elsewhere: str) -> None:
    """The exempt modules do what they are exempt for, which under another name is a way to write."""
    assert any(elsewhere in way for way in ways_to_write("c2c_auditor/other.py", wheel[place]))


@pytest.mark.parametrize(
    "source",
    [
        '"""Text that iptables-restore takes."""',
        "text.replace('a', 'b')",
        "path.open('rb')",
        "os.open(path, os.O_RDONLY)",
    ],
)
def test_what_only_reads_is_let_be(source: str) -> None:
    """Docstrings, strings and files that are read are no way to write."""
    assert ways_to_write(SAVED, source) == []
