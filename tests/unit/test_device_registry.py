import pytest

from headrace import device_registry
from headrace.device_registry import Info, Named, changed, parse_csv, retired
from headrace.errors import DataDirectoryError, UsageError
from headrace.table.base import Item

NOW, LATER = "2026-07-25T17:20:00.123Z", "2026-07-26T00:00:00.000Z"


def test_labels_are_added_changed_and_taken_away() -> None:
    first = changed(None, {"site": "north", "gone": ""}, NOW)
    assert first == Info(1, NOW, "command", {"site": "north"})
    second = changed(first, {"site": "south", "line": "é=1"}, LATER)
    assert second == Info(2, NOW, "command", {"site": "south", "line": "é=1"})
    assert changed(second, {"site": "south"}, LATER) is second, "nothing to write"
    assert changed(second, {"site": ""}, LATER).labels == {"line": "é=1"}


def test_a_retired_device_comes_back_by_being_added() -> None:
    info = Info(1, NOW, "event")
    gone = retired(info, LATER)
    assert gone == Info(2, NOW, "event", {}, LATER) and retired(gone, NOW) is gone
    assert changed(gone, {}, LATER) == Info(3, NOW, "event")


def test_an_item_is_read_as_it_was_written() -> None:
    info = Info(3, NOW, "event", {'"': "\\", "é": "☃"}, LATER)
    assert device_registry.decode(device_registry.item("a/b\n", info)) == info
    with pytest.raises(DataDirectoryError, match="'a' can't be read"):
        device_registry.decode(Item("a", "info", b'{"version":"x"}'))


def test_a_file_of_devices() -> None:
    body = '\ufeffsite,device_id,line\r\nnorth,pump-1,\r\n\r\nsouth,"a,""b""\nc",2\r\n'.encode()
    assert parse_csv("f.csv", body) == [
        Named("pump-1", {"site": "north", "line": ""}),
        Named('a,"b"\nc', {"site": "south", "line": "2"}),
    ]
    assert parse_csv("f.csv", b"device_id\n") == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "f.csv:1: there is no column device_id"),
        (b"\xef\xbb\xbfdevice_id;site\r\na;b\r\n", "f.csv:1: values are separated by semicolons"),
        (b"device,site\na,b\n", "f.csv:1: there is no column device_id"),
        (b"device_id,site,site\na,b,c\n", "f.csv:1: the column 'site' is there twice"),
        (b"device_id,\na,b\n", "f.csv:1: The label '' has a name of 0 characters"),
        (b"device_id,a=b\na,b\n", "f.csv:1: The label 'a=b' has a character"),
        (b"device_id,site\na,b\nb\n,c\na,d\n", "f.csv:3: 1 cell, and not the 2"),
        (b"device_id,site\na,b\nb\n,c\na,d\n", "f.csv:4: The device id has 0 bytes"),
        (b"device_id,site\na,b\nb\n,c\na,d\n", "f.csv:5: 'a' is in line 2 already"),
        (b'device_id,site\n"x\ny",1\na,' + b"v" * 257 + b"\n", "f.csv:4: The value of the label 'site' has 257"),
        (b"device_id\n" + b"d" * 2049 + b"\n", "f.csv:2: The device id has 2,049 bytes"),
        (b"device_id\na\nB\xfchne\n", "f.csv:3: not UTF-8"),
        (b'device_id\na\n"b"c\n', "f.csv:3: this can't be read as CSV"),
        (b"PAR1\0\0", "holds NUL"),
        (b"device_id\n" + b"\n".join(b"a" for _ in range(30)), "and 9 more"),
    ],
)
def test_a_file_with_faults_is_refused_whole(body: bytes, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_csv("f.csv", body)
    assert says in refused.value.problem and "othing was imported" in refused.value.hint


def test_labels_have_limits() -> None:
    for labels, says in (({"a" * 129: "b"}, "129 characters"), ({f"l{n}": "x" for n in range(51)}, "51 labels")):
        with pytest.raises(UsageError, match=says):
            changed(None, labels, NOW)
