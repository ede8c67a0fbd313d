"""`headrace status --verify`: log, table, archive and failures compared, record by record.

For what a function's checkpoints say is done, and as far as the log still holds it: `archive` must have every record in
a raw object, `store` every event in the table under its identity, and what is missing there must have a failure
document of that function; the checkpoints' counters must agree with the documents. Runs in a process of its own, while
the backend works: records that come in meanwhile are looked at only as far as the checkpoints had come at the start.
"""

from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from headrace import clock, event, rpc
from headrace.archive import catalogue, compaction
from headrace.archive.lifecycle_log import LifecycleLog
from headrace.archive.local import LocalBucket
from headrace.errors import InvalidObjectState, UsageError
from headrace.ledger import RawObject, parse_raw_key
from headrace.operations.status import compacted
from headrace.record import Record, parse_sequence_number, parse_shard_id, shard_id
from headrace.registration import Registration, erasures
from headrace.runtime.kinesis_event import Source, build
from headrace.settings import Layout
from headrace.stream.catalog import load
from headrace.stream.reader import Reader
from headrace.system import Mapping, System
from headrace.table.base import Table
from headrace.table.local import LocalTable

DIFFERENCES_MAX = 100
PAGE = 2000
BATCH_BYTES = 4 * 1024 * 1024
DAY_S = 86_400

Place = tuple[int, int]  # (shard, number)


class _Kinesis(msgspec.Struct):
    sequence_number: str = msgspec.field(name="sequenceNumber")


class _Record(msgspec.Struct):
    kinesis: _Kinesis


class _Payload(msgspec.Struct):
    records: list[_Record] = msgspec.field(name="Records")


class _GivenUp(msgspec.Struct):
    """What is looked at in the document of a batch that was given up."""

    payload: _Payload


_given_up = msgspec.json.Decoder(_GivenUp).decode


class Checkpoint(msgspec.Struct):
    """What the runtime says of one shard of one mapping (its other fields are its own)."""

    start: int
    next: int
    processed: int
    failed: int
    filtered: int
    expired: int


class Documents:
    """The failure documents of one function on one stream: whole records given up, and rejected events."""

    def __init__(self) -> None:
        self.given_up: set[Place] = set()
        self.rejected: dict[Place, set[tuple[int, int]]] = defaultdict(set)

    def places(self) -> set[Place]:
        """Return every record that has a document."""
        return self.given_up | self.rejected.keys()


