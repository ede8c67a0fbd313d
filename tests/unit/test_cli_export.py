"""Where `headrace export` writes to: the file is whole or as it was, and what is no file stays what it is."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.wire import Request, Response, json_response
from support.command_line import run
from support.fake_backend import fake_backend

BODY = b'{"device_id":"pump-1"}\n' * 1000


class Exported:
    """A backend with one export, and the command over it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_lost = False

    async def answer(self, request: Request) -> Response:
        if request.method == "GET":
            return Response(404, b'{"message": "gone"}') if self.is_lost else Response(200, BODY)
        return json_response({"id": "a", "events": 1000, "bytes": len(BODY), "cold": [], "problems": []})

    def to(self, path: Path) -> Any:
        return run("export", "--output", str(path), "--endpoint", self.url)


@pytest.fixture
def exported() -> Iterator[Exported]:
    with fake_backend() as fake:
        found = Exported(fake.url)
        fake.paths = [("/_headrace/export", found.answer)]
        yield found


def test_a_file_is_replaced_when_the_export_is_whole(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"before")
    exported.is_lost = True
    assert exported.to(path).exit_code == 1 and path.read_bytes() == b"before"
    exported.is_lost = False
    assert exported.to(path).exit_code == 0 and path.read_bytes() == BODY
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_goes_on_to_lead_to_the_file(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, path = tmp_path / "link", tmp_path / "there" / "a.ndjson"
    link.symlink_to(path)
    assert exported.to(link).exit_code == 0
    assert link.readlink() == path and path.read_bytes() == BODY


def test_a_pipe_is_written_to_and_stays_one(exported: Exported, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as reader:
        content = reader.submit(pipe.read_bytes)
        assert exported.to(pipe).exit_code == 0
        assert content.result() == BODY
    assert stat.S_ISFIFO(pipe.stat().st_mode)
