"""A backend for the console's parts, in memory: it answers what a test has put there and remembers what was asked."""

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.console.backend import Backend
from headrace.errors import NotFound


class MemoryBackend(Backend):
    """Answers by path or by operation, with a value or with what a function makes of the parameters."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def get_bytes(self, path: str, *, timeout_s: float = 0, **query: str) -> bytes:
        return msgspec.json.encode(self._answer(path, dict(query)))

    async def call(self, service: str, operation: str, **parameters: object) -> Any:
        return self._answer(operation, parameters)

    async def device_api(self, operation: str, device: str, **parameters: object) -> Any:
        return self._answer(operation, {"device_id": device, **parameters})

    def count(self, name: str) -> int:
        """Return how often something was asked."""
        return sum(asked == name for asked, _ in self.asked)

    def _answer(self, name: str, parameters: dict[str, Any]) -> Any:
        self.asked.append((name, parameters))
        if name not in self.answers:
            raise NotFound(f"There is no {name}.")
        answer = self.answers[name]
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(parameters)
        if isinstance(answer, Exception):
            raise answer
        return answer
