"""A file of sensors, sent twice, billed by a process that is killed: equal to a direct computation from one sending."""

import contextlib
import csv
import gzip
import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from headrace.billing import tariffs, tenants
from headrace.table.local import LocalTable
from support.backend import ROOT, Backend, backend, wait_until
from support.bills import Held, Line, Tier, amounts, directly, text
from support.jobs import Event

ROWS = 59_259
FEBRUARY, MARCH = "2014-02", "2014-03"
TIERS = [
    Tier("basic", "2013-01-01", "EUR", "events", 0, "0.0015", "500", "5"),
    Tier("basic", "2013-01-01", "EUR", "events", 2_000, "0.0007"),
    Tier("basic", "2013-01-01", "EUR", "bytes", 0, "0.0000013", "10000"),
    Tier("basic", "2013-01-01", "EUR", "device_months", 0, "0.335"),
    Tier("basic", "2014-02-15T06:30:00Z", "EUR", "events", 0, "0.0025", "100", "7.50"),
    Tier("yen", "2013-01-01", "JPY", "events", 0, "0.5"),
]
HELD = [
    Held("ambient-temperature-system-failure", "acme", "basic", "2013-07-01"),
    Held("machine-temperature-system-failure", "acme", "basic", "2013-01-01"),
    Held("machine-temperature-system-failure", "東京", "yen", "2014-02-19T12:00:00.000001Z"),
    Held("elb-request-count-8c0756", "../../x", "basic", "2013-01-01"),
    Held("elb-request-count-8c0756", "acme", "basic", "2014-04-12T03:00:00Z"),
    Held("elb-request-count-8c0756", "../../x", "basic", "2014-04-12T21:00:00Z"),
    Held("ec2-cpu-utilization-24ae8d", "<script>alert(1)</script>", "basic", "2013-01-01"),
]
Bills = dict[Line, tuple[int, Decimal]]


