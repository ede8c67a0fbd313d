"""JSON that is given on the command line: as text, as @FILE, or `-` for standard input."""

import json
import sys
from pathlib import Path

from headrace.errors import UsageError


def json_text(argument: str) -> bytes:
    """Return the JSON as it was written; raises UsageError where it cannot be read or is not JSON."""
    text = _read(argument)
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"That is not JSON: {error}.", "Put JSON in single quotes, like '{\"a\": 1}'.") from error
    return text


def _read(argument: str) -> bytes:
    if argument == "-":
        return sys.stdin.buffer.read()
    if argument.startswith("@"):
        try:
            return Path(argument[1:]).read_bytes()
        except OSError as error:
            raise UsageError(
                f"{argument[1:]}: {error.strerror}.", "After @ comes the name of a file to read."
            ) from error
    return argument.encode(errors="surrogateescape")
