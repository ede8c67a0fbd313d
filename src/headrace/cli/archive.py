"""`headrace archive`: the objects of the long-term archive, and restoring those that are cold."""

from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import endpoint_option, json_option, with_backend, with_system
from headrace.cli.output import print_json, size, table
from headrace.deployed import Deployed
from headrace.errors import UsageError
from headrace.plural import counted


@click.group("archive")
@endpoint_option
def archive_command() -> None:
    """List the objects of the long-term archive, and restore cold ones."""


@archive_command.command("list")
@click.option(
    "--prefix", metavar="TEXT", default="", help="Only keys that start with this, such as raw/dt=2026-01-31/."
)
@json_option
@with_system
def list_command(backend: Backend | Deployed, prefix: str, as_json: bool) -> None:
    """List the archive's objects in the order of their keys."""
    objects = _objects(backend, prefix)
    if as_json:
        print_json(objects)
    elif objects:
        total = sum(item["size"] for item in objects)
        heads = ("modified", "bytes", "class", "restore", "tags", "key")
        click.echo(table(heads, [_row(each) for each in objects]))
        click.echo(f"\n{counted(len(objects), 'object')}, {size(total)}")
    else:
        click.echo("no objects" + (f" under {prefix}" if prefix else ""))


def _objects(backend: Backend | Deployed, prefix: str) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = backend.get("archive", [("prefix", prefix), ("after", after)])
        objects += page["objects"]
        after = page["next"]
    return objects


def _row(each: dict[str, Any]) -> list[object]:
    restore, tags = each["restore"], ",".join(f"{name}={value}" for name, value in each["tags"].items())
    if restore is None:
        state = "" if each["readable"] else "none"
    else:
        state = f"until {restore['expires'][:16]}" if restore["done"] else f"ready {restore['ready'][:16]}"
    return [each["modified"], each["size"], each["storage_class"], state, tags, each["key"]]


@archive_command.command("restore")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option(
    "--prefix", metavar="TEXT", help="All cold objects whose keys start with this, such as events/dt=2026-01."
)
@click.option("--days", metavar="N", type=click.IntRange(1), default=1, help="Keep the readable copy so long (1).")
@click.option(
    "--tier",
    type=click.Choice(["Expedited", "Standard", "Bulk"], case_sensitive=False),
    default="Standard",
    help="How fast: GLACIER 5 minutes, 5 or 12 hours; DEEP_ARCHIVE 12 (Standard) or 48 hours (Bulk).",
)
@json_option
@with_backend
def restore_command(
    backend: Backend, keys: tuple[str, ...], prefix: str | None, days: int, tier: str, as_json: bool
) -> None:
    """Have copies of cold objects made that can be read; for all of KEY, or for none of them.

    With --prefix, those are passed by that are restored already or about to be.
    """
    if bool(keys) == (prefix is not None):
        raise UsageError("Which objects?", "Name their keys, or a --prefix.")
    if prefix is not None:
        keys = tuple(each["key"] for each in _objects(backend, prefix) if not each["readable"] and not each["restore"])
    found = backend.post("archive/restore", {"keys": keys, "days": days, "tier": tier})["restores"]
    if as_json:
        print_json(found)
    elif not found:
        click.echo(f"nothing to restore under {prefix}")
    else:
        rows = [[each["ready"], each["expires"], each["key"]] for each in found]
        click.echo(table(("readable from", "until", "key"), rows))
