"""`headrace bills`: usage and what it costs, so far and month by month; closing a month."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from headrace import clock
from headrace.billing import files, statement
from headrace.billing import month as months
from headrace.cli.backend import Backend, path_segment
from headrace.cli.bills_on_aws import Bills
from headrace.cli.jobs import failure, wait_for
from headrace.cli.options import endpoint_option, ignored_endpoint_option, json_option, with_backend, with_system
from headrace.cli.output import note, print_json, printable, size, table
from headrace.deployed import Deployed
from headrace.errors import Conflict, HeadraceError, NotFound, UsageError
from headrace.plural import counted

JOB = "bills"
WARN_AT = 80
month_option = click.option("--month", metavar="YYYY-MM", help="The month (UTC); without it, this one.")
tenant_option = click.option("--tenant", metavar="NAME", help="Of this tenant alone.")
warn_option = click.option(
    "--warn-at",
    metavar="PERCENT",
    type=click.IntRange(1, 1000),
    default=WARN_AT,
    help=f"Tell when so much of a free allowance is used up ({WARN_AT}); nothing is ever cut off.",
)
refresh_option = click.option(
    "--no-refresh", is_flag=True, help="As the job last computed it, without what has come since."
)


@click.group("bills")
@endpoint_option
def bills_command() -> None:
    """See usage and bills, and close a month."""


@bills_command.command("list")
@json_option
@with_system
def list_command(backend: Backend | Deployed, as_json: bool) -> None:
    """List the months that have bills: closed, ended (it can be closed), or provisional."""
    found = _source(backend).get("bills")["bills"]
    if as_json:
        print_json(found)
        return
    if not found:
        note("there are no bills yet: `headrace bills show` computes them, once there are tenants")
        return
    rows = [[each["month"], each["state"], each["closed_at"], each["tenants"], _sums(each["totals"])] for each in found]
    click.echo(table(("month", "state", "closed", "tenants", "total"), rows))


@bills_command.command("show")
@month_option
@tenant_option
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write the tenant's statement to print.")
@click.option("--csv", metavar="FILE", type=click.Path(path_type=Path), help="Write the lines as CSV.")
@warn_option
@refresh_option
@json_option
@with_system
def show_command(
    backend: Backend | Deployed,
    month: str | None,
    tenant: str | None,
    html: Path | None,
    csv: Path | None,
    warn_at: int,
    no_refresh: bool,
    as_json: bool,
) -> None:
    """Show the bills of a month. Those of a month that is not closed are provisional."""
    if html is not None and tenant is None:
        raise UsageError("A statement is one tenant's.", "Give --tenant NAME; `headrace bills show` lists them.")
    month = _month(month)
    bill = _fetched(backend, month, f"bills/{month}", {"tenant": tenant}, no_refresh)
    bill["warnings"] = _warnings(bill, warn_at)
    if csv is not None:
        _write(csv, statement.to_csv(bill))
    if html is not None:
        asked = [("tenant", tenant or ""), ("days", "1")]
        devices = _source(backend).get(f"bills/{month}/usage", asked)["devices"]
        _write(html, statement.to_html(bill, bill["tenants"][0], devices))
    if as_json:
        print_json(bill)
        return
    click.echo(_shown(bill))
    for text in bill["warnings"]:
        note(text)


@bills_command.command("usage")
@month_option
@tenant_option
@click.option("--device", metavar="ID", help="Of this device alone.")
@click.option("--days", is_flag=True, help="Day by day.")
@warn_option
@refresh_option
@json_option
@with_system
def usage_command(
    backend: Backend | Deployed,
    month: str | None,
    tenant: str | None,
    device: str | None,
    days: bool,
    warn_at: int,
    no_refresh: bool,
    as_json: bool,
) -> None:
    """Show what each device has used in a month, so far; of nobody's devices, too, which are not billed."""
    month = _month(month)
    asked = {"tenant": tenant, "device": device, "days": "1" if days else None}
    found = _fetched(backend, month, f"bills/{month}/usage", asked, no_refresh)
    with contextlib.suppress(NotFound):
        bill = _source(backend).get(f"bills/{month}", [("tenant", tenant)] if tenant else [])
        found["warnings"] = _warnings(bill, warn_at)
    if as_json:
        print_json(found)
        return
    click.echo(f"{month}, {found['state']}")
    rows: list[list[object]] = []
    for each in found["devices"]:
        parts = each["days"] if days else [each | {"day": None}]
        rows += [
            [each["tenant"] or None, each["device_id"], part["day"], part["events"], part["bytes"]] for part in parts
        ]
    kept = (0, 1, 2, 3, 4) if days else (0, 1, 3, 4)
    heads = ("tenant", "device", "day", "events", "bytes")
    click.echo(table([heads[n] for n in kept], [[row[n] for n in kept] for row in rows]))
    for text in found.get("warnings", ()):
        note(text)


