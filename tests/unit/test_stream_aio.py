import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.disk import DISK
from headrace.errors import StorageError
from headrace.stream import aio
from headrace.stream.log import Log
from headrace.stream.reader import Reader
from support.loop import in_loop


async def synced(kernel: aio.KernelSync, fd: int) -> OSError | None:
    told: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    kernel.start(fd, told.set_result)
    return await asyncio.wait_for(told, 30)


@pytest.fixture
def needs_aio() -> None:
    async def probe() -> None:
        aio.KernelSync(asyncio.get_running_loop()).close()

    try:
        asyncio.run(probe())
    except OSError as error:
        pytest.skip(f"no asynchronous sync here: {error}")


@pytest.mark.usefixtures("needs_aio")
@in_loop
async def test_a_sync_says_how_it_went(tmp_path: Path) -> None:
    kernel = aio.KernelSync(asyncio.get_running_loop())
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    for _ in range(3):
        os.write(file, b"x" * 10_000)
        assert await synced(kernel, file) is None
    os.close(file)
    with pytest.raises(OSError) as closed:
        kernel.start(file, lambda error: None)
    assert closed.value.errno == errno.EBADF
    kernel.close()


class Kernel:
    """What the log knows of the kernel's sync; `begins` and `ends` say how each one fails."""

    def __init__(self, begins: OSError | None = None, ends: OSError | None = None) -> None:
        self.begins, self.ends = begins, ends
        self.asked = 0

    def __call__(self, loop: asyncio.AbstractEventLoop) -> "Kernel":
        self.loop = loop
        return self

    def start(self, fd: int, done: Callable[[OSError | None], None]) -> None:
        self.asked += 1
        if self.begins is not None:
            raise self.begins
        self.loop.call_soon(done, self.ends)

    def close(self) -> None: ...


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "kernel", [Kernel(begins=error(errno.EAGAIN)), Kernel(ends=error(errno.EINVAL))], ids=["none left", "unknown"]
)
@in_loop
async def test_where_the_kernel_does_not_sync_a_thread_does(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "KernelSync", kernel)
    log = Log.open(tmp_path, DISK, stream="s", shards=1)
    for at in range(3):
        assert (await log.append([(0, b"k", b"%d" % at)])).first_number == {0: at}
    await log.close()
    assert kernel.asked == 1
    assert [record.data for record in Reader(tmp_path).records(0, 0, 0, 9, 999)[0]] == [b"0", b"1", b"2"]


@in_loop
async def test_a_sync_that_failed_gives_its_segment_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(aio, "KernelSync", kernel)
    log = Log.open(tmp_path, DISK, stream="s", shards=1)
    await log.append([(0, b"k", b"before")])
    kernel.ends = error(errno.EIO)
    with pytest.raises(StorageError, match="Input/output"):
        await log.append([(0, b"k", b"lost")])
    kernel.ends = None
    assert (await log.append([(0, b"k", b"after")])).first_number == {0: 1}
    await log.close()
    assert len(list(tmp_path.glob("*.segment"))) == 2
    assert [record.data for record in Reader(tmp_path).records(0, 0, 0, 9, 999)[0]] == [b"before", b"after"]
