"""Container metadata is read without a lock: torn, empty and half-written files hide nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from c2c_auditor.errors import Reason, SourceError
from c2c_auditor.model.cell import Names, Store
from c2c_auditor.sources.facts.store import StoreReader, parse_store
from c2c_auditor.sources.files import read_text_file
from support.namespaces import in_child
from support.recordings import CELLS

GOOD = {"ip": "10.255.1.4", "metadata": {"policy_group_id": "app-1", "ports": "8080, 2222"}}


def _reader(path: Path, *between: Callable[[], object]) -> StoreReader:
    """A reader that instead of waiting lets the writer go on."""
    steps = iter(between)

    def wait(_: float) -> None:
        next(steps, lambda: None)()

    return StoreReader(path, sleep=wait)


def test_silks_own_file_gives_addresses_ports_and_the_names_that_people_know() -> None:
    """`log_config` is JSON in a string; its tags hold the names."""
    store = parse_store((CELLS / "pair" / "store.json").read_text(), where="store.json")
    first = store.containers[0]
    assert (first.address, first.ports) == (IPv4Address("10.255.2.7"), (8080, 2222, 61001, 61002))
    assert first.names == Names(app="dest-app", space="dev", org="acme")
    assert not store.unreadable


def test_containers_without_metadata_are_normal() -> None:
    """Garden's own containers have none."""
    store = parse_store((CELLS / "bare-containers" / "store.json").read_text(), where="store.json")
    assert [container.app for container in store.containers].count("") == 2
    assert not store.unreadable


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({}, "no address"),
        ({"ip": ""}, "no address"),
        ({"ip": "fd00::1"}, "not IPv4"),
        ({"ip": 7}, "no address"),
        ([], "expected an object"),
    ],
)
def test_one_bad_container_does_not_hide_the_others(entry: object, problem: str) -> None:
    """It is kept apart with what is wrong with it."""
    store = parse_store(json.dumps({"bad": entry, "good": GOOD}), where="store.json")
    assert [container.handle for container in store.containers] == ["good"]
    assert [(bad.subject, problem in bad.problem) for bad in store.unreadable] == [("bad", True)]


@pytest.mark.parametrize("log_config", ["{", "[" * 100_000])
def test_a_broken_log_config_is_told_and_the_container_kept(log_config: str) -> None:
    """Silk gives up its whole plan for one such string."""
    entry = {"ip": "10.255.1.4", "metadata": {"policy_group_id": "app-1", "log_config": log_config}}
    store = parse_store(json.dumps({"one": entry}), where="store.json")
    assert (len(store.containers), len(store.unreadable)) == (1, 1)


@pytest.mark.parametrize(("ipv6", "expected"), [("fd00::1", IPv6Address("fd00::1")), ("", None), (None, None)])
def test_unknown_fields_and_a_second_address_are_no_fault(ipv6: str | None, expected: IPv6Address | None) -> None:
    """Newer silk adds `ipv6`."""
    store = parse_store(json.dumps({"one": {**GOOD, "ipv6": ipv6, "more": {}}}), where="store.json")
    assert (len(store.containers), len(store.unreadable)) == (1, 0)
    assert store.containers[0].ipv6 == expected


@pytest.mark.parametrize("ipv6", ["10.0.0.1", "x", 7, ["fd00::1"]])
def test_a_second_address_that_is_none_is_said_and_the_container_kept(ipv6: object) -> None:
    """Its IPv4 address is what most is judged by."""
    store = parse_store(json.dumps({"one": {**GOOD, "ipv6": ipv6}}), where="store.json")
    assert [container.ipv6 for container in store.containers] == [None]
    (bad,) = store.unreadable
    assert "not IPv6" in bad.problem
    assert (bad.subject, bad.address, bad.guids) == ("one", "10.255.1.4", ("app-1",))


def test_metadata_that_is_no_text_is_none() -> None:
    """Silk ignores it too; half a character is read as Go reads it."""
    metadata = {"policy_group_id": 7, "space_id": ["s"], "org_id": "o\ud800", "log_config": None}
    store = parse_store(
        json.dumps({"h\udfff": {**GOOD, "metadata": metadata}, "n": {**GOOD, "metadata": 3}}), where="x"
    )
    first, second = store.containers
    assert (first.handle, first.app, first.space, first.org) == ("h\ufffd", "", "", "o\ufffd")
    assert second.app == ""
    assert not store.unreadable


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"a": ', "x" * 100, "[" * 100_000, '{"a": NaN}', "9" * 5000])
def test_what_is_not_such_a_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """File, problem and remedy are named, after reading again for a while."""
    path = tmp_path / "store.json"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        _reader(path).read()
    assert caught.value.reason is Reason.MALFORMED
    assert str(path) in str(caught.value)
    assert caught.value.remedy


def test_a_half_written_file_is_read_again(tmp_path: Path) -> None:
    """The writer truncates, then writes."""
    path = tmp_path / "store.json"
    path.write_text('{"one": {"ip": "10.2')
    store = _reader(path, lambda: path.write_text(json.dumps({"one": GOOD}))).read()
    assert [container.handle for container in store.containers] == ["one"]


def test_an_empty_file_is_not_no_containers(tmp_path: Path) -> None:
    """Silk itself takes it for that, and wipes the policies of every container."""
    path = tmp_path / "store.json"
    path.write_text("")
    (tmp_path / "store.json_version").write_text("7")
    with pytest.raises(SourceError, match="empty"):
        _reader(path).read()


