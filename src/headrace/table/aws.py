"""A table in DynamoDB.

botocore's own retries are off: what DynamoDB could not take is sent again here, with backoff and jitter and not beyond
a deadline, so that a function says in time what it could not write.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from headrace import aws, clock
from headrace.errors import Conflict, HeadraceError, Throttled, Unavailable
from headrace.table import dynamodb_item
from headrace.table.base import Item, Table
from headrace.table.dynamodb_item import EXPIRES, PARTITION, SORT, Attributes

BATCH_ITEMS = 25  # DynamoDB's limit of BatchWriteItem; their bytes are always within its other limit
BATCHES_AT_ONCE = 8
KEYS_AT_ONCE = 100  # DynamoDB's limit of BatchGetItem
SORT_BYTES_MAX = 1024
PAUSE_S = (0.05, 2.0)  # first and longest before a try again
PATIENCE_S = 60.0  # how long it tries again where no deadline is set
READ_S_MAX = 10.0  # for one answer

T = TypeVar("T")


class _Versioned(msgspec.Struct):
    version: int = 0


_version = msgspec.json.Decoder(_Versioned).decode


class _Key(NamedTuple):
    partition: str
    sort: str


class DynamoTable(Table):
    """The DynamoDB table `name`, keys `device_id` and `sk`. Safe to share between threads. Reads are consistent.

    On top of the interface's errors: NotFound where there is no such table, UsageError without usable credentials,
    HeadraceError where access is denied. A Throttled or Unavailable that `put` raises says what was not written.
    """

    def __init__(self, name: str, client: Any, deadline_s: Callable[[], float | None] = lambda: None) -> None:
        """`client` is botocore's or boto3's; `deadline_s` returns the monotonic second until which a call may last."""
        self._name = name
        self._client = client
        self._deadline_s = deadline_s
        self._threads: ThreadPoolExecutor | None = None

    @classmethod
    def connect(cls, name: str, deadline_s: Callable[[], float | None] = lambda: None) -> "DynamoTable":
        """Return the table in the region and account of the environment."""
        client = aws.client(
            "dynamodb",
            retries={"total_max_attempts": 1},
            read_timeout=READ_S_MAX,
            parameter_validation=False,  # a third of the time of a call, for what is made right here
        )
        return cls(name, client, deadline_s)

    def put(self, items: Sequence[Item]) -> None:
        """Write items in batches, several at once; of two with one key only the last is sent."""
        requests = {
            _Key(item.partition, item.sort): {"PutRequest": {"Item": dynamodb_item.attributes_of(item)}}
            for item in items
        }
        self._write(list(requests.values()))

    def put_if_version(self, item: Item, expected: int) -> None:
        """Write an item if the stored one has the expected version."""
        attributes = dynamodb_item.attributes_of(item)
        lives = "(attribute_not_exists(#expires) OR #expires > :now)"
        condition = f"#version = :expected AND {lives}"
        values: Attributes = {":expected": {"N": str(expected)}, ":now": {"N": str(_now_s())}}
        if expected == 0:
            condition = "attribute_not_exists(#version) OR #version = :expected OR #expires <= :now"
        names = {"#version": "version", "#expires": EXPIRES}
        self._retried(
            lambda: self._client.put_item(
                TableName=self._name,
                Item=attributes,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            ),
            repeatable=False,
        )

    def put_if_newer(self, item: Item) -> None:
        """Write an item if there is none of its key, or one whose attribute "version" is lower; else Conflict."""
        version = _version(item.attributes).version
        attributes = dynamodb_item.attributes_of(item)
        self._retried(
            lambda: self._client.put_item(
                TableName=self._name,
                Item=attributes,
                ConditionExpression=f"attribute_not_exists({PARTITION}) OR #version < :version",
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues={":version": {"N": str(version)}},
            )
        )

    def get(self, partition: str, sort: str) -> Item | None:
        """Return the item of a key, or None."""
        key = dynamodb_item.key_of(partition, sort)
        found = self._retried(lambda: self._client.get_item(TableName=self._name, Key=key, ConsistentRead=True))
        return next(_living([found["Item"]]), None) if "Item" in found else None

    def get_many(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        """Return the items of these keys that there are, in any order."""
        wanted = [dynamodb_item.key_of(*key) for key in dict.fromkeys(keys)]
        found: list[Item] = []
        tries = Tries(self._name, self._deadline_s())
        while wanted:
            asked, wanted = wanted[:KEYS_AT_ONCE], wanted[KEYS_AT_ONCE:]
            answer = self._retried(partial(self._get_some, asked))
            found += _living(answer.get("Responses", {}).get(self._name, ()))
            left = answer.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            if len(left) < len(asked):
                tries.advance()
            if left:
                tries.pause(Throttled(f"The table {self._name!r} could not read {len(left)} items."))
            wanted = left + wanted
        return found

    def _get_some(self, keys: Sequence[Attributes]) -> Any:
        return self._client.batch_get_item(RequestItems={self._name: {"Keys": keys, "ConsistentRead": True}})

    def query(self, partition: str, start: str, end: str, limit: int, newest_first: bool = False) -> list[Item]:
        """Return the items of a range, from as many pages as it takes."""
        dynamodb_item.key_of(partition, "-")
        low, high = dynamodb_item.utf8(start), dynamodb_item.utf8(end)
        if low >= high:
            return []
        condition, values = _range(start, end)
        params = {
            "TableName": self._name,
            "KeyConditionExpression": f"{PARTITION} = :partition" + condition,
            "ExpressionAttributeValues": {":partition": {"S": partition}, **values},
            "ScanIndexForward": not newest_first,
            "ConsistentRead": True,
        }
        # In DynamoDB the range's end belongs to it: where that comes first, one item more is asked for.
        extra = 1 if newest_first else 0
        return self._read(self._client.query, params, limit, extra, lambda item: low <= item.sort.encode() < high)

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete the items of these keys."""
        requests = {_Key(*key): {"DeleteRequest": {"Key": dynamodb_item.key_of(*key)}} for key in keys}
        self._write(list(requests.values()))

    def scan(self, after: tuple[str, str] | None, limit: int) -> list[Item]:
        """Return the items that follow a key, in DynamoDB's order of partitions."""
        params: dict[str, Any] = {"TableName": self._name, "ConsistentRead": True}
        if after is not None:
            params["ExclusiveStartKey"] = dynamodb_item.key_of(*after)
        return self._read(self._client.scan, params, limit, 0, lambda item: True)

    def _read(
        self, call: Callable[..., Any], params: dict[str, Any], limit: int, extra: int, wanted: Callable[[Item], bool]
    ) -> list[Item]:
        """Return up to `limit` items that live and are wanted; a page may be empty and still not be the last."""
        found: list[Item] = []
        while len(found) < limit:
            params["Limit"] = limit - len(found) + extra
            page = self._retried(lambda: call(**params))
            found += filter(wanted, _living(page["Items"]))
            if "LastEvaluatedKey" not in page:
                break
            params["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        return found[:limit]

    def _write(self, requests: Sequence[Any]) -> None:
        """Have every request done; raises an error with the keys of those that were not, if there are any."""
        batches = [requests[at : at + BATCH_ITEMS] for at in range(0, len(requests), BATCH_ITEMS)]
        if len(batches) == 1:
            outcomes = [self._write_batch(batches[0])]
        else:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix="dynamodb")
            outcomes = list(self._threads.map(self._write_batch, batches))
        errors = [error for _, error in outcomes if error is not None]
        if errors:
            worst = next((error for error in errors if not isinstance(error, Throttled | Unavailable)), errors[0])
            if isinstance(worst, Throttled | Unavailable):
                worst.unwritten = frozenset(_key_of(request) for left, _ in outcomes for request in left)
            raise worst

    def _write_batch(self, batch: Sequence[Any]) -> tuple[Sequence[Any], HeadraceError | None]:
        """Have a batch done; return what was not, and why."""
        tries = Tries(self._name, self._deadline_s())
        left = batch
        try:
            while True:
                try:
                    rest = self._send(left)
                    error: HeadraceError = Throttled(f"The table {self._name!r} could not take {len(rest)} items.")
                    if len(rest) < len(left):
                        tries.advance()
                    left = rest
                except (Throttled, Unavailable) as raised:
                    error = raised
                if not left:
                    return (), None
                tries.pause(error)
        except HeadraceError as error:
            return left, error

    def _send(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Send one batch once; return what DynamoDB could not process."""
        answer = self._called(lambda: self._client.batch_write_item(RequestItems={self._name: batch}))
        unprocessed: Sequence[Any] = answer.get("UnprocessedItems", {}).get(self._name, [])
        return unprocessed

    def _retried(self, call: Callable[[], T], repeatable: bool = True) -> T:
        """Make a call, again while DynamoDB has no capacity or, if that does no harm, does not answer."""
        tries = Tries(self._name, self._deadline_s())
        while True:
            try:
                return self._called(call)
            except Throttled as error:
                tries.pause(error)
            except Unavailable as error:
                if not repeatable:
                    raise
                tries.pause(error)

    def _called(self, call: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            if aws.code_of(error) == "ConditionalCheckFailedException":
                raise Conflict(
                    "The item has another version than the expected one.",
                    "Read it again and repeat the change on that.",
                ) from error
            raise aws.translated(error, f"The table {self._name!r} can't be used") from error


class Tries:
    """Pauses between tries: twice as long each time, with full jitter, and not beyond a deadline."""

    def __init__(self, table: str, deadline_s: float | None) -> None:
        self._table = table
        self._failed = 0
        self._deadline_s = clock.monotonic_s() + PATIENCE_S if deadline_s is None else deadline_s

    def advance(self) -> None:
        """Note that something got through: pauses begin short again."""
        self._failed = 0

    def pause(self, error: HeadraceError) -> None:
        """Wait before the next try; raises Throttled, or the Unavailable given, if it would be too late."""
        pause_s = min(PAUSE_S[1], PAUSE_S[0] * 2**self._failed) * random.uniform(0.1, 1)  # noqa: S311
        self._failed = min(self._failed + 1, 10)
        if clock.monotonic_s() + pause_s > self._deadline_s:
            if isinstance(error, Unavailable):
                raise error
            raise Throttled(
                f"The capacity of the table {self._table!r} is used up, and there is no time left to try again.",
                "Raise its write units, or write less at once.",
            ) from error
        clock.sleep(pause_s)


def _range(start: str, end: str) -> tuple[str, Attributes]:
    """Return the condition on the sort key that start <= sort < end implies: DynamoDB takes one, of possible keys."""
    low, _ = _cut(start)
    high, is_open = _cut(end)
    if is_open:  # the end, cut, would leave out what follows it
        return (f" AND {SORT} >= :low", {":low": {"S": low}}) if low else ("", {})
    if not low:
        return f" AND {SORT} < :high", {":high": {"S": high}}
    return f" AND {SORT} BETWEEN :low AND :high", {":low": {"S": low}, ":high": {"S": high}}


def _cut(sort: str) -> tuple[str, bool]:
    """Return what a possible key has of a bound, and whether that is less than all of it."""
    text = sort.encode()
    if len(text) <= SORT_BYTES_MAX:
        return sort, False
    return text[:SORT_BYTES_MAX].decode(errors="ignore"), True


def _key_of(request: Any) -> _Key:
    key = request["PutRequest"]["Item"] if "PutRequest" in request else request["DeleteRequest"]["Key"]
    return _Key(key[PARTITION]["S"], key[SORT]["S"])


def _living(found: Sequence[Any]) -> Iterator[Item]:
    """Yield DynamoDB's items, without those that have expired: it deletes them days later."""
    now_s = _now_s()
    for attributes in found:
        item = dynamodb_item.item_of(attributes)
        if item.expires_at is None or item.expires_at > now_s:
            yield item


def _now_s() -> int:
    return clock.now_ms() // 1000
