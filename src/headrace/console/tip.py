"""The newest events: what stands at the streams' ends, through Kinesis' own wire.

Each look reads what came after the look before and shows the last few of each shard; of a shard that runs too fast for
that it reads the first few instead: a look costs no more then. The first look goes back a little, so that something is
seen of a stream that rests.
"""

from typing import Any

from headrace import event
from headrace.console.backend import KINESIS, Backend
from headrace.console.snapshot import Seen
from headrace.errors import HeadraceError, NotFound

SHARDS_MAX = 8  # read in one look; where there are more, they take turns
RECORDS_MAX = 10  # of a shard in one look, shown
READ_MAX = 1000  # of a shard in one look, read
BEFORE_MS = 10_000  # the first look begins so long before the last arrival

_Shard = tuple[str, str]  # stream, shard id


class Tip:
    """Follows the ends of all streams."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._iterators: dict[_Shard, tuple[str, int]] = {}  # where to go on, and the number of the record there
        self._turn = 0

    async def look(self) -> list[Seen]:
        """Return what came since the last look, or a part of it, the newest first."""
        streams = await self._backend.get("streams")
        found = []
        for stream, shard in self._chosen(streams):
            try:
                found += await self._read((stream, shard), streams[stream]["shards"][shard])
            except NotFound:  # removed meanwhile
                self._iterators.pop((stream, shard), None)
        return sorted(found, key=lambda seen: (seen.arrived_ms, seen.place), reverse=True)

    def forget(self) -> None:
        """Begin anew with the next look: the places it would go on from are old."""
        self._iterators.clear()

    def _chosen(self, streams: dict[str, Any]) -> list[_Shard]:
        every = [(stream, shard) for stream, each in streams.items() for shard in each["shards"]]
        start = self._turn % len(every) if len(every) > SHARDS_MAX else 0
        self._turn = start + SHARDS_MAX
        return (every[start:] + every[:start])[:SHARDS_MAX]

    async def _read(self, place: _Shard, shard: dict[str, int]) -> list[Seen]:
        iterator, number = self._iterators.pop(place, ("", 0))
        limit = READ_MAX if shard["next"] - number <= READ_MAX else RECORDS_MAX
        if not iterator and shard["next"] > shard["first"]:
            since_s = (shard["last_arrival_ms"] - BEFORE_MS) / 1000
            iterator = await self._iterator(place, {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": since_s})
            limit = READ_MAX
        following = await self._iterator(place, {"ShardIteratorType": "LATEST"})
        records: list[dict[str, Any]] = []
        if iterator:
            try:
                answer = await self._backend.call(KINESIS, "GetRecords", ShardIterator=iterator, Limit=limit)
                records = answer["Records"]
            except HeadraceError:
                records = []  # an expired iterator, a shard over its limit: the next look sees more
        self._iterators[place] = following, shard["next"]
        return [seen for record in records[-RECORDS_MAX:] for seen in _seen(place, record)]

    async def _iterator(self, place: _Shard, where: dict[str, object]) -> str:
        stream, shard = place
        answer = await self._backend.call(KINESIS, "GetShardIterator", StreamName=stream, ShardId=shard, **where)
        iterator: str = answer["ShardIterator"]
        return iterator


def _seen(place: _Shard, record: dict[str, Any]) -> list[Seen]:
    """Return a record's events, as a function would find them."""
    number, key, arrived_s = record["SequenceNumber"], record["PartitionKey"], record["ApproximateArrivalTimestamp"]
    kinesis = {
        "data": record["Data"], "partitionKey": key, "sequenceNumber": number, "approximateArrivalTimestamp": arrived_s
    }  # fmt: skip
    found = []
    for at, each in enumerate(event.decode({"kinesis": kinesis})[:RECORDS_MAX]):
        where, arrived_ms = f"{place[1]}/{number}/{at}", round(arrived_s * 1000)
        if isinstance(each, event.Event):
            found.append(Seen(where, arrived_ms, each.device_id, each.readings, None))
        else:
            found.append(Seen(where, arrived_ms, key, b"{}", each.message))
    return found
