"""`headrace logs`: what functions (and the backend's own processes) wrote."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import click

from headrace import clock
from headrace.cli import completion
from headrace.cli.backend import Backend, path_segment
from headrace.cli.options import json_option, with_system
from headrace.cli.output import note, print_json
from headrace.deployed import Deployed
from headrace.errors import Unavailable

POLL_S = 0.3
AWS_POLL_S = 2.0
LINES = 100


@click.command("logs")
@click.argument("function", shell_complete=completion.logs)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option(
    "-n", "--lines", metavar="N", type=click.IntRange(0), default=LINES, help=f"Lines of each worker ({LINES})."
)
@json_option
@with_system
def logs_command(backend: Backend | Deployed, function: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show the log of FUNCTION, or of a process.

    The processes are gateway, table, runtime, metrics, jobs, console, warehouse and supervisor. Where a function has
    several workers, their number stands before each line. With --json -f every line is a JSON object of its own.
    """
    if isinstance(backend, Deployed):
        _deployed(backend, function, follow, lines, as_json)
        return
    path = f"logs/{path_segment(function)}"
    files = backend.get(path, [("lines", str(lines))])["files"]
    if as_json and not follow:
        print_json([{"file": name, "text": text} for name, text in _lines(files)])
        return
    _print(files, as_json, several=len(files) > 1)
    if lines and not follow and not any(file["text"] for file in files):
        note(f"{function} has written nothing yet")
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(backend, path, {file["file"]: file["offset"] for file in files}, as_json)


def _deployed(system: Deployed, function: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show a function's log on AWS; each line begins with its execution environment, as far as there are several."""
    from headrace.deployed import logs

    found = logs.last(system, function, lines)
    if as_json and not follow:
        print_json([{"file": line.stream, "text": line.text, "time_ms": line.at_ms} for line in found])
        return
    several = follow or len({line.stream for line in found}) > 1
    for line in found:
        _print([{"file": line.stream, "text": line.text}], as_json, several)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            for line in logs.following(system, function, AWS_POLL_S):
                _print([{"file": line.stream, "text": line.text}], as_json, several)


def _follow(backend: Backend, path: str, offsets: dict[str, int], as_json: bool) -> None:
    while True:
        clock.sleep(POLL_S)
        query = [("offset", f"{name}:{offset}") for name, offset in offsets.items()] or [("offset", ":0")]
        try:
            files = backend.get(path, query)["files"]
        except Unavailable:
            continue  # it may be restarting; what was written meanwhile comes when it is back
        offsets |= {file["file"]: file["offset"] for file in files}
        _print(files, as_json, several=len(offsets) > 1)


def _lines(files: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for file in files:
        for text in file["text"].splitlines():
            yield file["file"], text


def _print(files: list[dict[str, Any]], as_json: bool, several: bool) -> None:
    for name, text in _lines(files):
        if as_json:
            click.echo(json.dumps({"file": name, "text": text}, ensure_ascii=False))
        else:
            click.echo(f"{name}| {text}" if several else text)
