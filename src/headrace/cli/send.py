"""`headrace send`: a file's rows as a device would have sent them."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from headrace import clock
from headrace.cli import streams
from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_backend
from headrace.cli.output import Progress, note, note_waiting, print_json
from headrace.cli.packing import Packer
from headrace.cli.resume import Resume, state_folder
from headrace.cli.rows import KEY_CHARACTERS_MAX, Bad, Reading, Row, csv_rows, ndjson_rows
from headrace.cli.sender import Entry, Sender, kinesis_put
from headrace.cli.source import FORMATS, Source, format_of
from headrace.errors import HeadraceError, UsageError
from headrace.plural import counted

NOTE_EVERY_S = 0.25  # how often progress is shown and noted for a resumption
BAD_SHOWN_MAX = 5


@click.command("send")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--stream", metavar="NAME", help="The stream to put to (the only one, or events).")
@click.option(
    "--pack", metavar="N", type=click.IntRange(1, 10_000), default=1, help="Rows of one device in a record (1)."
)
@click.option("--tz", metavar="ZONE", help="The zone of times without an offset: Europe/Berlin, +02:00 (UTC).")
@click.option("--device-id", metavar="ID", help="The device of rows that name none.")
@click.option(
    "--format", "kind", type=click.Choice(sorted(set(FORMATS.values()))), help="Where the name does not tell it."
)
@click.option("--skip-bad", is_flag=True, help="Pass over lines that can't be sent, instead of stopping there.")
@click.option("--restart", is_flag=True, help="Begin at the first row even if this file was sent in part before.")
@json_option
@with_backend
def send_command(
    backend: Backend,
    file: Path,
    stream: str | None,
    pack: int,
    tz: str | None,
    device_id: str | None,
    kind: str | None,
    skip_bad: bool,
    restart: bool,
    as_json: bool,
) -> None:
    """Send the rows of FILE (CSV or NDJSON, also as .gz, or Parquet).

    A record a row, or --pack N. Rows of one device keep the file's order. Every row gets an identity made of the
    file's digest and its place, so sending a file again, or going on after an interruption, stores nothing twice.
    """
    zone = _zone(tz) if tz else None
    if device_id is not None and not 1 <= len(device_id) <= KEY_CHARACTERS_MAX:
        raise UsageError(f"--device-id has 1 to {KEY_CHARACTERS_MAX} characters.")
    kind = kind or format_of(file)
    client = backend.client("kinesis")
    with backend.errors():
        stream = streams.chosen(client, stream)
        summary = streams.describe(client, stream)
    with closing(_opened(file, kind)) as source:
        # The stream's creation tells a new data directory from the one that took the first part.
        what = (source.digest, backend.url, stream, str(summary["StreamCreationTimestamp"]), pack, tz, device_id)
        resume = Resume(state_folder(), file, *what)
        start = 0 if restart else resume.rows()
        if start:
            note(f"going on at row {start:,} of {file} (--restart sends all of it)")
        reading = Reading(str(file), source.digest[:16], zone, device_id, start)
        rows = _rows(source, kind, reading)
        sender = Sender(kinesis_put(backend, stream), waits=note_waiting)
        record_bytes_max = int(summary.get("MaxRecordSizeInKiB") or 1024) * 1024
        sending = Sending(
            source, sender, resume, Packer(pack, record_bytes_max - 1024), record_bytes_max, skip_bad, start
        )
        sending.run(rows)
    _report(sending, stream, as_json)


def _opened(file: Path, kind: str) -> Source:
    if kind != "parquet":
        return Source(file)
    from headrace.cli.parquet import ParquetSource  # DuckDB: for this alone

    return ParquetSource(file)


def _rows(source: Source, kind: str, reading: Reading) -> Iterator[Row | Bad]:
    if kind == "parquet":
        from headrace.cli.parquet import ParquetSource

        assert isinstance(source, ParquetSource)
        return source.rows(reading)
    return (csv_rows if kind == "csv" else ndjson_rows)(source.lines(), reading)


@dataclass
class Sending:
    """One sending under way."""

    source: Source
    sender: Sender
    resume: Resume
    packer: Packer
    record_bytes_max: int
    skip_bad: bool
    start: int
    next_row: int = 0
    bad: int = 0
    untimed: int = 0
    began_s: float = field(default_factory=clock.monotonic_s)
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.next_row = self.start
        self._noted_s = self.began_s
        self._shown = 0  # bad rows, told one by one

    def run(self, rows: Iterator[Row | Bad]) -> None:
        """Send every row; whatever ends it early, what was acknowledged by then is noted."""
        try:
            for row in rows:
                self._take(row)
            self._finish()
        except KeyboardInterrupt:
            self._save()
            raise HeadraceError("Interrupted.", "Send the file again: it goes on where it was.") from None
        except BaseException:
            self._save()
            raise
        finally:
            self.sender.stop()
            self.progress.clear()
        self.resume.remove()

    def summary(self) -> dict[str, Any]:
        """Return what was done, for `--json`: `accepted` counts records, `rows` what they hold."""
        seconds = clock.monotonic_s() - self.began_s
        return {
            "file": str(self.source.path),
            "rows": self.sender.rows,
            "accepted": self.sender.records,
            "skipped": self.bad,
            "without_time": self.untimed,
            "resumed_at_row": self.start,
            "seconds": round(seconds, 3),
            "rows_per_second": round(self.sender.rows / seconds) if seconds else 0,
        }

    def _take(self, row: Row | Bad) -> None:
        if isinstance(row, Row) and len(row.data) + len(row.key.encode()) > self.record_bytes_max:
            row = Bad(row.number, row.line, f"{len(row.data):,} bytes, the stream takes {self.record_bytes_max:,}")
        if isinstance(row, Bad):
            self._pass_over(row)
        else:
            if not row.timed:
                self._warn_untimed(row)
            self._add(self.packer.add(row))
        self.next_row = row.number + 1
        if row.number % 256 == 0:
            self._note()

    def _pass_over(self, bad: Bad) -> None:
        where = f"{self.source.path}, {self.source.unit} {bad.line}: {bad.problem}"
        if not self.skip_bad:
            self._finish()
            raise HeadraceError(
                f"{where}.",
                "The rows before it were sent, and a changed file is another one: pass over such lines with "
                "--skip-bad, then send them, mended, as a file of their own.",
            )
        self.bad += bad.lines
        self._shown += 1
        if self._shown <= BAD_SHOWN_MAX:
            self.progress.clear()
            note(f"passed over {where}")

    def _warn_untimed(self, row: Row) -> None:
        self.untimed += 1
        if self.untimed == 1:
            self.progress.clear()
            note(
                f"warning: {self.source.unit} {row.line} has no time, so its time is that of its arrival, and sending "
                "the file again stores it again"
            )

    def _add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.sender.add(entry)

    def _finish(self) -> None:
        self._add(self.packer.flush())
        self.sender.finish()

    def _note(self) -> None:
        """Show the progress and note it for a resumption, now and then."""
        now_s = clock.monotonic_s()
        if now_s - self._noted_s < NOTE_EVERY_S:
            return
        self._noted_s = now_s
        self.sender.flush()  # a lane with few rows must not hold back what a resumption can begin with
        self._save()
        rate = self.sender.rows / (now_s - self.began_s)
        self.progress.show(f"{counted(self.sender.rows, 'row')}  {rate:,.0f} rows/s  {self.source.share_read():.0%}")

    def _save(self) -> None:
        lowest = [self.next_row, self.sender.lowest_row(), self.packer.lowest_row()]
        self.resume.save(min(row for row in lowest if row is not None))


def _report(sending: Sending, stream: str, as_json: bool) -> None:
    summary = sending.summary() | {"stream": stream}
    if as_json:
        print_json(summary)
        return
    records = f" as {counted(summary['accepted'], 'record')}" if summary["accepted"] != summary["rows"] else ""
    click.echo(
        f"{counted(summary['rows'], 'row')} accepted{records} by stream {stream} in {summary['seconds']:.1f} s "
        f"({summary['rows_per_second']:,} rows/s)"
    )
    if summary["skipped"]:
        note(f"passed over {summary['skipped']:,} bad lines")


def _zone(text: str) -> tzinfo:
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", text)
    if match:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset < timedelta(days=1) and int(match[3]) < 60:
            return timezone(-offset if match[1] == "-" else offset)
    elif text == "Z":
        return UTC
    else:
        with contextlib.suppress(KeyError, ValueError, OSError):  # not found is a KeyError
            return ZoneInfo(text)
    raise UsageError(f"There is no time zone {text!r} here.", "Write it like Europe/Berlin or +02:00.")
