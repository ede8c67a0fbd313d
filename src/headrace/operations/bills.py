"""Bills over HTTP. What is in Parquet is read by a process of its own, which ends with its answer.

    GET bills                                        {"bills": [{"month", "state", "closed_at", "tenants", "totals"}]}
    GET bills/<month>?tenant=                        {"month", "state", "closed_at", "tenants": [{"tenant", "totals",
                                                     "lines"}], "unbilled": {"devices", "events", "bytes"}}
    GET bills/<month>/usage?tenant=&device=&days=1   {"month", "state", "devices": [{"tenant", "device_id", "events",
                                                     "bytes", "days": [{"day", "tariff", "events", "bytes"}]}]}

A month is `closed`, `ended` (it can be closed) or `provisional`. What is not closed is as the job `bills` last computed
it. To close one is to run that job: POST jobs/bills/run {"parameters": {"close": "2026-11"}}.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from uuid import uuid4

import msgspec

from headrace import clock, disk
from headrace.archive.base import Bucket
from headrace.archive.columns import text_sql
from headrace.billing import files, tariffs
from headrace.billing import month as months
from headrace.errors import NotFound, Unavailable
from headrace.jobs.base import Engine, Relation
from headrace.jobs.views import USED
from headrace.operations import bill_closing, bill_document, bill_rows, child
from headrace.operations.bill_document import CLOSED, ENDED, PROVISIONAL
from headrace.operations.bill_rows import USAGE, Manifest
from headrace.settings import Layout
from headrace.system import System
from headrace.wire import Handler, Request, Response, answer

MEMORY_MB, SPILL_MB = 512, 4096
READING_MAX = 2  # processes at once
NICE = 10  # what devices wait for goes first


class Wanted(msgspec.Struct):
    """What is asked for: every month, or one's bill (or usage), of one tenant or all."""

    month: str | None = None
    usage: bool = False
    tenant: str | None = None
    device: str | None = None
    days: bool = False


