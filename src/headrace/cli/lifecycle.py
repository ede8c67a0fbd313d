"""`headrace lifecycle`: what the buckets' rules will do and have done to objects, and running them now."""

from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import endpoint_option, json_option, time_option, with_backend
from headrace.cli.output import print_json, size, table
from headrace.clock import now_ms, rfc3339_ms
from headrace.errors import UsageError
from headrace.event import times
from headrace.plural import counted

_RUN_S_MAX = 3600.0
_DAYS_AHEAD = 30


@click.group("lifecycle")
@endpoint_option
def lifecycle_command() -> None:
    """Show what lifecycle rules will do and have done, or run them now."""


@lifecycle_command.command("plan")
@time_option("--at", "at", "Until then: a day, RFC 3339 or epoch (in 30 days).")
@json_option
@with_backend
def plan_command(backend: Backend, at: str | None, as_json: bool) -> None:
    """Say what will go when, in objects, bytes and money.

    It counts the objects that there are, with the tags that they have.
    """
    query = [("until_ms", str(_until_ms(at)))]
    plan = backend.get("lifecycle/plan", query)
    if as_json:
        print_json(plan)
        return
    until = rfc3339_ms(plan["until_ms"])
    waiting = "".join(f"\n{_waiting(each)}" for each in plan["waiting"])
    if not plan["steps"]:
        click.echo(f"nothing goes until {until}{waiting}")
        return
    heads = ("day", "bucket", "rule", "from", "to", "objects", "bytes", "once $", "saves $/month")
    click.echo(table(heads, [_row(step) for step in plan["steps"]]))
    gone = [step for step in plan["steps"] if step["to"] is None]
    moved = [step for step in plan["steps"] if step["to"] is not None]
    click.echo(f"\nuntil {until}: {_total(moved)} to another class, {_total(gone)} deleted{waiting}")
    if not moved:
        click.echo("objects under 128 KB change no class, unless their bucket or rule says so")
    prices = plan["prices"]
    note = "" if all(step["sourced"] for step in plan["steps"]) else "; * marks a price without a source"
    click.echo(f"prices of {prices['region']}, {prices['date']}{note}")


@lifecycle_command.command("run")
@click.option("--clock-is-right", is_flag=True, help="Run although the clock is in doubt: you have looked at it.")
@json_option
@with_backend
def run_command(backend: Backend, clock_is_right: bool, as_json: bool) -> None:
    """Do now what the rules want by now; the backend does it by itself once an hour."""
    found = backend.post("lifecycle/run", {"clock_is_right": clock_is_right}, timeout_s=_RUN_S_MAX)["buckets"]
    if as_json:
        print_json(found)
    else:
        for each in found:
            click.echo(f"{each['bucket']}: {_done(each)}")
    problems = [problem for each in found for problem in each["problems"]]
    for problem in problems:
        click.echo(f"headrace: {problem}", err=True)
    if problems:
        raise click.exceptions.Exit(1)


@lifecycle_command.command("log")
@click.option("--limit", metavar="N", type=click.IntRange(1, 10_000), default=100, help="So many at most (100).")
@json_option
@with_backend
def log_command(backend: Backend, limit: int, as_json: bool) -> None:
    """Show what rules have moved and deleted, the newest last."""
    lines = backend.get("lifecycle/log", [("limit", str(limit))])["lines"]
    if as_json:
        print_json(lines)
    elif lines:
        heads = ("at", "rule", "from", "to", "bytes", "bucket", "key")
        click.echo(table(heads, [_line(each) for each in lines]))
    else:
        click.echo("no rule has moved or deleted anything yet")


def _until_ms(text: str | None) -> int:
    if text is None:
        return now_ms() + _DAYS_AHEAD * 86_400_000
    try:
        return max(0, times.to_us(times.from_text(text)) // 1000)
    except ValueError as error:
        hint = "Write it like 2027-01-31 or 2027-01-31T00:00:00Z."
        raise UsageError(f"--at is {text!r}, {error}.", hint) from None


def _row(step: dict[str, Any]) -> list[object]:
    mark = "" if step["sourced"] else " *"
    money = [f"{step['cost']:,.4f}{mark}", f"{step['saved']:,.4f}{mark}"]
    day, to = rfc3339_ms(step["day_ms"])[:10], step["to"] or "deleted"
    return [day, step["bucket"], step["rule"], step["storage_class"], to, step["objects"], step["bytes"], *money]


def _total(steps: list[dict[str, Any]]) -> str:
    return f"{counted(sum(step['objects'] for step in steps), 'object')} ({size(sum(step['bytes'] for step in steps))})"


def _waiting(each: dict[str, Any]) -> str:
    tags = ", ".join(f"{name}={value}" for name, value in each["tags"].items())
    by = ", which the job compact gives" if each["tags"] == {"compacted": "true"} else ""
    return f"{each['bucket']}: rule {each['rule']} leaves {_count(each)} alone for lack of the tag {tags}{by}"


def _done(each: dict[str, Any]) -> str:
    parts = [f"{_count(found)} to {name}" for name, found in each["transitioned"].items()]
    parts += [f"{_count(each['expired'])} deleted"] if each["expired"]["objects"] else []
    parts += [f"{counted(each['aborted']['objects'], 'upload')} aborted"] if each["aborted"]["objects"] else []
    return ", ".join(parts) or "nothing to do"


def _count(found: dict[str, int]) -> str:
    return f"{counted(found['objects'], 'object')} ({size(found['bytes'])})"


def _line(each: dict[str, Any]) -> list[object]:
    to = each.get("to") or ("aborted" if each["action"] == "abort" else "deleted")
    return [
        rfc3339_ms(each["at_ms"]),
        each["rule"],
        each["storage_class"],
        to,
        each["size"],
        each["bucket"],
        each["key"],
    ]
