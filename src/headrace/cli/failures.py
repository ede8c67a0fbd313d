"""`headrace failures`: what was given up or rejected, and calling the function again for it."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import click
import msgspec

from headrace.cli.backend import Backend
from headrace.cli.functions import members
from headrace.cli.options import endpoint_option, json_option, with_backend, with_system
from headrace.cli.output import Progress, print_json, print_raw, table
from headrace.deployed import Deployed
from headrace.errors import HeadraceError, UsageError
from headrace.plural import counted

Row = dict[str, Any]


@click.group("failures")
@endpoint_option
def failures_command() -> None:
    """Show and replay what functions failed on.

    Each failure is kept with its reason and the original record.
    """


@failures_command.command("list")
@json_option
@with_system
def list_command(backend: Backend | Deployed, as_json: bool) -> None:
    """List the failures, a row a document; with --json a row a document and record."""
    rows = list(_rows(backend))
    if as_json:
        print_json(rows)
    elif rows:
        heads = ("function", "reason", "time", "records", "replayed", "id")
        click.echo(table(heads, [_document(key, list(found)) for key, found in groupby(rows, _key)]))
    else:
        click.echo("no failures")


def _key(row: Row) -> str:
    """Return the key of the document that a row is of."""
    return str(row["id"]).partition("#")[0]


def _document(key: str, rows: list[Row]) -> list[Any]:
    """Return a document's cells: replayed once all of its records are, else how many."""
    replayed = [at for row in rows if (at := row.get("replayed_at"))]
    told = max(replayed) if len(replayed) == len(rows) else counted(len(replayed), "record") if replayed else None
    return [*(rows[0].get(name) for name in ("function", "reason", "time")), len(rows), told, key]


@failures_command.command("show")
@click.argument("failure", metavar="ID")
@json_option
@with_system
def show_command(backend: Backend | Deployed, failure: str, as_json: bool) -> None:
    """Show one failure: the whole document, payload and all."""
    body = backend.get_bytes("failures/document", [("id", failure)])
    if as_json:
        print_raw(body)
    elif members(body) is None:
        click.echo(body)
    else:
        click.echo(msgspec.json.format(body, indent=2))


@failures_command.command("replay")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Replay every failure that was not replayed yet.")
@json_option
@with_backend
def replay_command(backend: Backend, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Call the function that failed again, with the original record; nothing is put to the stream again.

    The key of a batch's document without #SEQUENCE stands for all its records not yet replayed. Exits with 1 if
    anything fails again.
    """
    if everything == bool(ids):
        raise UsageError("Name the failures to replay, or say --all.", "The ids stand in `headrace failures list`.")
    wanted = _unreplayed(backend) if everything else list(ids)
    results = _replay(backend, wanted)
    failed = [result for result in results if not result["ok"]]
    if as_json:
        print_json(results)
    else:
        for result in results:
            click.echo(f"{'replayed' if result['ok'] else 'FAILED  '}  {result['id']}{_because(result)}")
    if failed:
        raise HeadraceError(
            f"{len(failed)} of {len(results)} were not replayed.", "Mend what is said above, then replay them again."
        )
    if not results and not as_json:
        click.echo("nothing to replay")


def _rows(backend: Backend | Deployed) -> Iterator[Row]:
    after: str | None = ""
    while after is not None:
        page = backend.get("failures", [("after", after)])
        yield from page["failures"]
        after = page["next"]


def _unreplayed(backend: Backend) -> list[str]:
    """Return the documents that hold anything not replayed yet, in the order in which they are listed."""
    return list(dict.fromkeys(_key(row) for row in _rows(backend) if not row.get("replayed_at")))


def _replay(backend: Backend, ids: list[str]) -> list[Row]:
    """Replay one document a request: so it may take as long as it takes, and Ctrl-C loses nothing done before."""
    progress = Progress()
    results: list[Row] = []
    for count, failure in enumerate(ids):
        progress.show(f"replaying {count + 1:,} of {len(ids):,}")
        results += backend.post("failures/replay", {"ids": [failure]}, timeout_s=None)["results"]
    progress.clear()
    return results


def _because(result: Row) -> str:
    if result["ok"]:
        return ""
    who = f"{result['function']}: " if result["function"] else ""
    return f"\n          {who}{result['error']}"
