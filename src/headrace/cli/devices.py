"""`headrace latest`, `history`, `aggregates` and `config`: what a device asks of `device_api`, asked by hand."""

import click
import msgspec

from headrace.cli.backend import Backend
from headrace.cli.functions import Members, device_api, members, text
from headrace.cli.options import json_option, range_options, with_backend, with_system
from headrace.cli.output import note, print_raw, printable, table
from headrace.cli.payload import json_text
from headrace.deployed import Deployed
from headrace.errors import UsageError


@click.command("latest")
@click.argument("device")
@json_option
@with_system
def latest_command(backend: Backend | Deployed, device: str, as_json: bool) -> None:
    """Show the newest event of DEVICE, by its own time."""
    payload = device_api(backend, "latest", device)
    if as_json:
        print_raw(payload)
    else:
        click.echo(_event(members(payload) or {}))


@click.command("history")
@click.argument("device")
@range_options("time")
@click.option("--limit", metavar="N", type=int, help="How many events at most: 100, up to 1,000.")
@click.option("--newest", is_flag=True, help="The newest first, instead of the oldest.")
@click.option("--cursor", metavar="C", help="Go on where the answer with this cursor ended.")
@json_option
@with_system
def history_command(
    backend: Backend | Deployed,
    device: str,
    start: str | None,
    end: str | None,
    limit: int | None,
    newest: bool,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Show the events of DEVICE in a range of time.

    The time is the device's own; the oldest come first, unless --newest.
    """
    range_ = {"from": start, "to": end}
    payload = device_api(backend, "history", device, limit=limit, newest=newest or None, cursor=cursor, **range_)
    if as_json:
        print_raw(payload)
        return
    answer = members(payload) or {}
    events = msgspec.json.decode(answer.get("events", b"[]"), type=list[Members])
    click.echo(_events(events) if events else f"no events of {device}")
    if (following := text(answer, "cursor")) not in ("", "null"):
        note(f"there are more: add --cursor {following}")


@click.command("aggregates")
@click.argument("device")
@click.option("--period", type=click.Choice(["hour", "day", "month"]), default="hour", help="Of what length (hour).")
@click.option("--reading", metavar="NAME", help="Of this reading only.")
@range_options("start")
@click.option("--limit", metavar="N", type=int, help="How many at most: 100, up to 1,000.")
@click.option("--newest", is_flag=True, help="The newest first, instead of the oldest.")
@click.option("--cursor", metavar="C", help="Go on where the answer with this cursor ended.")
@json_option
@with_backend
def aggregates_command(
    backend: Backend,
    device: str,
    period: str,
    reading: str | None,
    start: str | None,
    end: str | None,
    limit: int | None,
    newest: bool,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Show what jobs have computed of DEVICE's readings, by hour or day."""
    asked = {"period": period, "reading": reading, "from": start, "to": end, "limit": limit, "cursor": cursor}
    payload = device_api(backend, "aggregates", device, newest=newest or None, **asked)
    if as_json:
        print_raw(payload)
        return
    answer = members(payload) or {}
    found = msgspec.json.decode(answer.get("aggregates", b"[]"), type=list[Members])
    heads = [name for name in (found[0] if found else {}) if name not in ("device_id", "period")]
    rows = [[text(each, name) for name in heads] for each in found]
    click.echo(table(heads, rows) if found else f"no aggregates of {device}: see `headrace jobs list`")
    if (following := text(answer, "cursor")) not in ("", "null"):
        note(f"there are more: add --cursor {following}")


@click.command("config")
@click.argument("device")
@click.argument("action", type=click.Choice(["get", "set"]))
@click.argument("config", metavar="[JSON]", required=False)
@click.option("--expected-version", metavar="N", type=int, help="Refuse to set unless this is the version now.")
@json_option
@with_system
def config_command(
    backend: Backend | Deployed,
    device: str,
    action: str,
    config: str | None,
    expected_version: int | None,
    as_json: bool,
) -> None:
    """Show or write the configuration of DEVICE.

    It is what the device is wanted to be set to: a JSON object, given as text, as @FILE, or as - for standard input.
    Every write is a new version.
    """
    if action == "get":
        if config is not None or expected_version is not None:
            raise UsageError(
                "get takes neither JSON nor --expected-version.", "To write: headrace config DEVICE set JSON"
            )
        payload = device_api(backend, "config_get", device)
    else:
        if isinstance(backend, Deployed):
            raise UsageError(
                "headrace config DEVICE set works on one machine only.",
                "On AWS call device_api as your service does: its operation config_set, by Lambda's Invoke.",
            )
        if config is None:
            raise UsageError(
                "set needs the configuration.", "Write it as JSON: headrace config DEVICE set '{\"a\": 1}'"
            )
        wanted = json_text(config)
        if members(wanted) is None:
            raise UsageError("A configuration is a JSON object.", "Like '{\"interval_s\": 60}'.")
        payload = device_api(
            backend, "config_set", device, config=msgspec.Raw(wanted), expected_version=expected_version
        )
    if as_json:
        print_raw(payload)
    else:
        answer = members(payload) or {}
        click.echo(f"{text(answer, 'device_id')}  version {text(answer, 'version')}\n{_indented(answer.get('config'))}")


def _event(event: Members) -> str:
    lines = [(printable(name), text(event, name)) for name in event if name != "readings"]
    readings = msgspec.json.decode(event.get("readings", b"{}"), type=Members)
    lines += [(f"  {printable(name)}", text(readings, name)) for name in readings]
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def _events(events: list[Members]) -> str:
    rows = []
    for event in events:
        readings = msgspec.json.decode(event.get("readings", b"{}"), type=Members)
        values = "  ".join(f"{printable(name)}={text(readings, name)}" for name in readings)
        flags = msgspec.json.decode(event.get("flags", b"[]"), type=list[str])
        rows.append([text(event, "time"), text(event, "id"), values + "".join(f"  [{flag}]" for flag in flags)])
    return table(("time", "id", "readings"), rows)


def _indented(value: msgspec.Raw | None) -> str:
    return msgspec.json.format(bytes(value or b"{}"), indent=2).decode()
