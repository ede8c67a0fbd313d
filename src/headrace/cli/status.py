"""`headrace status`: what was accepted, what became of it, and whether the books agree."""

import json
from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_system
from headrace.cli.output import duration, print_json, print_raw, size, table
from headrace.deployed import Deployed
from headrace.errors import UsageError
from headrace.plural import counted

ACCOUNT = ("eligible", "processed", "failed", "filtered", "expired", "pending")


@click.command("status")
@click.option("--verify", is_flag=True, help="Scan log, table, archive and failures, and compare every identity.")
@json_option
@with_system
@click.pass_context
def status_command(ctx: click.Context, backend: Backend | Deployed, verify: bool, as_json: bool) -> None:
    """Show what was accepted and what became of it.

    With --verify every count is exact and the exit code is 1 if anything differs; that reads everything once and may
    take minutes.
    """
    if isinstance(backend, Deployed):
        _deployed(backend, verify, as_json)
        return
    body = backend.get_bytes("status", [("verify", "1")], timeout_s=None) if verify else backend.get_bytes("status")
    status = json.loads(body)
    if as_json:
        print_raw(body)
    else:
        click.echo(f"{backend.url}\n\n{render(status)}")
    if verify and not status.get("verified"):
        ctx.exit(1)


def _deployed(system: Deployed, verify: bool, as_json: bool) -> None:
    from headrace.deployed import status

    if verify:
        raise UsageError("--verify works on one machine only.", "AWS keeps no ledger to compare with: leave it out.")
    found = status.status(system)
    print_json(found) if as_json else click.echo(render_deployed(found))


def render_deployed(status: dict[str, Any]) -> str:
    """Return the status of a system on AWS as text for people."""
    hours = status["hours"]
    heads = ("function", "invocations", "errors", "throttles", "mean ms", "iterator age")
    rows = [
        [
            name,
            *(each[key] for key in ("invocations", "errors", "throttles")),
            None if each["duration_ms"] is None else round(each["duration_ms"], 1),
            None if each["iterator_age_ms"] is None else duration(each["iterator_age_ms"]),
        ]
        for name, each in status["functions"].items()
    ]
    tables = [
        [name, each["status"], each["mode"], each["items"], size(each["bytes"])]
        for name, each in status["tables"].items()
    ]
    archive, failures, alarms = status["archive"], status["failures"], status["alarms"]
    kept = (
        "not told yet"
        if archive["bytes"] is None
        else f"{counted(int(archive['objects'] or 0), 'object')}, {size(archive['bytes'])}"
    )
    lost = (
        "? documents"
        if failures["documents"] is None
        else f"{counted(failures['documents'], 'document')}{' or more' if failures['at_least'] else ''}"
    )
    on = sorted(name for name, state in alarms.items() if state == "ALARM")
    return "\n\n".join(
        (
            f"stack {status['stack']} in {status['region']}: {status['stack_status']}; "
            f"{counted(status['accepted'], 'record')} accepted in {hours} hours",
            table(heads, rows) if rows else "no function",
            table(("table", "status", "capacity", "items (hours ago)", "size"), tables) if tables else "no table",
            f"archive   {kept} (a day ago)\nfailures  {lost}"
            + (" (see: headrace failures list --aws)" if failures["documents"] else ""),
            f"ALARMS ON: {', '.join(on)}" if on else f"{counted(len(alarms), 'alarm')}, none is on",
        )
    )


def render(status: dict[str, Any]) -> str:
    """Return a status as text for people."""
    parts = [
        f"{'ready' if status['ready'] else 'starting'}; {counted(status['accepted'], 'record')} accepted",
        _functions(status["functions"]),
        *_troubles(status),
        _stores(status),
        _ledger(status),
    ]
    if clock := _clock(status.get("clock", {})):
        parts.append(clock)
    if "verified" in status:
        parts.append(_verification(status))
    return "\n\n".join(parts)


def _functions(functions: dict[str, dict[str, int]]) -> str:
    if not functions:
        return "no function reads a stream"
    rows = [
        [name, *(account[key] for key in ACCOUNT), duration(account["iterator_age_ms"])]
        for name, account in functions.items()
    ]
    return table(("function", *ACCOUNT, "iterator age"), rows)


