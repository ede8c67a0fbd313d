"""`headrace streams`, and which stream a command means when none is named."""

from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_backend
from headrace.cli.output import print_json, table
from headrace.errors import HeadraceError, UsageError

DEFAULT_STREAM = "events"


@click.command("streams")
@json_option
@with_backend
def streams_command(backend: Backend, as_json: bool) -> None:
    """List the streams."""
    client = backend.client("kinesis")
    with backend.errors():
        rows = [_row(describe(client, name)) for name in names(client)]
    if as_json:
        print_json(rows)
    elif rows:
        heads = ("stream", "status", "shards", "mode", "retention h", "created")
        keys = ("name", "status", "shards", "mode", "retention_hours", "created")
        click.echo(table(heads, [[row[key] for key in keys] for row in rows]))
    else:
        click.echo("no streams")


def names(client: Any) -> list[str]:
    """Return the names of all streams."""
    found: list[str] = []
    for page in client.get_paginator("list_streams").paginate():
        found += page["StreamNames"]
    return found


def describe(client: Any, name: str) -> dict[str, Any]:
    """Return a stream's StreamDescriptionSummary."""
    summary: dict[str, Any] = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    return summary


def chosen(client: Any, wanted: str | None) -> str:
    """Return the stream that `--stream` names; without it the only one, or `events` among several."""
    if wanted:
        return wanted
    found = names(client)
    if len(found) == 1:
        return found[0]
    if DEFAULT_STREAM in found:
        return DEFAULT_STREAM
    if not found:
        raise HeadraceError(
            "This backend has no stream.", "Declare one in the template, or create one with an AWS SDK."
        )
    raise UsageError("There are several streams.", f"Say which: --stream {' | '.join(found)}.")


def _row(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": summary["StreamName"],
        "arn": summary["StreamARN"],
        "status": summary["StreamStatus"],
        "shards": summary["OpenShardCount"],
        "mode": summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED"),
        "retention_hours": summary["RetentionPeriodHours"],
        "created": f"{summary['StreamCreationTimestamp'].astimezone():%Y-%m-%dT%H:%M:%S%z}",
    }
