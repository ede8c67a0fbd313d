"""Tasks spread over a cluster's executors."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from headrace import rpc
from headrace.errors import HeadraceError

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Does a task for each item, in any order and maybe twice, and returns the answers in the order of the items."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Raises the HeadraceError of a task."""


def here(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the tasks one after the other in this process."""
    return [function(item) for item in items]


def over(context: Callable[[], Any]) -> Spread:
    """Return what spreads over the executors of a SparkContext, which is made when it is first needed."""

    def spread(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        if not items:
            return []
        answers = context().parallelize(list(items), len(items)).map(_answering(function)).collect()
        for _, error in answers:
            if error is not None:
                raise rpc.error_of(error)
        return [answer for answer, _ in answers]

    return spread


def _answering(function: Callable[[T], R]) -> Callable[[T], tuple[R | None, tuple[str, str, str] | None]]:
    """Return the function with its HeadraceError as an answer: to do it again, as Spark would, changes nothing."""

    def answering(item: T) -> tuple[R | None, tuple[str, str, str] | None]:
        try:
            return function(item), None
        except HeadraceError as error:
            return None, rpc.describe(error)

    return answering
