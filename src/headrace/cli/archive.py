"""`headrace archive`: the objects of the long-term archive."""

from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import endpoint_option, json_option, with_backend
from headrace.cli.output import print_json, size, table


@click.group("archive")
@endpoint_option
def archive_command() -> None:
    """Look at the objects of the long-term archive."""


@archive_command.command("list")
@click.option(
    "--prefix", metavar="TEXT", default="", help="Only keys that start with this, such as raw/dt=2026-01-31/."
)
@json_option
@with_backend
def list_command(backend: Backend, prefix: str, as_json: bool) -> None:
    """List the archive's objects in the order of their keys."""
    objects: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = backend.get("archive", [("prefix", prefix), ("after", after)])
        objects += page["objects"]
        after = page["next"]
    if as_json:
        print_json(objects)
    elif objects:
        total = sum(item["size"] for item in objects)
        click.echo(table(("modified", "bytes", "key"), [[o["modified"], o["size"], o["key"]] for o in objects]))
        click.echo(f"\n{len(objects):,} objects, {size(total)}")
    else:
        click.echo("no objects" + (f" under {prefix}" if prefix else ""))