class Verification:
    """One comparison; `differences` says what does not agree (the first hundred)."""

    def __init__(self, layout: Layout, system: System) -> None:
        self._layout = layout
        self._system = system
        self.differences: list[dict[str, Any]] = []
        self.documents: dict[tuple[str, str], Documents] = defaultdict(Documents)
        self.rejected = 0
        self.items = 0
        self.archived = 0

    def run(self) -> dict[str, Any]:
        """Compare, and return the exact counts and the differences."""
        runtime = rpc.Client(self._layout.runtime_socket)
        raw = runtime.call("checkpoints")
        checkpoints = rpc.decode(raw, type=dict[str, dict[str, dict[str, Checkpoint]]])
        self._read_documents()
        for mapping in self._system.mappings:
            if mapping.function in checkpoints:
                self._verify(mapping, checkpoints[mapping.function].get(mapping.stream, {}))
        return {
            "verified": not self.differences,
            "differences": self.differences,
            "items": self.items,
            "rejected": self.rejected,
            "archived": self.archived,
            "failed": {
                function: len(documents.places()) for (function, _), documents in sorted(self.documents.items())
            },
        }

    def _verify(self, mapping: Mapping, by_shard: dict[str, Checkpoint]) -> None:
        shards = {parse_shard_id(name): checkpoint for name, checkpoint in by_shard.items()}
        documents = self.documents[mapping.function, mapping.stream]
        for shard, checkpoint in shards.items():
            self._verify_counters(mapping, shard, checkpoint, documents)
        if mapping.function == "archive":
            self._verify_archive(mapping, shards, documents)
            self._verify_compacted(mapping)
        if mapping.function == "store":
            self._verify_table(mapping, shards, documents)

    def _unreadable(self, bucket: str, key: str, error: Exception) -> None:
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append({"kind": "unreadable", "bucket": bucket, "key": key, "reason": str(error)})

    def _differs(self, kind: str, mapping: Mapping, shard: int, **details: object) -> None:
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append({"kind": kind, "function": mapping.function, "shard": shard_id(shard), **details})

    def _verify_counters(self, mapping: Mapping, shard: int, found: Checkpoint, documents: Documents) -> None:
        counted = found.processed + found.failed + found.filtered + found.expired
        if counted != found.next - found.start:
            self._differs("ledger", mapping, shard, counted=counted, passed=found.next - found.start)
        failed = sum(1 for at, number in documents.places() if at == shard and found.start <= number < found.next)
        if failed != found.failed:
            self._differs("failed", mapping, shard, counted=found.failed, documents=failed)

    # failures

    def _read_documents(self) -> None:
        by_uuid = {mapping.uuid: mapping for mapping in self._system.mappings}
        for name in self._system.failures_buckets:
            bucket = LocalBucket(self._layout.buckets / name)
            for info in bucket.list("rejected/"):
                self._read_rejected(info.key)
            for info in bucket.list("aws/lambda/"):
                mapping = by_uuid.get(info.key.split("/")[2])
                if mapping is None:
                    continue
                try:
                    self._read_given_up(mapping, bucket.get(info.key))
                except (msgspec.DecodeError, UsageError) as error:
                    self._unreadable(name, info.key, error)

    def _read_rejected(self, key: str) -> None:
        self.rejected += 1
        try:
            _, function, stream, _shard, name = key.split("/", 4)
            sequence, subsequence, index = name.rsplit(".", 2)
            parsed, within = parse_sequence_number(sequence), (int(subsequence), int(index))
        except (UsageError, ValueError):
            return  # something else that a function has put there: it speaks of no record
        self.documents[function, stream].rejected[parsed.shard, parsed.number].add(within)

    def _read_given_up(self, mapping: Mapping, body: bytes) -> None:
        for record in _given_up(body).payload.records:
            parsed = parse_sequence_number(record.kinesis.sequence_number)
            self.documents[mapping.function, mapping.stream].given_up.add((parsed.shard, parsed.number))

    # archive

    def _verify_archive(self, mapping: Mapping, shards: dict[int, Checkpoint], documents: Documents) -> None:
        archived = self._read_archive(mapping.stream)
        self.archived = sum(len(numbers) for numbers in archived.values())
        held = self._reader(mapping.stream).bounds()
        for shard, checkpoint in shards.items():
            low = max(checkpoint.start, held.get(shard, (0, 0))[0])
            for number in range(low, checkpoint.next):
                if number not in archived[shard] and (shard, number) not in documents.given_up:
                    self._differs("not archived", mapping, shard, number=number)

    def _read_archive(self, stream: str) -> dict[int, set[int]]:
        import zstandard

        class Line(msgspec.Struct):
            shard: str
            seq: str

        decoder = msgspec.json.Decoder(Line)
        numbers: dict[int, set[int]] = defaultdict(set)
        bucket = LocalBucket(self._layout.buckets / self._system.archive_bucket)
        for info in bucket.list("raw/"):
            raw = parse_raw_key(info.key)
            if raw is None or raw.stream != stream:
                continue
            try:
                text = zstandard.ZstdDecompressor().decompress(bucket.get(info.key))
                parsed = [parse_sequence_number(line.seq) for line in decoder.decode_lines(text)]
            except InvalidObjectState:  # cold: its name tells what it holds
                numbers[raw.shard].update(range(raw.first, raw.last + 1))
                continue
            except (zstandard.ZstdError, msgspec.DecodeError, UsageError) as error:
                self._unreadable(self._system.archive_bucket, info.key, error)
                continue
            for each in parsed:
                numbers[each.shard].add(each.number)
        for raw in compacted(self._layout, self._system):
            if raw.stream == stream:
                numbers[raw.shard].update(range(raw.first, raw.last + 1))
        for raw in self._deleted_by_rule(bucket.name, stream):
            numbers[raw.shard].update(range(raw.first, raw.last + 1))
        return numbers

    def _verify_compacted(self, mapping: Mapping) -> None:
        """Compare catalogue and bucket: every compacted file is there, as large as it was written, and no other is."""
        bucket = LocalBucket(self._layout.buckets / self._system.archive_bucket)
        known = catalogue.of(bucket, self._layout.archive)
        files = [file for day in known.days() for file in known.manifest(day).files]
        sizes = {info.key: info.size for info in bucket.list(catalogue.FILES)}  # later: what is replaced stays a while
        for file in files:
            if sizes.get(file.key) != file.bytes:
                details = {"key": file.key, "bytes": sizes.get(file.key, 0), "written": file.bytes}
                self._differs("compacted file", mapping, 0, **details)
        for key in compaction.uncounted(bucket, self._layout.archive, known, LifecycleLog(self._layout.lifecycle)):
            self._differs("in no manifest", mapping, 0, key=key)

    def _deleted_by_rule(self, bucket: str, stream: str) -> Iterator[RawObject]:
        """Yield the raw objects that were there until a lifecycle rule deleted them."""
        for line in LifecycleLog(self._layout.lifecycle).lines():
            raw = parse_raw_key(line.key) if line.action == "expire" and line.bucket == bucket else None
            if raw is not None and raw.stream == stream:
                yield raw

    # table

    def _verify_table(self, mapping: Mapping, shards: dict[int, Checkpoint], documents: Documents) -> None:
        function = self._system.function(mapping.function)
        environment = function.environment if function else {}
        stored = self._read_table(
            LocalTable.connect(environment.get("EVENTS_TABLE", "events"), self._layout.table_socket)
        )
        self.items = len(stored)
        # Asked for last: what an erase deletes meanwhile is missing above, and told here.
        erased = erasures(LocalTable.connect(environment.get("DEVICES_TABLE", "devices"), self._layout.table_socket))
        ttl_days = int(environment.get("EVENTS_TTL_DAYS", "0") or 0)
        expired_ms = clock.now_ms() - ttl_days * DAY_S * 1000 if ttl_days else 0
        complete = all(first == 0 for first, _ in self._reader(mapping.stream).bounds().values())
        following: dict[int, int] = defaultdict(int)
        for shard, batch, source in self._read_log(mapping.stream):
            # A gap is a record that is damaged: what it held is in the table, and in no record.
            complete = complete and following[shard] == batch[-1].number + 1 - len(batch)
            following[shard] = batch[-1].number + 1
            checkpoint = shards.get(shard)
            done = range(checkpoint.start, checkpoint.next) if checkpoint else range(0)
            for record, data in zip(batch, build(batch, source)["Records"], strict=True):
                place = (shard, record.number)
                # What was given up may be stored all the same: by a call that failed later on, or by a replay.
                due = record.number in done and record.arrival_ms > expired_ms and place not in documents.given_up
                rejected = documents.rejected.get(place, set())
                self._verify_record(mapping, record, data, stored, rejected, erased, due)
        if complete and stored:
            for identity, known in stored.items():
                if not known:
                    self._differs("item of no record", mapping, 0, identity=identity.hex())

    def _verify_record(
        self,
        mapping: Mapping,
        record: Record,
        data: dict[str, Any],
        stored: dict[bytes, bool],
        rejected: set[tuple[int, int]],
        erased: Registration,
        due: bool,
    ) -> None:
        sequence = data["kinesis"]["sequenceNumber"]
        for one in event.decode(data):
            if isinstance(one, event.Fault):
                is_known = (one.subsequence, one.index) in rejected or erased.is_erased(record.key, record.arrival_ms)
                if due and not is_known:
                    self._differs("not rejected", mapping, record.shard, sequence_number=sequence, reason=one.reason)
                continue
            identity = _identity(one.device_id, event.sort_key(one))
            if identity in stored:
                stored[identity] = True
            elif due and not erased.is_erased(one.device_id, record.arrival_ms):
                self._differs("not stored", mapping, record.shard, sequence_number=sequence, device_id=one.device_id)

    def _read_table(self, table: Table) -> dict[bytes, bool]:
        """Return the identities in the table, as digests; the values say later which of them the log explains."""
        stored: dict[bytes, bool] = {}
        after: tuple[str, str] | None = None
        while items := table.scan(after, PAGE):
            for item in items:
                if item.sort.startswith("event#"):
                    stored[_identity(item.partition, item.sort)] = False
            after = items[-1].partition, items[-1].sort
        return stored

    def _read_log(self, stream: str) -> Iterator[tuple[int, list[Record], Source]]:
        reader = self._reader(stream)
        entry = load(self._layout.streams / stream)
        created = {shard.shard: shard.created_s for shard in entry.shards} if entry else {}
        for shard, (first, end) in reader.bounds().items():
            position, number = 0, first
            while number < end:
                batch, position = reader.records(position, shard, number, PAGE, BATCH_BYTES)
                if not batch:
                    break
                yield shard, batch, Source(stream, shard, created[shard])
                number = batch[-1].number + 1

    def _reader(self, stream: str) -> Reader:
        return Reader(self._layout.streams / stream)


def _identity(device: str, sort: str) -> bytes:
    # 12 bytes: two of a billion identities are equal by chance once in 10^11 runs
    return blake2b(f"{device}\0{sort}".encode(), digest_size=12).digest()
