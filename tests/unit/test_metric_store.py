import os
from pathlib import Path

import pytest

from headrace import emf
from headrace.errors import DataDirectoryError, StorageError
from headrace.metrics.lines import Logs, Values
from headrace.metrics.series import MINUTE_MS, Series
from headrace.metrics.store import Store

NOW = 1_785_000_000_000
DAY_MS = 86_400_000
HEAT, COLD = Series("N", "heat", (("room", "a"),)), Series("N", "cold")


def sums(store: Store, series: Series, start: int = NOW - 20 * DAY_MS, end: int = NOW + DAY_MS) -> dict[int, float]:
    """Return the sums by minutes from NOW."""
    points = store.points([series], start, end)[series]
    return {minute - NOW // MINUTE_MS: sketch.sum for minute, sketch in sorted(points.items())}


def test_minutes_move_to_files_and_stay_readable_over_restarts(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    store.record(HEAT, NOW, [1, 2], "Celsius")
    store.record(HEAT, NOW + MINUTE_MS, [4])
    store.record(COLD, NOW, [100])
    store.seal(NOW + 2 * MINUTE_MS)
    store.record(HEAT, NOW, [8])  # late
    assert sums(store, HEAT) == {0: 11, 1: 4}
    store.save({}, {})
    store = Store(tmp_path, NOW + 5 * MINUTE_MS)
    assert (sums(store, HEAT), sums(store, COLD)) == ({0: 11, 1: 4}, {0: 100})
    assert store.series[HEAT].unit == "Celsius"
    store.seal(NOW + 10 * MINUTE_MS)
    store.save({}, {})
    assert sums(Store(tmp_path, NOW + 11 * MINUTE_MS), HEAT) == {0: 11, 1: 4}
    assert sums(store, HEAT, NOW + 1, NOW + MINUTE_MS) == {}


def test_a_kill_between_sealing_and_saving_loses_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    store.record(HEAT, NOW, [1])
    store.seal(NOW + 2 * MINUTE_MS)
    assert sums(Store(tmp_path, NOW + 3 * MINUTE_MS), HEAT) == {0: 1}
    assert HEAT in Store(tmp_path, NOW + 3 * MINUTE_MS).series, "found in the files: nothing was saved"


def test_fifteen_days_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    for days in range(14):
        store.record(HEAT, NOW - days * DAY_MS, [1])
    store.record(COLD, NOW - 13 * DAY_MS, [1])
    store.seal(NOW + 2 * MINUTE_MS)
    assert len(sums(store, HEAT)) == 14
    store.seal(NOW + 5 * DAY_MS)
    assert len(sums(store, HEAT)) == 11
    assert COLD not in store.series
    assert len(list(tmp_path.glob("*.points"))) == 11


def test_recent_minutes_are_answered_without_files(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    for minute in range(100):
        store.record(HEAT, NOW + minute * MINUTE_MS, [1])
        store.seal(NOW + (minute + 2) * MINUTE_MS)
    for path in tmp_path.glob("*.points"):
        path.unlink()
    assert len(sums(store, HEAT, NOW + 45 * MINUTE_MS)) == 55


def test_damage_costs_what_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    for minute in range(5):
        store.record(HEAT, NOW + minute * MINUTE_MS, [minute + 1])
        store.seal(NOW + (minute + 2) * MINUTE_MS)
    path = next(tmp_path.glob("*.points"))
    whole = path.read_bytes()
    for at in range(8, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        found = sums(Store(tmp_path, NOW + DAY_MS), HEAT)
        assert found.items() <= {minute: minute + 1 for minute in range(5)}.items()
        assert len(found) >= 4 or not found, "one minute, or the name of all"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        again = Store(tmp_path, NOW + DAY_MS)
        again.record(HEAT, NOW + 9 * MINUTE_MS, [90])
        again.seal(NOW + DAY_MS)
        assert sums(Store(tmp_path, NOW + DAY_MS), HEAT)[9] == 90, "a torn end does not hide what is written after it"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    store.record(HEAT, NOW, [1])
    store.seal(NOW + 2 * MINUTE_MS)
    path = next(tmp_path.glob("*.points"))
    path.write_bytes(path.read_bytes().replace(b"HRMET\x01", b"HRMET\x02"))
    with pytest.raises(DataDirectoryError, match="newer headrace"):
        Store(tmp_path, NOW + DAY_MS)


def test_a_disk_that_refuses_keeps_the_minutes_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    store.record(HEAT, NOW, [1])
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    with pytest.raises(StorageError):
        store.seal(NOW + 2 * MINUTE_MS)
    tmp_path.mkdir()
    store.seal(NOW + 2 * MINUTE_MS)
    assert sums(Store(tmp_path, NOW + DAY_MS), HEAT) == {0: 1}


# --- functions' logs


def read(logs: Logs) -> bytes:
    return b"".join(block for _, block in logs.read())


def test_a_log_is_followed_through_rotation_and_emptying(tmp_path: Path) -> None:
    path = tmp_path / "store" / "0.log"
    path.parent.mkdir()
    logs = Logs(tmp_path, {})
    path.write_bytes(b"one\ntwo\nthr")
    assert read(logs) == b"one\ntwo\n"
    assert read(logs) == b""
    with path.open("ab") as file:
        file.write(b"ee\n")
    path.rename(path.with_name("0.log.1"))
    path.write_bytes(b"four\n")
    logs = Logs(tmp_path, logs.cursors)  # a restart in between
    assert read(logs) == b"three\nfour\n"
    os.truncate(path, 0)
    path.write_bytes(b"5\n")
    assert read(logs) == b"5\n"
    path.unlink()
    assert read(logs) == b""
    assert logs.cursors == {}


def test_a_line_without_end_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "store" / "0.log"
    path.parent.mkdir()
    path.write_bytes(b"x" * 3_000_000 + b"\nok\n")
    assert read(Logs(tmp_path, {})).endswith(b"\nok\n")


def test_lines_become_values(tmp_path: Path) -> None:
    store = Store(tmp_path, NOW)
    values = Values(NOW)
    values.take("f", "\n".join(["noise", *emf.lines({"heat": [1.5, 2.5] * 100, "cold": [3]}, NOW)]).encode())
    values.into(store)
    assert sums(store, Series("Headrace", "heat")) == {0: 400}
    assert sums(store, Series("Headrace", "cold")) == {0: 3}


@pytest.mark.parametrize(
    "line",
    [
        b'{"_aws": ',
        b'{"_aws": 1}',
        b'{"_aws": {"Timestamp": "x", "CloudWatchMetrics": []}}',
        b'{"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}}',
        b'{"_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{}]}]}}' % NOW,
        b'{"a": "x", "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{"Name": "a"}]}]}}'
        % NOW,
        b'{"_aws": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a": 1, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": 5, "Metrics": [{"Name": "a"}]}]}}'
        % NOW,
        b'{"a": 1, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Metrics": '
        b'[{"Name": "a", "Unit": 7}]}]}}' % NOW,
        b'{"a": 1, "d": "", "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": [["d"]], '
        b'"Metrics": [{"Name": "a"}]}]}}' % NOW,
        b'{"a": 1, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": ":N", "Metrics": [{"Name": "a"}]}]}}'
        % NOW,
        b'{"a": 1, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "AWS/", "Metrics": [{"Name": "a"}]}]}}'
        % NOW,
        b'{"a": 1%s, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Metrics": '
        b'[{"Name": "a"}]}]}}' % (b"0" * 400, NOW),
        b'{"a": 1, "d": null, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Dimensions": '
        b'[["d"]], "Metrics": [{"Name": "a"}]}]}}' % NOW,
        b'{"a": [1e200], "_aws": {"Timestamp": %d, "CloudWatchMetrics": [{"Namespace": "N", "Metrics": '
        b'[{"Name": "a"}]}]}}' % NOW,
    ],
)
def test_lines_that_are_no_metrics_are_counted_and_left_out(tmp_path: Path, line: bytes) -> None:
    store, values = Store(tmp_path, NOW), Values(NOW)
    values.take("f", line + b"\n" + emf.lines({"heat": [1]}, NOW)[0].encode() + b"\n")
    values.into(store)
    assert (values.refused, list(store.series)) == ({"f": 1}, [Series("Headrace", "heat")])
    assert values.why["f"]


def test_integers_of_any_length_are_kept(tmp_path: Path) -> None:
    store, values = Store(tmp_path, NOW), Values(NOW)
    values.take("f", emf.lines({"count": [10**30, -(10**25)]}, NOW)[0].encode() + b"\n")
    values.into(store)
    store.save({}, {})
    assert sums(Store(tmp_path, NOW), Series("Headrace", "count")) == {0: pytest.approx(10**30 - 10**25)}


def test_dimensions_of_a_line(tmp_path: Path) -> None:
    store, values = Store(tmp_path, NOW), Values(NOW)
    directive = b'{"Namespace": "N", "Dimensions": [[], ["z", "b"]], "Metrics": [{"Name": "a", "Unit": "Count"}]}'
    values.take(
        "f", b'{"a": 2, "b": "x", "z": 1, "_aws": {"Timestamp": %d, "CloudWatchMetrics": [%s]}}' % (NOW, directive)
    )
    values.into(store)
    assert set(store.series) == {Series("N", "a"), Series("N", "a", (("b", "x"), ("z", "1")))}
    assert store.series[Series("N", "a")].unit == "Count"
