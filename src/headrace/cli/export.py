"""`headrace export`: the archive's events as one file."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from headrace.cli.backend import Backend
from headrace.cli.options import json_option, range_options, with_backend
from headrace.cli.output import note, print_json, size, whole_file
from headrace.errors import HeadraceError, UsageError
from headrace.plural import counted


@click.command("export")
@click.option(
    "--format", "kind", type=click.Choice(["parquet", "csv", "ndjson"]), help="parquet, or what FILE ends in."
)
@click.option("--device", metavar="D", help="Events of this device only.")
@range_options("time")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where it goes, instead of standard output.",
)
@click.option("--leave-out-cold", is_flag=True, help="Go on without files that are cold, and name them.")
@json_option
@with_backend
def export_command(
    backend: Backend,
    kind: str | None,
    device: str | None,
    start: str | None,
    end: str | None,
    output: Path | None,
    leave_out_cold: bool,
    as_json: bool,
) -> None:
    """Export the archive's events, each once.

    Compacted or not, in the order of device, time and id. Times are the devices' own. With --json, what was exported is
    said in JSON; that takes --output.
    """
    if output is None and (as_json or (sys.stdout.isatty() and kind in (None, "parquet"))):
        raise UsageError("Name a file: the events can't go to standard output here.", "Add --output FILE.")
    chosen = kind or _kind_of(output)
    wanted = {"format": chosen, "device": device, "from": start, "to": end, "leave_out_cold": leave_out_cold}
    found = backend.post("export", wanted, timeout_s=None)
    try:
        if output is None:
            _fetch(backend, found, sys.stdout.buffer)
        else:
            _to_file(backend, found, output)
    finally:
        backend.post(f"export/{found['id']}/remove", {})
    for problem in found["problems"]:
        note(f"left out: {problem}")
    for key in found["cold"]:
        note(f"left out, it is cold: {key} (headrace archive restore {key})")
    if as_json:
        print_json({name: found[name] for name in ("events", "bytes", "cold", "problems")})
    elif output is not None:
        click.echo(f"{counted(found['events'], 'event')}, {size(found['bytes'])} in {output}")


def _kind_of(output: Path | None) -> str:
    return {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}.get(output.suffix if output else "", "parquet")


def _to_file(backend: Backend, found: dict[str, Any], output: Path) -> None:
    try:
        with whole_file(output) as path, path.open("wb") as file:
            _fetch(backend, found, file)
    except OSError as error:
        raise HeadraceError(f"{output}: {error.strerror}", "Give another --output.") from error


def _fetch(backend: Backend, found: dict[str, Any], file: BinaryIO) -> None:
    done = 0
    while done < found["bytes"]:
        part = backend.get_bytes(f"export/{found['id']}", [("offset", str(done))])
        file.write(part)
        done += len(part)
