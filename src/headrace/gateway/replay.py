"""Replaying failures: the function that failed is called again with the original record, and no other is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from headrace import clock
from headrace.archive.base import Bucket
from headrace.errors import HeadraceError, NotFound
from headrace.failure_document import Document, split_id
from headrace.plural import counted

# Calls a function with a payload and waits; answers whether all of it succeeded, and if not, why.
Replay = Callable[[str, bytes], Awaitable[tuple[bool, str | None]]]


class Result(msgspec.Struct):
    """What became of one id. A document's id stands for all its records not yet replayed."""

    id: str
    function: str | None
    ok: bool
    error: str | None = None


class Replayer:
    """Replays documents of one bucket, one after the other."""

    def __init__(self, bucket: Bucket, call: Replay, now_ms: Callable[[], int] = clock.now_ms) -> None:
        self._bucket = bucket
        self._call = call
        self._now_ms = now_ms
        self._lock = asyncio.Lock()  # two replays of one document would overwrite each other's notes

    async def replay(self, ids: Sequence[str]) -> list[Result]:
        """Replay in the given order; what fails is in its result and holds up nothing else."""
        async with self._lock:
            return [await self._one(row_id) for row_id in ids]

    async def _one(self, row_id: str) -> Result:
        function = None
        try:
            document = await asyncio.to_thread(read_document, self._bucket, row_id)
            function = document.function
            if function is None:
                raise HeadraceError(f"{document.key} does not say which function failed.")
            if document.sequence_numbers:
                error = await self._records(document, function, split_id(row_id)[1])
            else:
                error = await self._whole(document, function)
        except HeadraceError as problem:
            error = f"{problem.problem} {problem.hint}".rstrip()
        return Result(row_id, function, error is None, error)

    async def _records(self, document: Document, function: str, number: str | None) -> str | None:
        """Replay a batch's records: all at once, and if that fails again, one by one, so that one holds up no other."""
        wanted = [number] if number else document.remaining() or list(document.sequence_numbers)
        error = await self._call_for(function, document.payload(wanted))
        if error is None:
            await self._note(document, wanted)
            return None
        if len(wanted) == 1:
            return error
        done = [one for one in wanted if await self._call_for(function, document.payload([one])) is None]
        if done:
            await self._note(document, done)
        failed = len(wanted) - len(done)
        return f"{failed} of {counted(len(wanted), 'record')} failed again: {error}" if failed else None

    async def _whole(self, document: Document, function: str) -> str | None:
        """Replay a document of one payload. A function that rejects the event again writes the document anew."""
        payload = document.payload()
        began = clock.rfc3339_ms(self._now_ms())
        if document.rejected:
            await asyncio.to_thread(self._bucket.put, document.key, document.tried(began))
        error = await self._call_for(function, payload)
        if error is None and document.rejected:
            now = await asyncio.to_thread(read_document, self._bucket, document.key)
            if not now.is_tried(began):
                return f"rejected again: {now.reason}"
        if error is None:
            await self._note(document, ())
        return error

    async def _call_for(self, function: str, payload: bytes) -> str | None:
        try:
            ok, error = await self._call(function, payload)
        except HeadraceError as problem:
            return problem.problem
        return None if ok else error or "the function failed"

    async def _note(self, document: Document, numbers: Sequence[str]) -> None:
        body = document.replayed(numbers, clock.rfc3339_ms(self._now_ms()))
        await asyncio.to_thread(self._bucket.put, document.key, body)


def read_document(bucket: Bucket, row_id: str) -> Document:
    """Return the document that an id of `failures list` names; raises NotFound with what to do."""
    key, number = split_id(row_id)
    hint = "Copy an id from `headrace failures list`."
    try:
        document = Document.parse(key, bucket.get(key))
    except HeadraceError as error:
        raise NotFound(f"There is no failure {row_id!r}.", hint) from error
    if number is not None and number not in document.sequence_numbers:
        raise NotFound(f"{key} holds no record {number}.", hint)
    return document
