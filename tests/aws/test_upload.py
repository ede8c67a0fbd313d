"""`headrace upload` from a running backend to moto's AWS: killed at any moment, run again, devices switched over."""

import gzip
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.archive import catalogue, transitions
from headrace.archive.local import LocalBucket
from headrace.registration import Erasure, add_erasure, erasures
from headrace.table.base import Item
from support import moto
from support.backend import ROOT
from support.moving import Moving, all_of, moving_system, objects_of

pytestmark = pytest.mark.skipif(moto.IS_REMOTE, reason="it is the packages that are run on a real account")
SENSORS = ROOT / "tests" / "data" / "sensors.csv.gz"
DAYS = ("2014-02-14", "2014-02-15", "2014-02-16")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    folder = tmp_path_factory.mktemp("upload")
    some = folder / "some.csv"
    with gzip.open(SENSORS, "rt") as file:
        head, *rows = (row for row in file if row.startswith(("time", *DAYS)))
        some.write_text(head + "".join(rows))
    with moving_system(folder) as made:
        local = made.local
        local.cli("send", str(some))
        local.settled(len(rows))
        made.send({"device_id": "odd", "time": 1, "x": 21.50, "y": [None, "é"]}, {"id": 7}, {"device_id": 5})
        local.cli("config", "pump-1", "set", '{"rate":1.50}')
        local.cli("config", "pump-2", "set", '{"rate":2}')
        local.cli("jobs", "run", "compact", "--wait")
        local.cli("jobs", "run", "aggregate_daily", "--wait")
        archive = made.bucket("archive")
        for info, storage_class in zip(archive.list("events/"), ("GLACIER", "DEEP_ARCHIVE"), strict=False):
            transitions.transition(archive, info, storage_class)
        made.send({"device_id": "odd", "time": 2, "id": "after compaction"})
        yield made


def content(bucket: LocalBucket, key: str, folder: Path) -> bytes:
    cold = bucket.cold_of(key)
    if cold is None:
        return bucket.get(key)
    bucket.cold.fetch(bucket.name, key, cold, folder / "thawed")
    return (folder / "thawed").read_bytes()


def test_a_dry_run_says_how_much_there_is(moving: Moving) -> None:
    found = json.loads(moving.run("--dry-run", "--json").stdout)
    assert found["events"]["count"] == len(all_of(moving.table("events"))) > 1000
    assert found["archive"]["count"] == len(list(moving.bucket("archive").list()))
    assert found["failures"]["count"] == 2
    assert 0 < found["events"]["usd"] < 0.1
    assert "to move all of it" in moving.run("--dry-run").stdout
    assert all_of(moving.their_table("events")) == {}


