"""A group: the appends that one sync makes durable, and who waits for them."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from headrace.stream.segment import Part
from headrace.stream.writer import Written

_log = logging.getLogger(__name__)
_new = tuple.__new__  # makes a NamedTuple from a tuple at half the cost of calling it


class Appended(NamedTuple):
    """An acknowledged append: per shard the number of its first record there, and when records arrived there.

    An append's records of one shard have dense numbers, in the order they were given. `arrival_ms` may have further
    shards.
    """

    first_number: dict[int, int]
    arrival_ms: dict[int, int]

    def numbers(self, shards: Iterable[int]) -> list[int]:
        """Return the number of every record, given the append's shards in order."""
        following = dict(self.first_number)
        numbers = []
        for shard in shards:
            numbers.append(following[shard])
            following[shard] += 1
        return numbers


class Waiter(Protocol):
    """Who waits for an append."""

    def numbered(self, appended: Appended) -> None:
        """Be told where the records are, while they are synced: to make an answer ready, and not to give it yet."""

    def durable(self) -> None:
        """Be told that they are on the medium."""

    def refused(self, error: Exception) -> None:
        """Be told that the disk refused them, with StorageError: none of them counts."""


class One(Protocol):
    """Who waits for the append of one record: a `Waiter` that is told its number and arrival."""

    def numbered(self, number: int, arrival_ms: int) -> None:
        """As a Waiter's."""

    def durable(self) -> None:
        """As a Waiter's."""

    def refused(self, error: Exception) -> None:
        """As a Waiter's."""


@dataclass
class Group:
    """What is appended together: per shard its records, and who waits."""

    parts: dict[int, Part] = field(default_factory=dict)
    bytes: int = 0
    waiting: list[tuple[Waiter, dict[int, int]]] = field(default_factory=list)  # each with its place per shard
    ones: list[tuple[One, int, int]] = field(default_factory=list)  # each with its shard and its place there

    def number(self, written: Written) -> None:
        """Tell those who wait where their records are; who fails at that fails when it is to answer, too."""
        first, arrival_ms = written.first_number, written.arrival_ms
        for waiter, places in self.waiting:
            for shard in places:
                places[shard] += first[shard]
            try:
                waiter.numbered(_new(Appended, (places, arrival_ms)))
            except Exception:
                _log.exception("An answer can't be made")
        for one, shard, place in self.ones:
            try:
                one.numbered(first[shard] + place, arrival_ms[shard])
            except Exception:
                _log.exception("An answer can't be made")


class Future:
    """Waits for an append on a future's behalf."""

    def __init__(self, future: asyncio.Future[Appended]) -> None:
        self.future = future
        self._appended: Appended

    def numbered(self, appended: Appended) -> None:
        """Keep it until it may be told."""
        self._appended = appended

    def durable(self) -> None:
        """Tell it."""
        if not self.future.done():  # else its caller went away
            self.future.set_result(self._appended)

    def refused(self, error: Exception) -> None:
        """Tell why there is none."""
        if not self.future.done():
            self.future.set_exception(error)