def test_a_file_that_silk_never_wrote_is_a_cell_that_never_had_a_container(tmp_path: Path) -> None:
    """Silk makes the file when it first looks for it; its count of writes is not there yet."""
    path = tmp_path / "store.json"
    path.write_text("")
    assert _reader(path).read() == Store()


def test_an_empty_file_whose_count_cannot_be_read_is_not_believed(tmp_path: Path) -> None:
    """Only a count that was never there tells that nothing was ever written."""
    path = tmp_path / "store.json"
    path.write_text("")
    (tmp_path / "store.json_version").mkdir()
    with pytest.raises(SourceError, match="empty"):
        _reader(path).read()


def _writes_meanwhile(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """During each of the first readings of a store silk counts a write."""
    counts = iter(range(1, writes + 1))

    def read(path: Path, *, source: str, most: int = 1 << 20) -> str:
        text = read_text_file(path, source=source, most=most)
        if path.name == "store.json" and (count := next(counts, None)) is not None:
            path.with_name("store.json_version").write_text(str(count))
        return text

    monkeypatch.setattr("c2c_auditor.sources.facts.store.read_text_file", read)


def test_a_write_during_the_reading_means_reading_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of writes moved."""
    path = tmp_path / "store.json"
    path.write_text(json.dumps({"one": GOOD}))
    _writes_meanwhile(monkeypatch, 1)
    store = _reader(path, lambda: path.write_text(json.dumps({"one": GOOD, "two": GOOD}))).read()
    assert len(store.containers) == 2


def test_a_store_that_never_rests_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading met a write, so none of them is believed."""
    path = tmp_path / "store.json"
    path.write_text(json.dumps({"one": GOOD}))
    _writes_meanwhile(monkeypatch, 100)
    with pytest.raises(SourceError) as caught:
        _reader(path).read()
    assert caught.value.reason is Reason.INCONSISTENT


def test_a_fifo_in_the_stores_place_is_an_error(tmp_path: Path) -> None:
    """It would be waited for, for ever, and it is none that passes by itself."""
    os.mkfifo(tmp_path / "store.json")
    with pytest.raises(SourceError, match="a FIFO") as caught:
        _reader(tmp_path / "store.json").read()
    assert caught.value.reason is Reason.FAILED


def _result(path: Path) -> str:
    """What reading gives, or the reason why it gives nothing."""
    try:
        return repr(_reader(path).read())
    except SourceError as error:
        return error.reason.value


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not read root's files")
@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        ("", None, repr(Store())),
        ("", "", repr(Store())),
        ("", "7", "permission"),
        ("{}", None, "permission"),
        (None, None, "missing"),
    ],
)
def test_roots_empty_files_are_a_cell_that_never_had_a_container(
    text: str | None, version: str | None, expected: str
) -> None:
    """VPA, as root, makes them before the first container; their size shows although they may not be read."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        for name, content in (("store.json", text), ("store.json_version", version)):
            if content is not None:
                (folder / name).write_text(content)
                (folder / name).chmod(0o600)

        def check() -> None:
            os.seteuid(65534)
            assert _result(folder / "store.json") == expected

        in_child(check)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("ports", ["8080, web", "8080,", "0", "70000", "9" * 5000, "8080;2222"])
def test_ports_that_silk_cannot_plan_are_told_and_the_others_kept(ports: str) -> None:
    """The planner gives up on them where overlay ingress is on."""
    entry = {"ip": "10.255.1.4", "metadata": {"policy_group_id": "app-1", "ports": ports}}
    store = parse_store(json.dumps({"one": entry}), where="store.json")
    assert store.containers[0].ports == ((8080,) if ports.startswith("8080,") else ())
    (bad,) = store.unreadable
    assert (bad.guids, bad.address) == (("app-1",), "10.255.1.4")


def test_containers_are_sorted_by_handle() -> None:
    """Equal stores are equal, whatever order Go wrote them in."""
    one = json.dumps({"b": GOOD, "a": {**GOOD, "ip": "10.255.1.5"}})
    other = json.dumps({"a": {**GOOD, "ip": "10.255.1.5"}, "b": GOOD})
    assert parse_store(one, where="x") == parse_store(other, where="x")
    assert [container.handle for container in parse_store(one, where="x").containers] == ["a", "b"]


def test_an_empty_object_is_a_cell_without_containers() -> None:
    """Whether that is believable is judged elsewhere."""
    assert parse_store("{}", where="x") == Store()


def test_nothing_is_created_beside_the_store(tmp_path: Path) -> None:
    """No lock, no version, no temporary file."""
    path = tmp_path / "store.json"
    path.write_text(json.dumps({"one": GOOD}))
    _reader(path).read()
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.json"]


@pytest.mark.parametrize("path", ["", "/", ".", "a\0b", "\ud800"])
def test_a_path_that_names_no_file_is_an_error_like_any_other(path: str) -> None:
    """VPA's configuration may say anything."""
    with pytest.raises(SourceError):
        _reader(Path(path)).read()


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """Missing is another thing than torn: it is not read again."""
    with pytest.raises(SourceError) as caught:
        _reader(tmp_path / "store.json").read()
    assert caught.value.reason is Reason.MISSING
