"""For all tests: processes they start can be interrupted, also where this run is a background job of a shell."""

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.fake_backend import FakeBackend

# A shell starts background jobs with SIGINT ignored, and what is ignored is inherited by every child.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def fake() -> "Iterator[FakeBackend]":
    """A backend that answers what a test tells it to, for the command line."""
    from support.fake_backend import fake_backend

    with fake_backend() as running:
        yield running


@pytest.fixture
def ask(fake: "FakeBackend") -> Any:
    """What runs the command line against it."""
    from support.command_line import run

    return lambda *arguments, **more: run(*arguments, env={"HEADRACE_ENDPOINT": fake.url}, **more)
