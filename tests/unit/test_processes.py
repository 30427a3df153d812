"""silk's programs as the process table shows them: real processes under their names."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import psutil
import pytest

from c2c_auditor.config import Config
from c2c_auditor.model.cell import VpaConfig
from c2c_auditor.model.cni import CniConfig
from c2c_auditor.model.report import ProcessStatus
from c2c_auditor.sources.facts.gatherer import CellReader
from c2c_auditor.sources.facts.processes import ProcessTable, find_underlay, underlay_interfaces


@contextmanager
def _running(directory: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`sleep` under another name, until the block ends."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    program = Path(shutil.copy(Path(sleep).resolve(), directory / name))
    process = subprocess.Popen((str(program), "60"))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _status(name: str) -> ProcessStatus:
    """Among the processes that this test made: a real silk may run on the same machine."""
    (status,) = (status for status in ProcessTable(_children).read(0.0) if status.name == name)
    return status


def _children() -> list[int]:
    return [process.pid for process in psutil.Process().children(recursive=True)]


def test_every_program_is_reported_whether_it_runs_or_not() -> None:
    """A program that is not there is down, never absent."""
    found = ProcessTable().read(0.0)
    assert [status.name for status in found] == ["vxlan-policy-agent", "silk-daemon", "netmon", "garden"]
    assert all(status.up == (status.start_time is not None) for status in found)


def test_a_name_longer_than_the_kernel_keeps_is_recognised(tmp_path: Path) -> None:
    """The kernel cuts names at 15 bytes: vxlan-policy-agent has 18."""
    before = time.time()
    with _running(tmp_path, "vxlan-policy-agent"):
        status = _status("vxlan-policy-agent")
    assert status.up
    assert status.start_time is not None
    assert (
        before - 2 <= status.start_time <= time.time() + 2
    )  # the boot time, from which it counts, is kept in whole seconds


def test_without_a_choice_all_processes_are_read(tmp_path: Path) -> None:
    """Those of other parents, too."""
    with _running(tmp_path, "netmon"):
        everywhere = {status.name: status for status in ProcessTable().read(0.0)}
        mine = _status("netmon")
    assert everywhere["netmon"].up
    assert (everywhere["netmon"].start_time or 0) <= (mine.start_time or 0)


def test_a_process_that_ends_while_it_is_read_does_not_run(tmp_path: Path) -> None:
    """It was there when the list was made."""
    with _running(tmp_path, "netmon"):
        listed = _children()
    assert not any(status.up for status in ProcessTable(lambda: listed).read(0.0))


def test_another_silk_on_the_machine_is_not_the_tests_own(tmp_path: Path) -> None:
    """A process that some other process started under the same name is left out."""
    with _running(tmp_path, "silk-daemon"):
        assert not any(status.up for status in ProcessTable(lambda: [os.getpid()]).read(0.0))


def test_garden_is_up_under_either_name(tmp_path: Path) -> None:
    """And its start is that of the first of its processes."""
    with _running(tmp_path, "gdn"):
        first = _status("garden")
        with _running(tmp_path, "guardian"):
            both = _status("garden")
    assert first.up
    assert both == first


def test_a_process_that_ended_is_down_although_nobody_fetched_its_status(tmp_path: Path) -> None:
    """A zombie still stands in the process table."""
    with _running(tmp_path, "silk-daemon") as process:
        assert _status("silk-daemon").up
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert not _status("silk-daemon").up


def test_of_the_others_only_new_ones_are_looked_at_until_a_minute_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell has thousands. One that became silk's program is found then, one that started or ended at once."""
    looked: list[int] = []
    process = psutil.Process

    def counted(pid: int) -> psutil.Process:
        looked.append(pid)
        return process(pid)

    def up(now: float) -> set[str]:
        looked.clear()
        return {status.name for status in table.read(now) if status.up}

    netmon = shutil.copy(Path(shutil.which("sleep") or "").resolve(), tmp_path / "netmon")
    with subprocess.Popen(("bash", "-c", f"read; exec {netmon} 60"), stdin=subprocess.PIPE) as becoming:
        pids = [becoming.pid, *range(1, 3)]
        table = ProcessTable(lambda: pids)
        monkeypatch.setattr(psutil, "Process", counted)
        assert (up(0.0), len(looked)) == (set(), 3)
        assert becoming.stdin is not None
        becoming.stdin.write(b"\n")
        becoming.stdin.flush()
        while process(becoming.pid).name() != "netmon":
            time.sleep(0.01)
        assert (up(15.0), looked) == (set(), [])
        with _running(tmp_path, "silk-daemon") as daemon:
            pids.append(daemon.pid)
            assert (up(30.0), looked) == ({"silk-daemon"}, [daemon.pid])
            assert (up(45.0), looked) == ({"silk-daemon"}, [daemon.pid])
        assert up(50.0) == set()
        assert (up(60.0), len(looked)) == ({"netmon"}, 4)
        becoming.kill()


def test_the_interface_with_an_underlay_address_is_found() -> None:
    """Loopback is on every machine; an address that no interface holds has none."""
    assert underlay_interfaces([IPv4Address("127.0.0.1")]) == ("lo",)
    assert underlay_interfaces([IPv4Address("192.0.2.1")]) == ()
    assert underlay_interfaces([]) == ()


def test_an_agent_that_cannot_see_them_says_nothing_of_them() -> None:
    """In a PID namespace of its own all of silk would look dead; down is a claim, and this one it could not make."""
    nowhere = Path("/nonexistent")
    assert CellReader(Config(vpa_config=nowhere, store=nowhere, processes=False)).read().processes == ()
    assert len(CellReader(Config(vpa_config=nowhere, store=nowhere)).read().processes) == 4


def test_the_underlay_is_found_as_silks_plugin_finds_it() -> None:
    """By name where the operator gave names, else by addresses of either family.

    VPA's configuration has the same ones.
    """
    named = CniConfig(underlay_interfaces=("eth7",), underlay_addresses=(IPv4Address("127.0.0.1"),))
    by_address = CniConfig(underlay_addresses=(IPv6Address("::1"), IPv4Address("127.0.0.1")))
    nowhere = CniConfig(underlay_addresses=(IPv4Address("192.0.2.1"),))
    vpa = VpaConfig(underlay_addresses=(IPv4Address("127.0.0.1"),))
    found = [find_underlay(cni, vpa) for cni in (named, by_address, nowhere, CniConfig(), None)]
    assert found == [("eth7",), ("lo",), None, ("lo",), ("lo",)]
    assert find_underlay(None, None) is None


def test_the_cni_wrappers_configuration_is_a_source_where_there_is_one(tmp_path: Path) -> None:
    """Without the file nothing is missing, the rules tell it; a file that makes no sense is a failed source."""
    path = tmp_path / "cni-wrapper-plugin.conflist"
    reader = CellReader(Config(vpa_config=tmp_path / "x", store=tmp_path / "x", cni_config=path, processes=False))
    absent = reader.read()
    path.write_text('{"plugins": [{"vtep_name": "vtep"}]}')
    there = reader.read()
    path.write_text("{")
    broken = reader.read()
    assert (absent.facts.cni, [one.name for one in absent.sources if "cni" in one.name]) == (None, [])
    assert (there.facts.cni and there.facts.cni.vtep_name, broken.facts.cni is there.facts.cni) == ("vtep", True)
    assert [one.up for one in broken.sources if one.name == "cni_config"] == [False]
