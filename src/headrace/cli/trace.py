"""`headrace trace`: one record's story, from its acceptance to its item, its archive object and its failures."""

import json
from typing import Any

import click

from headrace.cli.backend import Backend, path_segment
from headrace.cli.options import json_option, with_backend
from headrace.cli.output import print_raw, size, table
from headrace.cli.streams import DEFAULT_STREAM, logs

TRACE_S_MAX = 300.0  # an old record's documents may be many

_AGED_OUT = {
    "aged out": "the log no longer holds it: its retention is over",
    "damaged": "the log's copy is damaged (see: headrace streams)",
}


@click.command("trace")
@click.argument("shard")
@click.argument("sequence")
@click.option("--stream", metavar="NAME", help=f"The stream that took it (the only one, or {DEFAULT_STREAM}).")
@json_option
@with_backend
def trace_command(backend: Backend, shard: str, sequence: str, stream: str | None, as_json: bool) -> None:
    """Tell what became of one record, function by function.

    SHARD (its id or its index) and SEQUENCE are what PutRecord answered. Calls of batches are known as far back as the
    functions' batch journals go.
    """
    if stream is None:
        held = list(logs(backend))
        stream = held[0] if len(held) == 1 else DEFAULT_STREAM
    path = "/".join(path_segment(part) for part in ("trace", stream, shard, sequence))
    body = backend.get_bytes(path, timeout_s=TRACE_S_MAX)
    if as_json:
        print_raw(body)
    else:
        click.echo(render(json.loads(body)))


def render(story: dict[str, Any]) -> str:
    """Return a story as text for people."""
    parts = [_accepted(story), *map(_function, story["functions"])]
    if story["items"] is not None:
        parts.append(_items(story["items"]))
    objects = "\n".join(f"  {each['key']}  {size(each['size'])}" for each in story["archive"])
    parts.append(f"archive\n{objects}" if objects else "archive: no object holds it")
    return "\n\n".join(parts)


def _accepted(story: dict[str, Any]) -> str:
    accepted = story["accepted"]
    lines = [
        f"{story['stream']}  {story['shard']}  record {story['number']:,}",
        f"  accepted       {accepted['arrived_at']}",
    ]
    if accepted["partition_key"] is not None:
        lines += [f"  partition key  {accepted['partition_key']}", f"  size           {size(accepted['bytes'])}"]
    if accepted["position"] is not None:
        lines.append(f"  frame at       {accepted['position']}")
    if accepted["log"] != "held":
        lines.append(f"  {_AGED_OUT[accepted['log']]}")
    return "\n".join(lines)


def _function(function: dict[str, Any]) -> str:
    lines = [f"{function['function']}: {function['state']}"]
    if function["calls"]:
        heads = ("started", "batch", "attempt", "ms", "result", "request id")
        rows = [
            [
                call["started"],
                f"{call['count']} from {call['first']}",
                call["attempt"],
                call["duration_ms"],
                f"{call['result']}: {call['detail']}" if call["detail"] else call["result"],
                call["request_id"],
            ]
            for call in function["calls"]
        ]
        lines += [f"  {line}" for line in table(heads, rows).splitlines()]
    if function["calls_known"] > len(function["calls"]):
        lines.append(f"  (the last {len(function['calls'])} of {function['calls_known']:,} calls)")
    for failure in function["failures"]:
        replayed = f", replayed {failure['replayed_at']}" if failure["replayed_at"] else ""
        lines += [f"  {failure['reason']}: {failure['message']} ({failure['time']}{replayed})", f"    {failure['id']}"]
    return "\n".join(lines)


def _items(items: dict[str, Any]) -> str:
    lines = [f"table {items['table']}: the record holds {items['events']:,}"]
    if items["problem"]:
        return f"{lines[0]}; {items['problem']}"
    for item in items["shown"]:
        if "fault" in item:
            lines.append(f"  no event ({item['fault']}): {item['message']}")
        else:
            stored = "stored" if item["stored"] else "NOT STORED"
            lines.append(f"  {item['device_id']}  {item['time']}  {item['id']}  {stored}")
    if items["events"] > len(items["shown"]):
        lines.append(f"  … and {items['events'] - len(items['shown']):,} more")
    return "\n".join(lines)
