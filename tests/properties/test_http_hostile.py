"""Whatever a client sends, its connection ends or goes on, nothing is held for it afterwards, others are answered."""

import asyncio
from typing import Any

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway import connection, http
from headrace.supervisor import listener
from headrace.wire import Request, Response

HTTP1 = [
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.0\r\n\r\n",
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = b"\x83\x86\x84\x41\x01x"  # POST http://x/


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


payloads = st.one_of(
    st.sampled_from([b"", HEAD, HEAD[:3], bytes(4), bytes(8), b"\0\4\0\0\0\0", b"\0\4\x7f\xff\xff\xff", b"\0\0\0\1"]),
    st.binary(max_size=40),
)
frames = st.builds(frame, st.integers(0, 10), st.sampled_from([0, 1, 4, 5, 8, 0x2D]), st.integers(0, 6), payloads)
requests = st.builds(lambda stream: frame(1, 4, stream, HEAD), st.sampled_from([1, 3, 5]))
speech = st.one_of(
    st.lists(st.sampled_from(HTTP1), min_size=1, max_size=4).map(b"".join),
    st.lists(st.one_of(requests, frames), max_size=12).map(lambda sent: PREFACE + b"".join(sent)),
    st.binary(max_size=60),
)


@st.composite
def pieces(draw: Any) -> list[bytes]:
    """Draw what a client sends: something sensible with something changed in it, in one or more pieces."""
    data = draw(speech)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Answers:
    """A router that answers at once."""

    async def __call__(self, request: Request) -> Response:
        return Response(200, request.body)

    def failed(self, request: Request, error: Exception) -> Response:
        raise error


async def sent(said: list[bytes]) -> None:
    """Send the pieces, leave, and see how the server is."""
    wrong: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    server = await http.start(Answers(), listener.listen("127.0.0.1", 0), connection.Limits(held_bytes=100))
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in said:
        if not writer.transport.is_closing():
            writer.write(piece)
        await asyncio.sleep(0.001)
    reader, other = await asyncio.open_connection("127.0.0.1", server.port)
    other.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    other.close()
    async with asyncio.timeout(10):
        while server.connections:
            await asyncio.sleep(0)
    assert (server.held_bytes, wrong) == (0, [])
    await server.stop(1.0)


@settings(deadline=None, max_examples=150)
@given(pieces())
def test_no_client_harms_the_server(said: list[bytes]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(sent(said))