@bills_command.command("close")
@click.argument("month", metavar="YYYY-MM")
@json_option
@with_backend
def close_command(backend: Backend, month: str, as_json: bool) -> None:
    """Freeze the bills of a month that has ended, for ever; again, nothing happens.

    What comes later for that month is an adjustment of the next bill.
    """
    months.parse(month)
    run = _run(backend, {"close": month})
    bill = backend.get(f"bills/{month}")
    if as_json:
        print_json({"closed_now": bool(run["result"] and run["result"]["closed"]), **bill})
        return
    if not (run["result"] and run["result"]["closed"]):
        note(f"{month} was closed at {bill['closed_at']} already; it stays as it is")
    click.echo(_shown(bill))


@bills_command.command("check")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("reports"))
@json_option
@ignored_endpoint_option
def check_command(folder: Path, as_json: bool) -> None:
    """Check tariffs.csv and tenants.csv in FOLDER (./reports), without a backend."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder.", "Give the folder with tariffs.csv and tenants.csv.")
    book = files.load(folder)
    held = list(book.tenants.all())
    found = {
        "tariffs": len(book.tariffs.versions),
        "versions": sum(1 for _ in book.tariffs.all()),
        "tenants": len({each.tenant for each in held}),
        "devices": len({each.device_id for each in held}),
    }
    if as_json:
        print_json(found)
    else:
        parts = [counted(value, name.removesuffix("s")) for name, value in found.items()]
        click.echo(f"{folder} is right: {', '.join(parts)}")


def _month(month: str | None) -> str:
    """Return a month that is one, or this one."""
    return months.text(months.parse(month) if month else datetime.fromtimestamp(clock.now_ms() / 1000, UTC).date())


def _source(backend: Backend | Deployed) -> Backend | Bills:
    """Return whoever answers about bills."""
    return Bills(backend) if isinstance(backend, Deployed) else backend


def _fetched(backend: Backend | Deployed, month: str, path: str, query: dict[str, str | None], no_refresh: bool) -> Any:
    """Return an answer about a month; unless the month is closed, the job computes what has come since first."""
    asked = [(name, value) for name, value in query.items() if value is not None]
    if not no_refresh and isinstance(backend, Backend):
        states = {each["month"]: each["state"] for each in backend.get("bills")["bills"]}
        if states.get(month) != "closed":
            _run(backend, {"month": month})
    return _source(backend).get(path, asked)


def _run(backend: Backend, parameters: dict[str, str]) -> dict[str, Any]:
    """Run the job, after one that is at work, and wait; raises what it failed with."""
    while True:
        try:
            run = backend.post(f"jobs/{JOB}/run", {"parameters": parameters})
            break
        except Conflict:
            with contextlib.suppress(HeadraceError):
                wait_for(backend, backend.get(f"jobs/runs/{path_segment(JOB)}")["id"])
    run = wait_for(backend, run["id"])
    if run["state"] != "succeeded":
        raise failure(run, is_named=False)
    return run


def _warnings(bill: dict[str, Any], warn_at: int) -> list[str]:
    found = []
    for tenant in bill["tenants"]:
        for line in tenant["lines"]:
            percent = line.get("allowance_used_percent")
            if percent is not None and percent >= warn_at:
                used = f"{line['quantity']:,} of {line['allowance']:,} free {line['meter']}"
                found.append(
                    f"{printable(tenant['tenant'])} has used {percent}%: {used} of {printable(line['tariff'])}"
                )
    return found


def _shown(bill: dict[str, Any]) -> str:
    state = f"closed at {bill['closed_at']}" if bill["state"] == "closed" else f"provisional ({bill['state']})"
    state = state.replace("(provisional)", "(the month goes on)").replace("(ended)", "(ended, not closed)")
    lines = [f"{bill['month']}, {state}"]
    rows = []
    for tenant in bill["tenants"]:
        for line in tenant["lines"]:
            what = line["meter"] if line["kind"] != "adjustment" else f"{line['meter']}, adjusts {line['adjusts']}"
            tariff = (
                f"{line['tariff']} from {line['tariff_from'].removesuffix('T00:00:00Z')}" if line["tariff"] else None
            )
            quantity = line["quantity"] if line["kind"] != "minimum" else None
            rows.append([tenant["tenant"], what, tariff, quantity, f"{line['currency']} {line['amount']}"])
        rows.append([tenant["tenant"], "total", None, None, _sums(tenant["totals"])])
    lines.append(table(("tenant", "what", "tariff", "quantity", "amount"), rows) if rows else "nobody owes anything")
    unbilled = bill.get("unbilled")
    if unbilled and unbilled["devices"]:
        lines.append(
            f"not billed, of devices without a tenant: {counted(unbilled['events'], 'event')} "
            f"({size(unbilled['bytes'])}), {counted(unbilled['devices'], 'device-month')}; "
            f"see: headrace bills usage --month {bill['month']}"
        )
    return "\n".join(lines)


def _sums(totals: dict[str, str]) -> str:
    return ", ".join(f"{currency} {amount}" for currency, amount in totals.items()) or "0"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise HeadraceError(f"{path}: {error.strerror}.", "Give a file you may write.") from error
    note(f"wrote {path}")
