"""Calls between processes: what both clients promise, whatever becomes of the server."""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import errors, rpc
from support.rpc import serving


def echo(params: msgspec.Raw) -> Any:
    return params


async def echo_later(params: msgspec.Raw) -> Any:
    await asyncio.sleep(0)
    return params


def conflict(_: msgspec.Raw) -> None:
    raise errors.Conflict("It has version 2.", "Read it again.")


async def conflict_later(params: msgspec.Raw) -> None:
    conflict(params)


def bug(_: msgspec.Raw) -> None:
    raise KeyError("x")


METHODS: dict[str, rpc.Method] = {
    "echo": echo,
    "echo_later": echo_later,
    "conflict": conflict,
    "conflict_later": conflict_later,
    "bug": bug,
    "nonsense": lambda _: object(),
}

Call = Callable[[str, object], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sock"


@pytest.fixture(params=["blocking", "async"])
def call(request: pytest.FixtureRequest, path: Path) -> Iterator[Call]:
    """Return a call through either client to a server with METHODS; it answers the decoded result."""
    with serving(path, METHODS):
        if request.param == "blocking":
            client = rpc.Client(path, patience_s=1)
            yield lambda method, params: rpc.decode(client.call(method, params))
            client.close()
        else:
            with asyncio.Runner() as runner:
                other = rpc.AsyncClient(path, patience_s=1)
                yield lambda method, params: rpc.decode(runner.run(other.call(method, params)))
                runner.run(other.close())


@pytest.mark.parametrize("method", ["echo", "echo_later"])
@pytest.mark.parametrize(
    "value",
    [None, 0, 2**63, "text é", b"\x00\xff", [1, [b"", "x"]], {"a": {"b": None}}, b"x" * (5 * 1024 * 1024)],
    ids=["nil", "zero", "u64", "text", "bytes", "nested", "map", "5 MiB"],
)
def test_values_come_back_as_they_were_sent(call: Call, method: str, value: object) -> None:
    assert call(method, value) == value
    assert call(method, 1) == 1


@pytest.mark.parametrize(
    ("method", "kind", "says"),
    [
        ("conflict", errors.Conflict, "It has version 2."),
        ("conflict_later", errors.Conflict, "It has version 2."),
        ("bug", errors.HeadraceError, "KeyError"),
        ("nonsense", errors.HeadraceError, "object"),
        ("missing", errors.UsageError, "no method 'missing'"),
    ],
)
def test_errors_keep_their_class_problem_and_hint(call: Call, method: str, kind: type, says: str) -> None:
    with pytest.raises(errors.HeadraceError) as raised:
        call(method, None)
    assert type(raised.value) is kind
    assert says in raised.value.problem
    assert raised.value.hint
    assert call("echo", "still there") == "still there"


def test_a_message_over_the_limit_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "FRAME_BYTES_MAX", 1000)
    assert len(rpc.frame(b"x" * 990)) == 997
    with pytest.raises(errors.UsageError, match="over the limit of 1,000"):
        rpc.frame(b"x" * 1000)


def test_answers_are_taken_in_any_order(path: Path) -> None:
    with serving(path, METHODS):
        client = rpc.Client(path)
        sent = [client.send("echo_later" if n % 3 else "echo", n) for n in range(1000)]
        assert [rpc.decode(client.wait(one)) for one in reversed(sent)] == list(reversed(range(1000)))
        client.close()


def test_a_thousand_calls_at_once_and_a_large_one_among_them(path: Path) -> None:
    async def run() -> None:
        client = rpc.AsyncClient(path)
        values: list[Any] = [*range(500), b"x" * 3_000_000, *range(500)]
        results = await asyncio.gather(*(client.call("echo_later", value) for value in values))
        assert [rpc.decode(result) for result in results] == values
        await client.close()

    with serving(path, METHODS):
        asyncio.run(run())


def test_threads_share_a_client(path: Path) -> None:
    wrong: list[object] = []

    def work(client: rpc.Client, thread: int) -> None:
        for n in range(200):
            if rpc.decode(client.call("echo_later", [thread, n])) != [thread, n]:
                wrong.append((thread, n))

    with serving(path, METHODS):
        client = rpc.Client(path)
        threads = [threading.Thread(target=work, args=(client, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
    assert wrong == []


def test_a_client_waits_for_a_server_that_is_starting(path: Path) -> None:
    client = rpc.Client(path, patience_s=5)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(rpc.decode(client.call("echo", 1))))
    thread.start()
    with serving(path, METHODS):
        thread.join(5)
        client.close()
    assert answers == [1]


def test_no_server_is_unavailable(path: Path) -> None:
    with pytest.raises(errors.Unavailable, match="does not answer"):
        rpc.Client(path, patience_s=0).call("echo")
    with pytest.raises(errors.Unavailable, match="does not answer"):
        asyncio.run(rpc.AsyncClient(path, patience_s=0).call("echo"))


def test_a_restart_between_two_calls_is_not_noticed(path: Path) -> None:
    client = rpc.Client(path)
    for turn in range(3):
        with serving(path, METHODS):
            assert rpc.decode(client.call("echo", turn)) == turn
    client.close()


class _Mute:
    """A server that takes calls and answers none; it can die."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()

    def take_and_die(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            (length,) = struct.unpack("<I", connection.recv(4, socket.MSG_WAITALL))
            connection.recv(length, socket.MSG_WAITALL)
        self._socket.close()


def test_death_of_the_server_ends_the_calls_under_way_and_only_those(path: Path) -> None:
    mute = _Mute(path)
    client = rpc.Client(path)
    first, second = client.send("echo", 1), client.send("echo", 2)
    mute.take_and_die()
    path.unlink()
    with pytest.raises(errors.Unavailable):
        client.wait(first)
    with serving(path, METHODS):
        third = client.send("echo", 3)
        with pytest.raises(errors.Unavailable, match="connection was lost"):
            client.wait(second)  # sent on the connection before: no answer of this one may be waited for
        assert rpc.decode(client.wait(third)) == 3
        client.close()


def test_death_of_the_server_ends_an_async_call_and_the_next_reconnects(path: Path) -> None:
    async def run(after: Callable[[], Awaitable[None]]) -> None:
        client = rpc.AsyncClient(path)
        calls = [asyncio.ensure_future(client.call("echo", n)) for n in range(3)]
        await asyncio.sleep(0)
        await after()
        for one in calls:
            with pytest.raises(errors.Unavailable):
                await one
        path.unlink()
        server = rpc.Server(METHODS)
        await server.start(path)
        assert rpc.decode(await client.call("echo", 4)) == 4
        await client.close()
        await server.stop()

    mute = _Mute(path)
    asyncio.run(run(lambda: asyncio.to_thread(mute.take_and_die)))


def test_a_server_drops_a_connection_that_announces_too_large_a_frame(path: Path) -> None:
    with serving(path, METHODS), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        client.sendall(struct.pack("<I", rpc.FRAME_BYTES_MAX + 1))
        assert client.recv(1) == b""


def test_frames_are_cut_wherever_the_stream_is(path: Path) -> None:
    frames = b"".join(rpc.frame((n, "echo", b"x" * n)) for n in range(60))
    received = bytearray()
    with serving(path, METHODS), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(path))
        for at in range(0, len(frames), 7):
            client.sendall(frames[at : at + 7])
        while len(received) < sum(len(rpc.frame((n, None, b"x" * n))) for n in range(60)):
            received += client.recv(65536)
    assert received == b"".join(rpc.frame((n, None, b"x" * n)) for n in range(60))
