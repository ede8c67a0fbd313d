"""An upload from its beginning to its end: steps that may be cut off anywhere, and begun again anywhere."""

import json
from collections.abc import Callable

import msgspec

from headrace import aws, clock, rpc
from headrace.archive import catalogue
from headrace.archive.catalogue import Manifest
from headrace.archive.local import LocalBucket
from headrace.cost import prices
from headrace.errors import DataDirectoryError, HeadraceError, NotFound, Unavailable, UsageError
from headrace.operations.upload import estimate, items, manifests, objects
from headrace.operations.upload.journal import Counts, Journal
from headrace.operations.upload.objects import Moved, Remote
from headrace.operations.upload.target import Target
from headrace.settings import Layout
from headrace.system import System
from headrace.table.aws import DynamoTable
from headrace.table.local import LocalTable

ERASED = f"{catalogue.PREFIX}erased.json"
RAW = "raw/"
TRIES = 5
STEPS = ("devices", "events", "archive", "catalogue", "raw", "failures")

Told = Callable[[str, Counts], None]


class Source:
    """A local system: its tables through the running backend, its buckets as the folders that they are."""

    def __init__(self, layout: Layout) -> None:
        """Raise UsageError where there is no data directory, Unavailable where no backend runs on it."""
        if not layout.version.is_file() or not layout.system.is_file():
            raise UsageError(f"{layout.data} is no data directory.", "Name it with --data, or HEADRACE_DATA.")
        try:
            system = msgspec.json.decode(layout.system.read_bytes(), type=System)
        except msgspec.DecodeError as error:
            raise DataDirectoryError(f"{layout.system} can't be read: {error}.", "Start `headrace up` once.") from error
        store, api = system.function("store"), system.function("device_api")
        events = store.environment.get("EVENTS_TABLE", "events") if store else "events"
        devices = api.environment.get("DEVICES_TABLE", "devices") if api else "devices"
        self._client = rpc.Client(layout.table_socket)
        self.events = LocalTable(events, self._client, patience_s=2.0)
        self.devices = LocalTable(devices, self._client, patience_s=2.0)
        self.archive = LocalBucket(layout.buckets / system.archive_bucket)
        self.catalogue = catalogue.of(self.archive, layout.archive)
        self.failures = [LocalBucket(layout.buckets / name) for name in system.failures_buckets]
        try:
            self.devices.scan(None, 1)
        except Unavailable as error:
            raise Unavailable(
                f"The tables in {layout.data} are read through a running backend, and none answers.",
                f"Start it in another terminal: headrace up --data {layout.data}",
            ) from error

    def close(self) -> None:
        """Close the connection to the tables."""
        self._client.close()


def estimated(source: Source) -> dict[str, estimate.Part]:
    """Return what there is to move, by table and bucket."""
    known = prices.load()
    found = {
        "devices": estimate.of_table(source.devices, known),
        "events": estimate.of_table(source.events, known),
        "archive": estimate.of_bucket(source.archive, known),
        "failures": estimate.Part(),
    }
    for bucket in source.failures:
        part, sum_ = estimate.of_bucket(bucket, known), found["failures"]
        sum_.count, sum_.bytes = sum_.count + part.count, sum_.bytes + part.bytes
        sum_.usd, sum_.usd_month = sum_.usd + part.usd, sum_.usd_month + part.usd_month
    return found


