"""How a DynamoDB table that throttles or fails is written to: everything or an error, and never beyond the deadline."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from headrace import clock
from headrace.errors import Conflict, HeadraceError, NotFound, Throttled, Unavailable, UsageError
from headrace.table.aws import DynamoTable, Tries
from headrace.table.base import Item

Answer = Callable[[list[Any]], list[Any]]  # a batch's requests in, unprocessed ones out


def client_error(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "message"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Operation")


class Fake:
    """Answers BatchWriteItem and PutItem by a list of answers, the last of them for ever."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.sizes: list[int] = []
        self.written: dict[str, Any] = {}

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> Any:  # noqa: N803
        requests = RequestItems["events"]
        self.sizes.append(len(requests))
        answer = self._next()
        left = answer(requests)
        for request in requests:
            if request not in left:
                item = request["PutRequest"]["Item"]
                self.written[item["sk"]["S"]] = item
        return {"UnprocessedItems": {"events": left} if left else {}}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        keys = RequestItems["events"]["Keys"]
        self.sizes.append(len(keys))
        left = self._next()(keys)
        found = [{**key, "n": {"N": "1"}} for key in keys if key not in left]
        return {"Responses": {"events": found}, "UnprocessedKeys": {"events": {"Keys": left}} if left else {}}

    def put_item(self, **params: Any) -> Any:
        self.sizes.append(1)
        self._next()([])
        return {}

    def _next(self) -> Answer:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def none(_: list[Any]) -> list[Any]:
    return []


def everything(requests: list[Any]) -> list[Any]:
    return requests


def all_but_ten(requests: list[Any]) -> list[Any]:
    return requests[10:]


def items(count: int) -> Sequence[Item]:
    return [Item("d", f"{n:03}", b'{"n":%d}' % n) for n in range(count)]


def table(fake: Fake, patience_s: float = 60.0) -> DynamoTable:
    ends_s = clock.monotonic_s() + patience_s
    return DynamoTable("events", fake, lambda: ends_s)


def test_batches_have_25_items_and_keys_only_once() -> None:
    fake = Fake(none)
    again = [Item("d", f"{n:03}", b'{"n":"again"}') for n in range(3)]
    table(fake).put([*items(60), *again])
    assert sorted(fake.sizes) == [10, 25, 25]
    assert len(fake.written) == 60
    assert [fake.written[f"{n:03}"]["n"] for n in range(4)] == [{"S": "again"}] * 3 + [{"N": "3"}]


def test_what_is_unprocessed_is_sent_again() -> None:
    fake = Fake(all_but_ten, client_error("ProvisionedThroughputExceededException"), all_but_ten, none)
    table(fake).put(items(25))
    assert fake.sizes == [25, 15, 15, 5]
    assert len(fake.written) == 25


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("InternalServerError", 500),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_what_fails_for_a_while_is_tried_again(error: Exception) -> None:
    fake = Fake(error, error, none)
    table(fake).put(items(3))
    assert fake.sizes == [3, 3, 3]


def test_keys_that_are_unprocessed_are_asked_for_again() -> None:
    fake = Fake(all_but_ten, everything, none)
    keys = [("d", f"{n:03}") for n in range(120)]
    assert sorted(item.sort for item in table(fake).get_many(keys)) == [sort for _, sort in keys]
    assert fake.sizes == [100, 100, 100, 10]
    with pytest.raises(Throttled):
        table(Fake(everything), patience_s=0.1).get_many(keys)


def test_at_the_deadline_it_says_what_is_not_written() -> None:
    fake = Fake(all_but_ten, everything)
    with pytest.raises(Throttled, match="no time left") as raised:
        table(fake, patience_s=0.15).put(items(25))
    assert raised.value.unwritten == {("d", f"{n:03}") for n in range(10, 25)}
    assert len(fake.written) == 10


def test_where_nothing_answers_until_the_deadline_it_is_unavailable() -> None:
    fake = Fake(client_error("ServiceUnavailable", 503))
    with pytest.raises(Unavailable) as raised:
        table(fake, patience_s=0.1).put(items(30))
    assert raised.value.unwritten == {("d", f"{n:03}") for n in range(30)}


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        ("AccessDeniedException", HeadraceError, "policy"),
        ("ResourceNotFoundException", NotFound, "Check its name"),
        ("UnrecognizedClientException", UsageError, "Sign in"),
        ("ExpiredTokenException", UsageError, "Sign in"),
        ("ValidationException", HeadraceError, ""),
    ],
)
def test_what_will_not_get_better_is_raised_at_once(code: str, kind: type[HeadraceError], hint: str) -> None:
    fake = Fake(client_error(code))
    with pytest.raises(kind) as raised:
        table(fake).put(items(30))
    assert fake.sizes == [25, 5] or fake.sizes == [5, 25]
    assert hint in raised.value.hint
    assert raised.value.unwritten is None


def test_a_conditional_write_is_not_repeated_where_it_may_have_been_done() -> None:
    fake = Fake(client_error("ThrottlingException"), client_error("InternalServerError", 500), none)
    with pytest.raises(Unavailable):
        table(fake).put_if_version(items(1)[0], 3)
    assert fake.sizes == [1, 1]
    with pytest.raises(Conflict):
        table(Fake(client_error("ConditionalCheckFailedException"))).put_if_version(items(1)[0], 3)


def test_pauses_are_bounded_and_grow() -> None:
    tries = Tries("events", clock.monotonic_s() + 0.3)
    began_s = clock.monotonic_s()
    with pytest.raises(Throttled):
        for _ in range(100):
            tries.pause(Throttled("x"))
    assert clock.monotonic_s() - began_s <= 0.35
