"""`headrace devices`: the registry of devices."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from headrace.cli.backend import Backend
from headrace.cli.options import endpoint_option, json_option, with_backend
from headrace.cli.output import Progress, note, print_json, printable, table
from headrace.errors import UsageError
from headrace.plural import counted

CHUNK = 2000  # devices of an import in one request
NOT_TOUCHED = """Not touched are:
  files that were replaced, for an hour, as readers may have them open; the next compaction deletes them then
  the stream's log, until its retention ends: what is of the device in it is not read again
  bills that are closed, backups, exports made before, and the logs of functions"""


@click.group("devices")
@endpoint_option
def devices_command() -> None:
    """The registry of devices: list, label, import, retire, erase them."""


@devices_command.command("add")
@click.argument("device")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label; `K=` takes it away.")
@json_option
@with_backend
def add_command(backend: Backend, device: str, labels: tuple[str, ...], as_json: bool) -> None:
    """Register DEVICE, or give it more labels; a retired device is one again."""
    _show(backend.post("devices/add", {"device_id": _text(device), "labels": _labels(labels)}), as_json)


@devices_command.command("list")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="Only devices with this label.")
@click.option("--tenant", metavar="T", help="Only devices of this tenant now (reports/tenants.csv).")
@click.option("--retired", is_flag=True, help="Those that are retired, which are left out otherwise.")
@click.option("--unregistered", is_flag=True, help="Those that sent events and are not registered.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="How many at most; without it, all.")
@json_option
@with_backend
def list_command(
    backend: Backend,
    labels: tuple[str, ...],
    tenant: str | None,
    retired: bool,
    unregistered: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the registered devices: shorter ids first, then by their bytes."""
    if unregistered and (labels or tenant is not None or retired):
        raise UsageError("What is not registered has no labels and is not retired.", "Use --unregistered alone.")
    query = [("label", f"{name}={value}") for name, value in _labels(labels).items()]
    query += [("tenant", _text(tenant))] if tenant is not None else []
    query += [("retired", "1")] if retired else []
    query += [("unregistered", "1")] if unregistered else []
    found = list(_pages(backend, query, limit))
    if as_json:
        print_json(found)
    elif found:
        click.echo(table(("device", "tenant", "labels", "registered", "by", "retired"), [_row(each) for each in found]))
        click.echo(f"\n{counted(len(found), 'device')}")
    else:
        click.echo("no devices" + (" that are not registered" if unregistered else ""))


@devices_command.command("show")
@click.argument("device")
@json_option
@with_backend
def show_command(backend: Backend, device: str, as_json: bool) -> None:
    """Show what is known of DEVICE."""
    _show(backend.get("devices/show", [("device", _text(device))]), as_json)


@devices_command.command("import")
@click.argument("file", metavar="FILE.csv", type=click.Path(path_type=Path))
@json_option
@with_backend
def import_command(backend: Backend, file: Path, as_json: bool) -> None:
    """Register the devices of FILE.csv: a column device_id, and each other column a label.

    An empty cell takes that label away. All of the file is checked first: with a fault in it nothing is imported.
    Importing it again changes nothing.
    """
    from headrace import device_registry

    try:
        body = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.", "Name a CSV file with a column device_id.") from error
    devices = [each._asdict() for each in device_registry.parse_csv(str(file), body)]
    total, progress = {"added": 0, "changed": 0, "unchanged": 0}, Progress()
    for start in range(0, len(devices), CHUNK):
        done = backend.post("devices/import", {"devices": devices[start : start + CHUNK]}, timeout_s=None)
        total = {name: count + done[name] for name, count in total.items()}
        progress.show(f"{sum(total.values()):,} of {counted(len(devices), 'device')}")
    progress.clear()
    if as_json:
        print_json(total)
    else:
        click.echo(", ".join(f"{count:,} {name}" for name, count in total.items()))


@devices_command.command("retire")
@click.argument("device")
@json_option
@with_backend
def retire_command(backend: Backend, device: str, as_json: bool) -> None:
    """Retire DEVICE: everything of it stays, and the lists leave it out.

    It counts as neither silent nor never heard in reports. What it still sends is stored all the same, and `devices
    show` tells. `devices add DEVICE` brings it back.
    """
    _show(backend.post("devices/retire", {"device_id": _text(device)}), as_json)


