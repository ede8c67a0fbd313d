"""The Redshift Data API on the wire: JSON 1.1, `X-Amz-Target: RedshiftData.<Operation>`.

The gateway only hands requests on: the warehouse's process knows what they mean, and may take its time over it. It is
started by the first of them, and may end just when one comes: then that one is sent again, which is safe as SDKs give
each ExecuteStatement a token of its own.
"""

import msgspec

from headrace import rpc
from headrace.errors import Unavailable
from headrace.wire import AMZ_JSON_1_1, Request, Response

TARGET = "RedshiftData."
READ_ONLY = "x-headrace-read-only"  # a header: what is sent with it can't write


class Asked(msgspec.Struct, array_like=True):
    """Params of the warehouse's `data`."""

    operation: str
    body: bytes
    read_only: bool


class Answered(msgspec.Struct, array_like=True):
    """Result of it."""

    status: int
    body: bytes


class RedshiftDataApi:
    """A handler for the gateway over the warehouse's process."""

    def __init__(self, warehouse: rpc.AsyncClient) -> None:
        self._warehouse = warehouse

    async def handle(self, request: Request) -> Response:
        """Answer an operation; raises Unavailable where the process does not start."""
        operation = request.headers["x-amz-target"][len(TARGET) :]
        asked = Asked(operation, request.body, bool(request.headers.get(READ_ONLY)))
        try:
            raw = await self._warehouse.call("data", asked)
        except Unavailable:
            raw = await self._again(asked)
        answered = rpc.decode(raw, type=Answered)
        return Response(answered.status, answered.body, AMZ_JSON_1_1)

    async def _again(self, asked: Asked) -> msgspec.Raw:
        try:
            return await self._warehouse.call("data", asked)
        except Unavailable:
            raise Unavailable(
                "The warehouse did not start, or ended just now.", "Its log says why: headrace logs warehouse"
            ) from None
