"""CloudWatch on the wire: JSON 1.0, `X-Amz-Target: GraniteServiceVersion20100801.<Operation>`; and Prometheus' format.

The gateway only hands requests on: the metrics process knows what they mean, and may take its time over it.
"""

import msgspec

from headrace import rpc
from headrace.wire import Handler, Request, Response

TARGET = "GraniteServiceVersion20100801."
AMZ_JSON_1_0 = "application/x-amz-json-1.0"


class Answered(msgspec.Struct, array_like=True):
    """Result of the metrics process's `cloudwatch`."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = []


class Asked(msgspec.Struct, array_like=True):
    """Params of it. `packed` says that the body is gzip."""

    operation: str
    body: bytes
    packed: bool


class CloudWatchApi:
    """Handlers for the gateway over the metrics process."""

    def __init__(self, metrics: rpc.AsyncClient) -> None:
        self._metrics = metrics

    async def handle(self, request: Request) -> Response:
        """Answer a CloudWatch operation; raises Unavailable while the metrics process restarts."""
        operation = request.headers["x-amz-target"][len(TARGET) :]
        packed = request.headers.get("content-encoding", "").strip().lower() == "gzip"
        raw = await self._metrics.call("cloudwatch", Asked(operation, request.body, packed))
        answered = rpc.decode(raw, type=Answered)
        return Response(answered.status, answered.body, AMZ_JSON_1_0, tuple(answered.headers))

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/metrics", self.exposition)]

    async def exposition(self, request: Request) -> Response:
        """Answer everything in Prometheus' text format."""
        text = rpc.decode(await self._metrics.call("prometheus"), type=str)
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