class Upload:
    """One upload. `told` hears of each page and group: the step's name and its counts."""

    def __init__(self, source: Source, target: Target, journal: Journal, told: Told) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._told = told
        self._client = aws.client("s3")
        self._bucket = Remote(target.archive_bucket, self._client)

    def run(self) -> None:
        """Do every step from where the journal is; raises HeadraceError at the first that does not succeed."""
        state = self._journal.state
        first = STEPS.index(state.step) if state.step in STEPS else 0
        for step in STEPS[first:]:
            if state.step != step:
                state.step, state.after = step, None
                self._journal.save()
            getattr(self, f"_{step}")(step)
        state.done = True
        self._journal.save()

    def _devices(self, step: str) -> None:
        self._table(step, self._source.devices, self._target.devices_table)

    def _events(self, step: str) -> None:
        self._table(step, self._source.events, self._target.events_table)

    def _archive(self, step: str) -> None:
        self._objects(step, lambda key: not key.startswith((RAW, catalogue.PREFIX)))

    def _raw(self, step: str) -> None:
        self._objects(step, lambda key: key.startswith(RAW))

    def _objects(self, step: str, wanted: Callable[[str], bool]) -> None:
        objects.move(step, self._source.archive, self._bucket, wanted, self._journal, lambda: self._tell(step))

    def _failures(self, step: str) -> None:
        target = Remote(self._target.failures_bucket, self._client)
        for bucket in self._source.failures:
            objects.move(step, bucket, target, lambda key: True, self._journal, lambda: self._tell(step))
            self._journal.state.after = None

    def _catalogue(self, step: str) -> None:
        """Put the manifests once the files that they name are there, then the list of what was erased."""
        for day in self._source.catalogue.days():
            self._day(step, day)
            self._journal.save()
            self._tell(step)
        self._erased(step)

    def _day(self, step: str, day: str) -> None:
        counts = self._journal.counts(step)
        put_before = self._journal.state.catalogue.get(day, [])
        for _ in range(TRIES):
            local = self._source.catalogue.manifest(day)
            if not self._has_files(local):
                continue  # compaction has replaced some meanwhile: the manifest then says by which
            key = f"{catalogue.PREFIX}dt={day}.json"
            body, etag = self._bucket.get(key)
            theirs = None if body is None else _manifest(key, body)
            wanted = manifests.joined(local, theirs, put_before, clock.now_ms())
            if theirs is not None and wanted == theirs:
                counts.there += 1
            elif not self._put(key, msgspec.json.encode(wanted), etag):
                continue
            else:
                counts.put += 1
            counts.seen += 1
            self._journal.state.catalogue[day] = [file.key for file in local.files]
            return
        raise HeadraceError(f"The catalogue of {day} changes all the time.", "Let compaction end, then try again.")

    def _has_files(self, manifest: Manifest) -> bool:
        """Put those of a day's files that were made since the step before; return whether AWS has them all."""
        put_before = self._journal.state.catalogue.get(manifest.date, ())
        for file in manifest.files:
            try:
                info = self._source.archive.find(file.key)
            except NotFound:
                return False
            if objects.move_one(self._source.archive, self._bucket, info, put_before) is Moved.GONE:
                return False
        return True

    def _erased(self, step: str) -> None:
        counts = self._journal.counts(step)
        try:
            local = json.loads(self._source.archive.get(ERASED))
        except NotFound:
            return  # nothing was ever erased
        for _ in range(TRIES):
            body, etag = self._bucket.get(ERASED)
            theirs = None if body is None else json.loads(body)
            wanted = manifests.joined_erasures(local, theirs)
            if wanted == theirs or self._put(ERASED, json.dumps(wanted, separators=(",", ":")).encode(), etag):
                counts.seen += 1
                counts.put += wanted != theirs
                counts.there += wanted == theirs
                return
        raise HeadraceError(f"{ERASED} changes all the time on AWS.", "Try again.")

    def _put(self, key: str, body: bytes, etag: str | None) -> bool:
        digest = objects.digest_of(body)
        if not self._bucket.put(key, body, etag, digest):
            return False
        objects.verify(self._bucket, key, digest)
        return True

    def _table(self, step: str, table: LocalTable, name: str) -> None:
        items.move(step, table, DynamoTable.connect(name), self._journal, lambda: self._tell(step))

    def _tell(self, step: str) -> None:
        self._told(step, self._journal.counts(step))


def _manifest(key: str, body: bytes) -> Manifest:
    """Return AWS's manifest of a day; raises HeadraceError for one that this version does not know."""
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except msgspec.DecodeError as error:
        raise HeadraceError(f"{key} on AWS can't be read: {error}.", "Put an earlier version of it back.") from error
    if manifest.version != catalogue.VERSION:
        raise HeadraceError(
            f"{key} on AWS has version {manifest.version}; this Headrace knows {catalogue.VERSION}.",
            "Use the newer Headrace.",
        )
    return manifest