@devices_command.command("erase")
@click.argument("device")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@with_backend
def erase_command(backend: Backend, device: str, yes: bool, as_json: bool) -> None:
    """Erase everything that came from DEVICE until now: it can't be undone.

    Table, archive, reports, warehouse and failures. What it sends from now on is a new device's. If this is interrupted
    or says that something is left, run it again.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("This erases for good, and nobody can be asked here.", "Add --yes if that is meant.")
        click.confirm(f"Erase everything of {printable(_text(device))} for good?", abort=True)
    note("erasing; while events come in this can take a minute")
    done = backend.post("devices/erase", {"device_id": _text(device)}, timeout_s=None)
    if as_json:
        print_json(done)
        return
    rows = [(place, text) for place, text in _erased(done) if text]
    width = max((len(place) for place, _ in rows), default=0)
    click.echo("\n".join(f"{place.ljust(width)}  {text}" for place, text in rows) or "nothing of it was found")
    for key in done["cold"]:
        note(f"cold, so it may hold some still: headrace archive restore {key}, then erase again")
    for text in done["left"]:
        note(text)
    click.echo(f"What arrived before {done['before']} is erased. {NOT_TOUCHED}")


def _erased(done: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was done, place by place; no text where there was nothing."""

    def said(text: str, **names: str) -> str:
        counts = [(done[name], noun) for noun, name in names.items()]
        return text.format(*(counted(*each) for each in counts)) if any(count for count, _ in counts) else ""

    return [
        ("table", said("{}, {} deleted", event="table_events", aggregate="table_aggregates")),
        ("registry", said("{} deleted", item="registry_items")),
        ("raw archive", said("{} emptied, {} written anew", record="raw_records", object="raw_objects")),
        ("archive", said("{} taken out, {} written anew", event="file_events", file="files")),
        ("reports", said("{} taken out of {}", row="report_rows", object="reports")),
        ("failures", said("{} emptied", document="failures")),
        ("warehouse", said("{} deleted", row="warehouse_rows")),
    ]


def _pages(backend: Backend, query: list[tuple[str, str]], limit: int | None) -> Iterator[dict[str, Any]]:
    after: str | None = ""
    progress, count = Progress(), 0
    while after is not None:
        size = min(1000, limit - count) if limit is not None else 1000
        page = backend.get("devices", [*query, ("after", after), ("limit", str(size))], timeout_s=None)
        yield from page["devices"]
        count, after = count + len(page["devices"]), page["next"]
        progress.show(counted(count, "device"))
        if count == limit:
            break
    progress.clear()


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    labels = ", ".join(f"{name}={value}" for name, value in found["labels"].items())
    lines = [("device", found["device_id"]), ("labels", labels or "none")]
    lines += [(name, found[name]) for name in ("tenant", "tariff") if found[name] is not None]
    registered = f"{found['registered_at']}, by {found['registered_by']}" if found["registered_at"] else "no"
    lines.append(("registered", registered))
    if found["retired_at"]:
        lines.append(("retired", found["retired_at"]))
    if "last_event" in found:
        last = found["last_event"]
        seen = f"{last['time']} (arrived {last['arrived_at']})" if last else "none"
        late = found["retired_at"] and last and last["arrived_at"] > found["retired_at"]
        lines += [
            ("last event", seen + ("; it sends although it is retired" if late else "")),
            ("events", f"{found['events']:,}{' and more' if found['more_events'] else ''} in the table"),
            ("config", f"version {found['config_version']}"),
            ("state", f"version {found['state_version']}"),
        ]
    width = max(len(name) for name, _ in lines)
    click.echo("\n".join(f"{name.ljust(width)}  {printable(str(value))}" for name, value in lines))


def _row(each: dict[str, Any]) -> list[object]:
    labels = ", ".join(f"{name}={value}" for name, value in each["labels"].items())
    registered, retired = (each.get(name) for name in ("registered_at", "retired_at"))
    return [
        each["device_id"],
        each["tenant"],
        labels,
        registered and registered[:19],
        each.get("registered_by"),
        retired and retired[:19],
    ]


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in map(_text, texts):
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{text!r} is no label.", "Write it as NAME=VALUE, like --label site=north.")
        labels[name] = value
    return labels


def _text(argument: str) -> str:
    """Return an argument if it is UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise UsageError("An argument is not UTF-8.", "Check the terminal's encoding (locale).") from None
    return argument
