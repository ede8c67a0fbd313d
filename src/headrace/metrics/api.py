"""CloudWatch on the wire, and Prometheus' format.

CloudWatch is spoken in JSON 1.0, `X-Amz-Target: GraniteServiceVersion20100801.<Operation>` (boto3, the AWS CLI), and in
CBOR, `POST /service/GraniteServiceVersion20100801/operation/<Operation>` (newer SDKs, as that for Go, and with it
Grafana).

The gateway only hands requests on: the metrics process knows what they mean, and may take its time over it.
"""

import msgspec

from headrace import rpc
from headrace.wire import Handler, Request, Response, WireError

TARGET = "GraniteServiceVersion20100801."
RPC_PATH = f"/service/{TARGET[:-1]}/operation/"
AMZ_JSON_1_0 = "application/x-amz-json-1.0"
CBOR = "application/cbor"
RPC_V2 = ("smithy-protocol", "rpc-v2-cbor")


class Answered(msgspec.Struct, array_like=True):
    """Result of the metrics process's `cloudwatch`."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = []


class Asked(msgspec.Struct, array_like=True):
    """Params of it. `packed` says that the body is gzip, `cbor` that it, and so the answer's, is no JSON but CBOR."""

    operation: str
    body: bytes
    packed: bool
    cbor: bool = False


class CloudWatchApi:
    """Handlers for the gateway over the metrics process."""

    def __init__(self, metrics: rpc.AsyncClient) -> None:
        self._metrics = metrics

    async def handle(self, request: Request) -> Response:
        """Answer a CloudWatch operation; raises Unavailable while the metrics process restarts."""
        answered = await self._ask(request, request.headers["x-amz-target"][len(TARGET) :])
        return Response(answered.status, answered.body, AMZ_JSON_1_0, tuple(answered.headers))

    async def handle_cbor(self, request: Request) -> Response:
        """Answer an operation of RPC v2 in CBOR; raises Unavailable as `handle` does."""
        name, value = RPC_V2
        if request.headers.get(name) != value:  # which a page of another origin can't send, either
            raise WireError("UnknownOperationException", f"Send {name}: {value} and a body of {CBOR}.")
        answered = await self._ask(request, request.path[len(RPC_PATH) :], cbor=True)
        return Response(answered.status, answered.body, CBOR, (RPC_V2, *answered.headers))

    async def _ask(self, request: Request, operation: str, *, cbor: bool = False) -> Answered:
        packed = request.headers.get("content-encoding", "").strip().lower() == "gzip"
        raw = await self._metrics.call("cloudwatch", Asked(operation, request.body, packed, cbor))
        return rpc.decode(raw, type=Answered)

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/metrics", self.exposition), (RPC_PATH, self.handle_cbor)]

    async def exposition(self, request: Request) -> Response:
        """Answer everything in Prometheus' text format."""
        text = rpc.decode(await self._metrics.call("prometheus"), type=str)
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
