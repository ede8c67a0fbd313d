"""Results of statements in files: what is removed when, and what stays."""

from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Conflict, NotFound
from headrace.warehouse import fields
from headrace.warehouse.results import JSON, Result, Results

COLUMNS = [fields.column("t", "VARCHAR")]


def write(results: Results, statement: str, size: int = 10) -> Result:
    left = [[("x" * size,)]]
    return results.write(statement, COLUMNS, lambda _: left.pop() if left else [], JSON)


def is_there(results: Results, statement: str, result: Result) -> bool:
    try:
        return results.page(statement, result, 0) != b""
    except NotFound:
        return False


def test_statements_are_forgotten_with_the_parts_of_batches(tmp_path: Path) -> None:
    results = Results(tmp_path)
    written = {name: write(results, name) for name in ("one", "two:1", "two:2", "twofold")}
    results.forget({"one", "two"})
    assert [name for name, result in written.items() if is_there(results, name, result)] == ["twofold"]


def test_the_oldest_make_room_for_the_newest(tmp_path: Path) -> None:
    results = Results(tmp_path, all_bytes_max=3000)
    written = {str(number): write(results, str(number), 900) for number in range(5)}
    assert [name for name, result in written.items() if is_there(results, name, result)] == ["2", "3", "4"]


def test_a_result_that_is_removed_while_it_is_written_is_none(tmp_path: Path) -> None:
    results = Results(tmp_path)

    def fetch(_: int) -> list[tuple[Any, ...]]:
        results.clear()
        return []

    with pytest.raises(Conflict, match="removed while it was written"):
        results.write("one", COLUMNS, fetch, JSON)