class Bills:
    """Handlers for `paths()`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._reading = asyncio.Semaphore(READING_MAX)

    def paths(self) -> list[tuple[str, Handler]]:
        """Return what to register: path prefix and handler."""
        return [("/_headrace/bills", self.handle)]

    async def handle(self, request: Request) -> Response:
        """Answer a request."""
        return await answer(self._answered(request))

    async def _answered(self, request: Request) -> bytes:
        query = {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
        tenant, device, days = query.get("tenant"), query.get("device"), query.get("days") == "1"
        match request.method, [unquote(part) for part in request.path.split("/")[3:] if part]:
            case "GET", []:
                return await self._read(Wanted())
            case "GET", [month]:
                months.parse(month)
                return await self._read(Wanted(month, tenant=tenant))
            case "GET", [month, "usage"]:
                months.parse(month)
                return await self._read(Wanted(month, True, tenant, device, days))
        raise NotFound(f"There is nothing at {request.method} {request.path}.")

    async def _read(self, wanted: Wanted) -> bytes:
        hint = f"See {self._layout.logs / 'gateway.log'}, and ask again."
        async with self._reading:
            return await child.ask("bills", wanted, Unavailable("The bills could not be read.", hint))


def read(layout: Layout, system: System, body: bytes) -> dict[str, Any]:
    """Return what is wanted, in a process of its own; raises HeadraceError."""
    from headrace.archive.local import LocalBucket
    from headrace.jobs.duckdb import DuckDB

    os.nice(NICE)
    wanted = msgspec.json.decode(body, type=Wanted)
    bucket = LocalBucket(layout.buckets / system.archive_bucket)
    with (
        disk.work_folder(layout.archive / "bills") as work,
        closing(DuckDB(work, memory_mb=MEMORY_MB, spill_mb=SPILL_MB)) as engine,
    ):
        return Reader(bucket, Path(system.reports), engine, work).answer(wanted)


class Reader:
    """Reads bills with an engine; `folder` is for what it writes meanwhile."""

    def __init__(self, bucket: Bucket, reports: Path, engine: Engine, folder: Path, now_ms: int | None = None) -> None:
        self._bucket = bucket
        self._reports = reports
        self._engine = engine
        self._folder = folder
        self._now_ms = clock.now_ms() if now_ms is None else now_ms
        self._closed = bill_rows.closed(bucket)

    def answer(self, wanted: Wanted) -> dict[str, Any]:
        """Return what is wanted."""
        if wanted.month is None:
            return {"bills": self._all()}
        month = months.parse(wanted.month)
        return self._usage(month, wanted) if wanted.usage else self._bill(month, wanted.tenant)

    def _all(self) -> list[dict[str, Any]]:
        known = {*self._closed, *bill_rows.computed(self._bucket, bill_rows.MONTHLY)}
        return [self._described(month) for month in sorted(known)]

    def _described(self, month: date) -> dict[str, Any]:
        rows = self._rows(f"SELECT tenant, currency, sum(amount) AS amount FROM ({self._lines(month)}) GROUP BY ALL")
        return {
            "month": months.text(month),
            **self._state(month),
            "tenants": len({row["tenant"] for row in rows}),
            "totals": bill_document.totals(rows),
        }

    def _bill(self, month: date, tenant: str | None) -> dict[str, Any]:
        rows = self._rows(f"SELECT * FROM ({self._lines(month)}){_where(tenant=tenant)}")
        if not rows and month not in self._closed and month not in bill_rows.computed(self._bucket, bill_rows.MONTHLY):
            hint = "See `headrace bills list`; the job bills computes them."
            if not files.load(self._reports).tenants.assignments:
                hint = "Nobody is billed yet: write reports/tariffs.csv and reports/tenants.csv (docs/billing.md)."
            raise NotFound(
                f"There is no bill of {months.text(month)}{' yet' if months.ends_ms(month) > self._now_ms else ''}.",
                hint,
            )
        if tenant is not None and not rows:
            raise NotFound(
                f"{tenant[:80]!r} has no bill of {months.text(month)}.",
                f"See who has one: headrace bills show --month {months.text(month)}",
            )
        found = bill_document.bill(month, self._state(month)["state"], rows, self._tariffs(month)) | self._state(month)
        if tenant is None:
            self._define_usage(month)
            nobodys = self._rows(f"SELECT * FROM ({bill_rows.usage(month)}) WHERE tenant = ''")
            found["unbilled"] = bill_document.unbilled(nobodys)
        return found

    def _usage(self, month: date, wanted: Wanted) -> dict[str, Any]:
        self._define_usage(month)
        where = _where(tenant=wanted.tenant, device_id=wanted.device)
        rows = self._rows(f"SELECT * FROM ({bill_rows.usage(month)}){where}")
        return bill_document.usage(month, "", rows, days=wanted.days) | self._state(month)

    def _state(self, month: date) -> dict[str, Any]:
        if (manifest := self._closed.get(month)) is not None:
            return {"state": CLOSED, "closed_at": clock.rfc3339_ms(manifest.closed_ms)}
        return {"state": PROVISIONAL if months.ends_ms(month) > self._now_ms else ENDED, "closed_at": None}

    def _lines(self, month: date) -> str:
        """Return the SQL of a bill's lines. Of those not closed, the one after the last closed has the adjustments."""
        if (manifest := self._closed.get(month)) is not None:
            self._engine.relation(Relation("billed", bill_rows.LINES, [self._bucket.location(manifest.lines)]))
            return "SELECT * FROM billed"
        bill_rows.define(self._engine, self._bucket, month, self._closed)
        following = months.following(max(self._closed)) if self._closed else None
        return bill_rows.lines(month, adjusting=month == following)

    def _define_usage(self, month: date) -> None:
        manifest: Manifest | None = self._closed.get(month)
        frozen = Relation(USAGE, USED[USAGE], [self._bucket.location(manifest.usage)]) if manifest else None
        self._engine.relation(frozen or bill_closing.usage_of(self._bucket, month))

    def _tariffs(self, month: date) -> tariffs.Tariffs:
        if (manifest := self._closed.get(month)) is not None:
            return tariffs.parse(self._bucket.get(manifest.tariffs), manifest.tariffs)
        return files.load(self._reports).tariffs

    def _rows(self, sql: str) -> list[Mapping[str, Any]]:
        target = self._folder / uuid4().hex
        self._engine.write(sql, target, order=())
        return list(self._engine.rows([str(path) for path in target.glob("*.parquet")]))


def _where(**wanted: str | None) -> str:
    """Return the condition that columns have these values; of those that are None any."""
    found = [f"{name} = {text_sql(value)}" for name, value in wanted.items() if value is not None]
    return f" WHERE {' AND '.join(found)}" if found else ""