def test_whatever_kills_it_all_of_it_arrives(moving: Moving, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    assert moving.killed(0, 0.3)  # before anything was done
    killed = sum(moving.killed(moments.randint(1, 2), moments.uniform(0, 0.1)) for _ in range(6))
    assert killed >= 2
    result = moving.run()
    assert result.returncode == 0, result.stderr
    assert "verified" in result.stdout
    for noun in ("events", "devices"):
        assert all_of(moving.their_table(noun)) == all_of(moving.table(noun))
    for noun in ("archive", "failures"):
        local, theirs = moving.bucket(noun), moving.remote.bucket(noun)
        assert objects_of(theirs) == objects_of(local)
        client = moving.remote.client("s3")
        for info in local.list():
            if info.key.startswith(catalogue.PREFIX):
                continue
            if not info.readable:
                client.restore_object(Bucket=theirs.name, Key=info.key, RestoreRequest={"Days": 1})
            assert theirs.get(info.key) == content(local, info.key, tmp_path)
    classes = {info.storage_class for info in moving.remote.bucket("archive").list("events/")}
    assert classes == {"STANDARD", "GLACIER", "DEEP_ARCHIVE"}
    known = catalogue.of(moving.bucket("archive"), moving.layout.archive)
    theirs_known = catalogue.of(moving.remote.bucket("archive"), tmp_path)
    assert theirs_known.days() == known.days()
    for day in known.days():
        assert theirs_known.manifest(day).files == known.manifest(day).files


def test_a_second_time_there_is_nothing_to_do(moving: Moving) -> None:
    counts = moving.uploaded()
    assert sum(each["put"] for each in counts.values()) == 0
    assert counts["events"]["there"] == len(all_of(moving.table("events")))
    assert counts["devices"]["kept"] == counts["events"]["kept"] == 0


def test_while_devices_are_switched_over_only_what_is_new_moves(moving: Moving) -> None:
    theirs = moving.their_table("devices")
    newer = Item("pump-1", "config", b'{"version":2,"config":{"rate":9},"updated_at":"2026-12-01T00:00:00.000Z"}')
    theirs.put([newer])
    moving.local.cli("config", "pump-2", "set", '{"rate":3}')
    moving.send({"device_id": "new", "time": 5, "id": "moved late"}, {"device_id": "odd", "time": 3, "id": "late too"})
    on_aws = Item(
        "switched", "event#2026-12-01T00:00:00.000000Z#a", b'{"arrived_at":"2026-12-01T00:00:00Z","readings":{}}'
    )
    moving.their_table("events").put([on_aws])
    counts = moving.uploaded()
    # Two events, two devices registered by them (`odd` is known), pump-2's config; a raw object a batch.
    assert counts["events"]["put"] == 2
    assert counts["devices"]["kept"] == 1
    found = all_of(moving.their_table("devices"))
    assert found["pump-1", "config"] == newer
    assert found["pump-2", "config"] == moving.table("devices").get("pump-2", "config")
    assert all_of(moving.their_table("events")) == all_of(moving.table("events")) | {on_aws[:2]: on_aws}
    assert counts["raw"]["put"] >= 1 and counts["archive"]["put"] == 0


def test_what_compaction_has_done_since_moves_as_well(moving: Moving, tmp_path: Path) -> None:
    moving.local.cli("jobs", "run", "compact", "--wait")
    moving.uploaded()
    theirs = moving.remote.bucket("archive")
    known = catalogue.of(moving.bucket("archive"), moving.layout.archive)
    theirs_known = catalogue.of(theirs, tmp_path)
    for day in known.days():
        assert theirs_known.manifest(day).files == known.manifest(day).files
    assert {info.key for info in theirs.list("raw/", tags=True) if not info.tags} == set()


@pytest.mark.parametrize(
    ("arguments", "changed", "says"),
    [
        ([], {"AWS_ACCESS_KEY_ID": None, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nowhere"}, "aws configure"),
        ([], {"AWS_REGION": None, "AWS_DEFAULT_REGION": None, "HOME": "/nowhere"}, "AWS_REGION"),
        (["--stack", "nothing"], {}, "There is no stack 'nothing'"),
        (["--archive-bucket", "no-such-bucket"], {}, "'no-such-bucket' can't be used: it does not exist"),
        (["--events-table", "nothing"], {}, "'nothing' can't be used: it does not exist"),
        (["--data", "/nowhere"], {}, "is no data directory"),
    ],
)
def test_what_is_missing_is_told(
    moving: Moving, arguments: list[str], changed: dict[str, str | None], says: str
) -> None:
    result = moving.run(*arguments, **changed)
    assert result.returncode in (1, 2)
    assert says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_what_was_erased_here_is_noted_behind_what_was_erased_there(moving: Moving) -> None:
    """Both have numbered from 1: of two erasures of one number none may be lost."""
    theirs = moving.their_table("devices")
    add_erasure(theirs, Erasure("theirs", 5_000))
    moving.local.cli("devices", "erase", "pump-2", "--yes")
    before = all_of(theirs)
    counts = moving.uploaded()
    assert counts["devices"]["put"] == 1
    known = erasures(theirs)
    now_ms = int(time.time() * 1000)
    assert known.is_erased("theirs", 4_999) and known.is_erased("pump-2", now_ms - 60_000)
    assert before.items() <= all_of(theirs).items()
    assert moving.uploaded()["devices"]["put"] == 0


def test_it_is_not_moved_to_itself(moving: Moving) -> None:
    result = moving.run(AWS_ENDPOINT_URL=moving.local.url)
    assert result.returncode == 1 and "and not at AWS" in result.stderr
