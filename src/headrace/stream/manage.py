"""Making, changing and deleting streams over the wire."""

import re
from typing import Any

from headrace.stream.streams import ON_DEMAND_SHARDS, LiveStream, Streams, changed_retention
from headrace.system import ACCOUNT
from headrace.wire import WireError

RETENTION_HOURS_MIN = 24
RETENTION_HOURS_MAX = 8760
TAGS_MAX = 50
TAGS_PAGE_MAX = 50
_NOT_A_TAG = re.compile(r"[^\w\s_.,/=+\-@:]")
_RECORD_KIB_MAX = 1024


class Manages:
    """The operations that change streams, durably before they answer."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def create(self, asked: dict[str, Any]) -> None:
        """Make a stream."""
        mode = asked.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
        shards = ON_DEMAND_SHARDS if mode == "ON_DEMAND" else asked.get("ShardCount")
        if shards is None:
            raise WireError(
                "ValidationException",
                "1 validation error detected: Value null at 'shardCount' failed to satisfy constraint: "
                "Member must not be null",
            )
        for name, plain in (
            ("MaxRecordSizeInKiB", _RECORD_KIB_MAX),
            ("RecordDistributionStrategy", "USER_PARTITION_KEY"),
            ("WarmThroughputMiBps", 0),
        ):
            if asked.get(name, plain) != plain:
                raise WireError("InvalidArgumentException", f"{name} {asked[name]} is not built yet.")
        tags = asked.get("Tags", {})
        _check_tags(asked["StreamName"], "add", [*tags, *tags.values()])
        _check_count(asked["StreamName"], tags)
        await self._streams.create(asked["StreamName"], shards, mode, tags)

    async def delete(self, name: str, asked: dict[str, Any]) -> None:
        """Delete a stream with its records."""
        await self._streams.delete(name)

    # --- retention ---

    async def increase_retention(self, name: str, asked: dict[str, Any]) -> None:
        """Keep records longer; what has expired stays hidden."""
        hours = _hours(asked)

        def longer(stream: LiveStream) -> dict[str, Any]:
            if hours < (existing := stream.entry.retention_hours):
                raise _wrong_way(name, hours, existing, "shorter", "Decrease")
            return changed_retention(stream, hours, self._streams.now_ms())

        await self._streams.change(name, longer)

    async def decrease_retention(self, name: str, asked: dict[str, Any]) -> None:
        """Keep records for a shorter time."""
        hours = _hours(asked)

        def shorter(stream: LiveStream) -> dict[str, Any]:
            if hours > (existing := stream.entry.retention_hours):
                raise _wrong_way(name, hours, existing, "longer", "Increase")
            return changed_retention(stream, hours, self._streams.now_ms())

        await self._streams.change(name, shorter)

    # --- tags ---

    async def add_tags(self, name: str, asked: dict[str, Any]) -> None:
        """Add tags, or give those that are there new values."""
        more: dict[str, str] = asked["Tags"]
        _check_tags(name, "add", [*more, *more.values()])

        def added(stream: LiveStream) -> dict[str, Any]:
            tags = stream.entry.tags | more
            _check_count(name, tags)
            return {"tags": tags}

        await self._streams.change(name, added)

    async def list_tags(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """List the tags by key, a page at a time."""
        tags = self._streams.entry(name).tags
        keys = [key for key in sorted(tags) if key > asked.get("ExclusiveStartTagKey", "")]
        page = keys[: asked.get("Limit", TAGS_PAGE_MAX)]
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in page], "HasMoreTags": len(keys) > len(page)}

    async def list_all_tags(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """List the tags by key, all of them."""
        return {"Tags": [{"Key": key, "Value": value} for key, value in sorted(self._streams.entry(name).tags.items())]}

    async def remove_tags(self, name: str, asked: dict[str, Any]) -> None:
        """Remove tags; those that are not there are ignored."""
        gone = set(asked["TagKeys"])
        _check_tags(name, "remove", asked["TagKeys"])

        def left(stream: LiveStream) -> dict[str, Any]:
            return {"tags": {key: value for key, value in stream.entry.tags.items() if key not in gone}}

        await self._streams.change(name, left)


def _hours(asked: dict[str, Any]) -> int:
    """Return the retention asked for."""
    hours: int = asked["RetentionPeriodHours"]
    for wrong, bound, how in (
        (hours < RETENTION_HOURS_MIN, f"Minimum allowed retention period is {RETENTION_HOURS_MIN} hours", "short"),
        (hours > RETENTION_HOURS_MAX, f"Maximum allowed retention period is {RETENTION_HOURS_MAX} hours", "long"),
    ):
        if wrong:
            message = f"{bound}. Requested retention period ({hours} hours) is too {how}."
            raise WireError("InvalidArgumentException", message)
    return hours


def _wrong_way(name: str, hours: int, existing: int, than: str, other: str) -> WireError:
    return WireError(
        "InvalidArgumentException",
        f"Requested retention period ({hours} hours) for stream {name} can not be {than} than existing retention period"
        f" ({existing} hours). Use {other}RetentionPeriod API.",
    )


def _check_tags(name: str, verb: str, texts: list[str]) -> None:
    if any(_NOT_A_TAG.search(text) for text in texts):
        raise WireError(
            "InvalidArgumentException",
            f"Failed to {verb} tags {'to' if verb == 'add' else 'from'} stream {name} under account {ACCOUNT} because "
            "some tags contained illegal characters. The allowed characters are Unicode letters, white-spaces, "
            "'_',',','/','=','+','-','@'.",
        )


def _check_count(name: str, tags: dict[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise WireError(
            "InvalidArgumentException",
            f"Failed to add tags to stream {name} under account {ACCOUNT} because a given stream cannot have more than "
            f"{TAGS_MAX} tags associated with it.",
        )