def _troubles(status: dict[str, Any]) -> list[str]:
    """Return what keeps functions from getting on, and which alarms are on; nothing where all is well."""
    lines = [
        f"FUNCTION {name} CAN'T BE IMPORTED: {error} (see: headrace logs {name})"
        for name, error in status.get("import_errors", {}).items()
    ]
    for name, problems in status.get("mapping_errors", {}).items():
        more = f", and {counted(len(problems) - 1, 'more shard')}" if len(problems) > 1 else ""
        lines.append(f"FUNCTION {name} DOES NOT GET ON: {problems[0]}{more} (see: headrace logs {name})")
    disk = status.get("disk", {})
    if disk.get("read_only"):
        lines.append("THE DISK IS READ-ONLY: nothing is accepted until it is mounted for writing")
    elif disk.get("full"):
        left = "it takes no more files" if disk.get("free_files") == 0 else f"{size(disk['free_bytes'])} are free"
        lines.append(f"THE DISK IS FULL: {left}; free space, and everything goes on")
    if damage := status.get("archive_error"):
        lines.append(f"THE ARCHIVE IS DAMAGED: {' '.join(damage.split())}")
    lines += [f"ALARM {name} IS ON: {text}" for name, text in (status.get("alarms_on") or {}).items()]
    return ["\n".join(lines)] if lines else []


def _stores(status: dict[str, Any]) -> str:
    events, items, archive = status["events"], status["table"], status["archive"]
    exact = "" if "verified" in status else "about "
    throttled = f"; {counted(items['throttled'], 'write')} throttled since its start" if items.get("throttled") else ""
    return "\n".join(
        (
            f"events    {exact}{events['stored']:,} stored, {events['rejected']:,} rejected",
            f"table     {exact}{counted(items['items'], 'item')}, {size(items['bytes'])}{throttled}",
            f"archive   {counted(archive['records'], 'record')} in {counted(archive['objects'], 'object')}, "
            f"{size(archive['bytes'])}",
            f"failures  {counted(status['failures']['records'], 'record')}"
            # The books stay as they are; which were replayed only the documents say, of which there may be many.
            + (", replayed since or not (see: headrace failures list)" if status["failures"]["records"] else ""),
        )
    )


def _clock(clock: dict[str, Any]) -> str:
    """Return what is odd about the clock; nothing if nothing is."""
    lines = []
    if clock.get("streams_ahead_ms"):
        ahead = duration(clock["streams_ahead_ms"])
        lines.append(f"THE CLOCK WENT BACK: the streams are {ahead} ahead; arrivals wait for the clock to catch up")
    if clock.get("removal_paused"):
        jump = f"{duration(abs(clock['jump_ms']))} {'after' if clock['jump_ms'] > 0 else 'before'} the last run"
        lines.append(
            f"THE CLOCK IS {jump}: retention and TTL remove nothing; set it right, or they go on "
            f"in {duration(clock['resume_ms'])}"
        )
    return "\n".join(lines)


def _ledger(status: dict[str, Any]) -> str:
    if status["balanced"]:
        pending = sum(account["pending"] for account in status["functions"].values())
        return f"ledger balanced, {pending:,} pending" if pending else "ledger balanced, nothing pending"
    wrong = [
        name
        for name, account in status["functions"].items()
        if account["eligible"] != sum(account[k] for k in ACCOUNT[1:])
    ]
    return f"LEDGER NOT BALANCED: {', '.join(wrong)}"


def _verification(status: dict[str, Any]) -> str:
    if status["verified"]:
        return "verified: log, table, archive and failures agree"
    lines = [_difference(item) for item in status["differences"]]
    return "\n".join([f"NOT VERIFIED, {counted(len(lines), 'difference')}:", *(f"  {line}" for line in lines)])


def _difference(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    details = ", ".join(f"{name} {value}" for name, value in item.items() if name != "kind")
    return f"{item.get('kind', 'difference')}: {details}"