def sent() -> Iterator[tuple[Event, bytes]]:
    """Yield each event of the file, and the JSON that is sent of it."""
    with gzip.open(ROOT / "tests" / "data" / "sensors.csv.gz", "rt") as file:
        for number, row in enumerate(csv.DictReader(file)):
            time = datetime.fromisoformat(row["time"]).astimezone(UTC)
            members = {"device_id": row["device_id"], "time": row["time"], "id": f"{number:06d}"}
            body = json.dumps(members | {row["measure"]: float(row["value"])}).encode()
            yield Event(row["device_id"], time, members["id"], {}, time, bytes=len(body)), body


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return [each for each, _ in sent()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend of a project with tariffs, that was sent the file twice, with kills."""
    folder = tmp_path_factory.mktemp("bills")
    project = folder / "project"
    for part in ("functions", "reports"):
        shutil.copytree(ROOT / part, project / part)
    shutil.copy(ROOT / "template.yaml", project)
    (project / "reports" / "tariffs.csv").write_bytes(text(tariffs.COLUMNS, TIERS))
    (project / "reports" / "tenants.csv").write_bytes(text(tenants.COLUMNS, HELD))
    file = folder / "sensors.ndjson"
    file.write_bytes(b"".join(body + b"\n" for _, body in sent()))
    with backend(folder, project / "template.yaml") as made:
        made.cli("send", str(file))
        made.kill("worker archive")
        made.cli("send", str(file))
        made.settled(2 * ROWS)
        yield made


def ended(running: Backend, run: str) -> Any:
    def look() -> Any:
        found = running.get(f"/_headrace/jobs/runs/{run}")
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    return wait_until(look, 300, 0.2)


def closed_with_a_kill(running: Backend, month: str, part: str) -> Any:
    """Ask for a month to be closed, SIGKILL the process that does while `part` is at work, and wait for the end."""
    started = running.cli("jobs", "run", "bills", "--parameter", f"close={month}", "--json")
    run = json.loads(started.stdout)["id"]
    (pid,) = wait_until(lambda: running.pids("app job bills"), 20, 0.005)[:1]
    work = running.data / "jobs" / part / "work"
    wait_until(lambda: any(work.glob("*/*")) or not psutil.pid_exists(pid), 100, 0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    found = ended(running, run)
    assert found["state"] == "succeeded", running.cli("jobs", "logs", run).stdout
    assert found["attempts"][0]["outcome"] == "interrupted" and len(found["attempts"]) == 2
    return found["result"]


def recomputed(running: Backend) -> Bills:
    """Return the lines of every month up to the file's last."""
    files = running.data / "s3" / "archive" / "reports" / "bill_monthly" / "*" / "*.parquet"
    with duckdb.connect() as connection:
        cursor = connection.execute(f"SELECT * FROM read_parquet('{files}') WHERE period_start < '2015-10-01'")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = amounts(rows)
    assert len(found) == len(rows)
    return found


def of_month(bills: Bills, month: str) -> dict[tuple[str, str, str, str], Decimal]:
    """Return a month's amounts by tenant, currency, meter and tariff's version."""
    return {
        (tenant, currency, meter, f"{begins:%Y-%m-%dT%H:%M:%SZ}" if begins else ""): amount
        for (first, tenant, currency, _, begins, meter), (_, amount) in bills.items()
        if f"{first:%Y-%m}" == month
    }


def billed(running: Backend, month: str, *kinds: str) -> dict[tuple[str, str, str, str], Decimal]:
    """Return the amounts of a bill as the wire answers them."""
    bill = running.get(f"/_headrace/bills/{month}")
    assert bill["state"] == "closed"
    return {
        (tenant["tenant"], line["currency"], line["meter"], line.get("tariff_from", "")): Decimal(line["amount"])
        for tenant in bill["tenants"]
        for line in tenant["lines"]
        if line["kind"] in kinds
    }


@pytest.mark.timeout(600)
def test_bills_of_a_file_sent_twice_equal_one_sending(running: Backend, events: list[Event]) -> None:
    expected = directly(events, TIERS, HELD)
    assert closed_with_a_kill(running, FEBRUARY, "bill_monthly")["closed"] == 1
    found = recomputed(running)
    assert found == expected
    assert {key[1] for key in found} == {"acme", "東京", "../../x", "<script>alert(1)</script>"}
    assert billed(running, FEBRUARY, "usage", "minimum") == of_month(expected, FEBRUARY)
    usage = running.get(f"/_headrace/bills/{FEBRUARY}/usage")["devices"]
    assert sum(each["events"] for each in usage) == sum(f"{each.time:%Y-%m}" == FEBRUARY for each in events)


def test_a_late_event_is_billed_with_the_next_month_once(running: Backend, events: list[Event]) -> None:
    before = running.cli("bills", "show", "--month", FEBRUARY, "--json").stdout
    late = [
        {"device_id": device, "time": "2014-02-28T23:59:59.999999Z", "id": f"late-{n}", "t": n}
        for n, device in enumerate(("machine-temperature-system-failure", "ambient-temperature-system-failure") * 300)
    ]
    bodies = [json.dumps(each) for each in late]
    # Ten of each device in a record, as a gateway would batch them: each has the bytes of its own element.
    records = [f"[{', '.join(bodies[at : at + 20])}]" for at in range(0, len(bodies), 20)]
    client = running.client("kinesis")
    for _ in range(2):  # and all of it twice
        client.put_records(StreamName="events", Records=[{"PartitionKey": "gateway", "Data": body} for body in records])
    running.settled(running.status()["accepted"])
    assert closed_with_a_kill(running, MARCH, "bills")["closed"] == 1
    time = datetime(2014, 3, 1, tzinfo=UTC) - timedelta(microseconds=1)
    more = [
        Event(each["device_id"], time, each["id"], {}, time, bytes=len(body))  # type: ignore[arg-type]
        for each, body in zip(late, bodies, strict=True)
    ]
    was, is_ = directly(events, TIERS, HELD), directly([*events, *more], TIERS, HELD)
    old, new = of_month(was, FEBRUARY), of_month(is_, FEBRUARY)
    expected = {key: difference for key in {*old, *new} if (difference := new.get(key, Decimal(0)) - old.get(key, 0))}
    assert expected and billed(running, MARCH, "adjustment") == expected
    assert billed(running, MARCH, "usage", "minimum") == of_month(is_, MARCH)
    again = running.cli("bills", "close", FEBRUARY)
    assert "already" in again.stderr
    assert running.cli("bills", "show", "--month", FEBRUARY, "--json").stdout == before
    running.cli("bills", "close", "2014-04")
    assert billed(running, "2014-04", "adjustment") == {}


def test_a_tenants_bill_is_an_item_and_a_page(running: Backend, tmp_path: Path) -> None:
    running.cli("bills", "close", FEBRUARY)  # closed or not
    with contextlib.closing(LocalTable.connect("events", running.data / "run" / "table.sock")) as table:
        item = table.get("tenant#../../x", f"bill#{FEBRUARY}")
        assert item is not None
        assert json.loads(item.attributes)["month"] == FEBRUARY
    name = "<script>alert(1)</script>"
    page = tmp_path / "statement.html"
    running.cli("bills", "show", "--month", FEBRUARY, "--tenant", name, "--html", str(page))
    html = page.read_text()
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "2014-02-20" in html


def test_what_can_not_be_closed_is_told(running: Backend) -> None:
    this = f"{datetime.now(UTC):%Y-%m}"
    for month, problem in ((this, f"{this} has not ended"), ("2014-2", "'2014-2' is no month")):
        result = running.cli("bills", "close", month, check=False)
        assert result.returncode == 2 and result.stderr.startswith(f"headrace: {problem}")
    result = running.cli("bills", "show", "--month", this, "--tenant", "' OR 1=1 --", check=False)
    assert result.returncode == 1 and "has no bill" in result.stderr
