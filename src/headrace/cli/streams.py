"""`headrace streams`, and which stream a command means when none is named."""

from typing import Any

import click

from headrace import clock
from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_system
from headrace.cli.output import print_json, table
from headrace.deployed import Deployed
from headrace.errors import HeadraceError, NotFound, UsageError

DEFAULT_STREAM = "events"
Log = dict[str, dict[str, Any]]

_STREAM_TABLE = (
    ("stream", "status", "shards", "mode", "retention h", "created", "accepted", "held"),
    ("name", "status", "shards", "mode", "retention_hours", "created", "accepted", "held"),
)
_SHARD_TABLE = (
    ("shard", "state", "accepted", "held", "last arrival", "from hash key"),
    ("shard", "state", "accepted", "held", "last_arrival", "first_hash"),
)


@click.command("streams")
@click.argument("stream", metavar="[NAME]", required=False)
@json_option
@with_system
def streams_command(backend: Backend | Deployed, stream: str | None, as_json: bool) -> None:
    """List the streams; with NAME, the shards of that one."""
    client = backend.client("kinesis")
    held = logs(backend)
    with backend.errors():
        if stream is not None:
            rows = [_shard_row(shard, held.get(stream, {})) for shard in _shards(client, stream)]
        else:
            rows = [
                _row(describe(client, name), held.get(name, {}))
                for name in names(client)
                if backend.owns("AWS::Kinesis::Stream", name)
            ]
    heads, keys = _SHARD_TABLE if stream is not None else _STREAM_TABLE
    if as_json:
        print_json(rows)
    elif rows:
        click.echo(table(heads, [[row[key] for key in keys] for row in rows]))
        for name in [stream] if stream is not None else held:
            for place in held.get(name, {}).get("damage", []):
                click.echo(f"DAMAGE in {name} from position {place['position']} to {place['end']}: {place['reason']}")
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


def logs(backend: Backend | Deployed) -> Log:
    """Return what each stream's log holds, by name; nothing where there is only AWS's wire."""
    try:
        found: Log = backend.get("streams")
    except NotFound:
        return {}
    return found


def _shards(client: Any, stream: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for page in client.get_paginator("list_shards").paginate(StreamName=stream):
        found += page["Shards"]
    return found


def _row(summary: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    shards = log.get("shards", {}).values()
    return {
        "name": summary["StreamName"],
        "arn": summary["StreamARN"],
        "status": summary["StreamStatus"],
        "shards": summary["OpenShardCount"],
        "mode": summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED"),
        "retention_hours": summary["RetentionPeriodHours"],
        "created": clock.rfc3339_ms(round(summary["StreamCreationTimestamp"].timestamp() * 1000)),
        "accepted": sum(shard["next"] for shard in shards) if log else None,
        "held": sum(shard["next"] - shard["first"] for shard in shards) if log else None,
        "damage": log.get("damage", []),
    }


def _shard_row(shard: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    found = log.get("shards", {}).get(shard["ShardId"])
    arrival_ms = found["last_arrival_ms"] if found else 0
    return {
        "shard": shard["ShardId"],
        "first_hash": shard["HashKeyRange"]["StartingHashKey"],
        "last_hash": shard["HashKeyRange"]["EndingHashKey"],
        "state": "closed" if shard["SequenceNumberRange"].get("EndingSequenceNumber") else "open",
        "accepted": found["next"] if found else None,
        "held": found["next"] - found["first"] if found else None,
        "last_arrival": clock.rfc3339_ms(arrival_ms) if arrival_ms else None,
    }
