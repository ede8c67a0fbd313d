"""The console's statements against a fake of the Data API."""

import asyncio
from typing import Any

import pytest

from headrace.console.backend import Backend
from headrace.console.query import Query
from headrace.errors import HeadraceError


class Slow(Backend):
    """A backend that takes its time to begin a statement, which then runs until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled: list[object] = []

    async def call(self, service: str, operation: str, **parameters: object) -> Any:
        if operation == "ExecuteStatement":
            await self.begun.wait()
            return {"Id": "a"}
        if operation == "CancelStatement":
            self.cancelled.append(parameters["Id"])
        return {"Status": "ABORTED" if self.cancelled else "STARTED"}


@pytest.mark.parametrize("early", [True, False])
def test_a_statement_is_cancelled_whether_or_not_it_has_begun(early: bool) -> None:
    async def cancelled() -> list[object]:
        backend = Slow()
        query = Query(backend)
        running = asyncio.create_task(query.run("SELECT 1"))
        await asyncio.sleep(0)
        if early:
            await query.cancel()
            backend.begun.set()
        else:
            backend.begun.set()
            await asyncio.sleep(0.01)
            await query.cancel()
        with pytest.raises(HeadraceError, match="was cancelled"):
            await running
        return backend.cancelled

    assert asyncio.run(cancelled()) == ["a"]
