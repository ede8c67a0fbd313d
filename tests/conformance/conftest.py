"""A Kinesis wire of its own for each test that asks for `server` or `kinesis`, once a protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.kinesis_client import EVENTS
from support.kinesis_server import KinesisServer


@pytest.fixture(params=["json", "cbor"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KinesisServer]:
    with KinesisServer(tmp_path / "streams", [EVENTS], in_cbor=request.param == "cbor") as running:
        yield running


@pytest.fixture
def kinesis(server: KinesisServer) -> Any:
    return server.client()
