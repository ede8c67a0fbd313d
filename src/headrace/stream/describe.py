"""What streams there are, and what they are made of: the Describe and List operations. They change nothing."""

from typing import Any

from headrace.errors import UsageError
from headrace.record import parse_shard_id, shard_id
from headrace.stream import catalog, iterators
from headrace.stream.iterators import ShardsToken, StreamsToken
from headrace.stream.streams import SHARDS_MAX, Streams, arn_of, not_found, open_shards, start_of
from headrace.wire import WireError

STREAMS_PAGE_MAX = 100
DESCRIBED_SHARDS_MAX = 100
LISTED_SHARDS_MAX = 1000
ON_DEMAND_STREAMS_MAX = 50
_RECORD_KIB_MAX = 1024


class Describes:
    """The operations that only look."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def streams(self, asked: dict[str, Any]) -> dict[str, Any]:
        """List the streams by name, a page at a time."""
        after = asked.get("ExclusiveStartStreamName", "")
        now_ms = self._streams.now_ms()
        if "NextToken" in asked:
            after = iterators.decode_token(asked["NextToken"], StreamsToken, now_ms).after
        names = [name for name in self._streams.names() if name > after]
        page = names[: min(asked.get("Limit", STREAMS_PAGE_MAX), STREAMS_PAGE_MAX)]
        answer: dict[str, Any] = {
            "StreamNames": page,
            "HasMoreStreams": len(names) > len(page),
            "StreamSummaries": [_head(self._streams.entry(name)) for name in page],
        }
        if len(names) > len(page):
            answer["NextToken"] = iterators.encode(StreamsToken(now_ms, page[-1]))
        return answer

    async def stream(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Describe a stream with a page of its shards."""
        entry = self._streams.entry(name)
        after = _index(asked["ExclusiveStartShardId"]) if "ExclusiveStartShardId" in asked else -1
        shards = [shard for shard in _made(entry) if shard.shard > after]
        page = shards[: min(asked.get("Limit", DESCRIBED_SHARDS_MAX), DESCRIBED_SHARDS_MAX)]
        described = _head(entry) | _state(entry)
        described["Shards"] = [_shard(entry, shard) for shard in page]
        described["HasMoreShards"] = len(shards) > len(page)
        return {"StreamDescription": described}

    async def summary(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Describe a stream without its shards."""
        entry = self._streams.entry(name)
        described = _head(entry) | _state(entry)
        described["OpenShardCount"] = open_shards([entry]) if entry.status != "CREATING" else 0
        described["ConsumerCount"] = 0
        described["MaxRecordSizeInKiB"] = _RECORD_KIB_MAX
        return {"StreamDescriptionSummary": described}

    async def limits(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell how much of the account's limits is used."""
        entries = [self._streams.entry(name) for name in self._streams.names()]
        return {
            "ShardLimit": SHARDS_MAX,
            "OpenShardCount": open_shards(entry for entry in entries if entry.mode == "PROVISIONED"),
            "OnDemandStreamCount": sum(entry.mode == "ON_DEMAND" for entry in entries),
            "OnDemandStreamCountLimit": ON_DEMAND_STREAMS_MAX,
        }

    def shards(self, name: str | None, asked: dict[str, Any]) -> dict[str, Any]:
        """List the shards of a stream that a filter lets through, a page at a time; without a name by its NextToken."""
        now_ms = self._streams.now_ms()
        if "NextToken" in asked:
            token = _next(name, asked, now_ms)
        elif name is not None:
            token = self._start(name, asked, now_ms)
        else:
            raise WireError("InvalidArgumentException", "Either NextToken or StreamName should be provided.")
        entry = self._streams.entry(token.stream)
        if entry.created_s != token.created_s:
            raise not_found(token.stream)
        wanted = [shard for shard in _made(entry) if shard.shard > token.after and _passes(shard, token)]
        page = wanted[: min(asked.get("MaxResults", LISTED_SHARDS_MAX), LISTED_SHARDS_MAX)]
        answer: dict[str, Any] = {"Shards": [_shard(entry, shard) for shard in page]}
        if len(wanted) > len(page):
            following = ShardsToken(
                now_ms, token.stream, token.created_s, page[-1].shard, token.filter_type, token.filter_ms
            )
            answer["NextToken"] = iterators.encode(following)
        return answer

    def _start(self, name: str, asked: dict[str, Any], now_ms: int) -> ShardsToken:
        """Return where a listing starts, as a token."""
        entry = self._streams.entry(name)
        if int(asked.get("StreamCreationTimestamp", entry.created_s)) != entry.created_s:
            raise not_found(name)
        after = _index(asked["ExclusiveStartShardId"]) if "ExclusiveStartShardId" in asked else -1
        chosen = asked.get("ShardFilter", {"Type": "FROM_TRIM_HORIZON"})
        kind = chosen["Type"]
        if kind == "AFTER_SHARD_ID":
            after = max(after, _index(_needed(chosen, "ShardId")))
        filter_ms = int(_needed(chosen, "Timestamp") * 1000) if kind.endswith("_TIMESTAMP") else 0
        return ShardsToken(now_ms, name, entry.created_s, after, kind, filter_ms)


def _next(name: str | None, asked: dict[str, Any], now_ms: int) -> ShardsToken:
    """Return where a NextToken says to go on.

    AWS refuses the stream's name beside it, and so boto3's own paginator; here the name is fine if it is the token's.
    """
    together = "NextToken and {} cannot be provided together."
    for other in ("ExclusiveStartShardId", "StreamCreationTimestamp"):
        if other in asked:
            raise WireError("InvalidArgumentException", together.format(other))
    try:
        token = iterators.decode_token(asked["NextToken"], ShardsToken, now_ms)
    except WireError as error:
        if name is None or error.code != "InvalidArgumentException":
            raise
        raise WireError("InvalidArgumentException", together.format("StreamName")) from None
    if name is not None and name != token.stream:
        raise WireError("InvalidArgumentException", together.format("StreamName"))
    return token


def _needed(chosen: dict[str, Any], name: str) -> Any:
    if name not in chosen:
        raise WireError("InvalidArgumentException", f"{name} must be provided with a filter of type {chosen['Type']}.")
    return chosen[name]


def _passes(shard: catalog.Shard, token: ShardsToken) -> bool:
    """Tell whether a filter lets a shard through. No shard is ever closed yet, so none has an end."""
    if token.filter_type == "AT_LATEST":
        return not shard.closed
    if token.filter_type == "AT_TRIM_HORIZON":
        return not shard.parents
    if token.filter_type == "AT_TIMESTAMP":
        return shard.created_s * 1000 <= token.filter_ms
    return True


def _index(text: str) -> int:
    try:
        return parse_shard_id(text)
    except UsageError as error:
        raise WireError("InvalidArgumentException", error.problem) from None


def _made(entry: catalog.Stream) -> tuple[catalog.Shard, ...]:
    """Return a stream's shards; one that is being made has none yet."""
    return entry.shards if entry.status != "CREATING" else ()


def _head(entry: catalog.Stream) -> dict[str, Any]:
    return {
        "StreamName": entry.name,
        "StreamARN": arn_of(entry),
        "StreamStatus": entry.status,
        "StreamModeDetails": {"StreamMode": entry.mode},
        "StreamCreationTimestamp": float(entry.created_s),
    }


def _state(entry: catalog.Stream) -> dict[str, Any]:
    return {
        "RetentionPeriodHours": entry.retention_hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


def _shard(entry: catalog.Stream, shard: catalog.Shard) -> dict[str, Any]:
    described: dict[str, Any] = {
        "ShardId": shard_id(shard.shard),
        "HashKeyRange": {"StartingHashKey": shard.start, "EndingHashKey": shard.end},
        "SequenceNumberRange": {"StartingSequenceNumber": start_of(shard)},
    }
    for name, parent in zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False):
        described[name] = shard_id(parent)
    return described
