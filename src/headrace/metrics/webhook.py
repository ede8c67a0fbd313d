"""Tells a webhook of alarms: an HTTP POST of JSON a change, in order, tried a few times, beside everything else."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.errors import UsageError

TRIES_AFTER_S = (1.0, 5.0, 15.0, 60.0)  # waits between the tries; then the notice is given up
ANSWER_S_MAX = 5.0
WAITING_MAX = 1000  # notices; the oldest are dropped beyond

_log = logging.getLogger(__name__)


class Webhook:
    """A URL that notices are posted to. `send` never blocks."""

    def __init__(self, url: str, waits_s: Sequence[float] = TRIES_AFTER_S) -> None:
        """Raise UsageError if the URL is none."""
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise UsageError(f"HEADRACE_WEBHOOK is {url!r}, which is no URL.", "Write it like https://host/path.")
        self._url = url
        self._waits_s = tuple(waits_s)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=WAITING_MAX)
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def send(self, notice: dict[str, Any]) -> None:
        """Have a notice sent after those before it."""
        self._waiting.append(notice)
        self._more.set()

    async def stop(self, grace_s: float = 1.0) -> None:
        """Stop; notices that are waiting have `grace_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._waiting:
                    await asyncio.sleep(0.02)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._more.clear()
            while self._waiting:
                notice = self._waiting[0]
                await self._send(notice)
                if self._waiting and self._waiting[0] is notice:  # it may have been dropped meanwhile
                    self._waiting.popleft()
            await self._more.wait()

    async def _send(self, notice: dict[str, Any]) -> None:
        for wait_s in (*self._waits_s, None):
            try:
                await asyncio.to_thread(_post, self._url, msgspec.json.encode(notice))
                return
            except Exception as error:
                if wait_s is None:
                    _log.warning("The webhook was not told of %s: %s", notice.get("AlarmName"), error)
                    return
                await asyncio.sleep(wait_s)


def _post(url: str, body: bytes) -> None:
    import urllib.request  # 3 MB that only an alarm needs

    headers = {"Content-Type": "application/json", "User-Agent": "headrace"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the scheme was checked
    # No proxy from the environment: the URL is the operator's own, and what it names is what is called.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ANSWER_S_MAX) as answer:
        answer.read(1024)
