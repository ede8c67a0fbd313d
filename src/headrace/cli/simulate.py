"""`headrace simulate`: a fleet of made-up devices that sends at a given rate, and whether all of it arrived."""

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import click

from headrace import clock
from headrace.cli import streams
from headrace.cli.backend import Backend
from headrace.cli.fleet import Fleet, Shares
from headrace.cli.options import json_option, time_option, with_backend
from headrace.cli.output import Progress, note_waiting, print_json
from headrace.cli.sender import Acknowledged, Answer, Entry, Sender, kinesis_put
from headrace.errors import HeadraceError, UsageError
from headrace.event import times
from headrace.plural import counted

TICK_S = 0.05
EVENTS_AT_ONCE = 2000  # made between two looks at the clock
RATE_MAX = 10_000_000
DURATION_S_MAX = 1_000_000_000
STARTS = ("1900", "9900")  # events lie up to days beside it, within the years that a time may have
LEDGER_VERSION = 1


class _Number(click.FloatRange):
    """A number in a range; "nan" and "inf" are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


def _share(name: str, text: str) -> Callable[..., Any]:
    return click.option(f"--{name}", metavar="SHARE", type=_Number(0, 1), default=0.0, help=f"{text} (0).")


@click.command("simulate")
@click.option("--devices", metavar="N", type=click.IntRange(1, 1_000_000), default=10, help="How many devices (10).")
@click.option(
    "--rate",
    metavar="R",
    type=_Number(0, RATE_MAX, min_open=True),
    default=10.0,
    help="Events a second, all devices together (10).",
)
@click.option(
    "--duration",
    metavar="S",
    type=_Number(0, DURATION_S_MAX, min_open=True),
    default=10.0,
    help="For how many seconds (10).",
)
@click.option("--seed", metavar="N", type=int, help="The same readings and mishaps each time.")
@time_option("--start", "start", "The first event's time: a day, RFC 3339 or epoch (now).")
@_share("late", "Share of events whose time lies a minute to a day back")
@_share("duplicate", "Share of events that are sent twice")
@_share("skew", "Share of events from a clock that is minutes to days wrong")
@_share("broken", "Share of records that are no events")
@_share("poison", "Share of records that are hard to swallow: deep, wide, too large, cut short")
@_share("offline", "Share of the time that a device is away; then it sends what it kept in one burst, or has a gap")
@click.option("--stream", metavar="NAME", help="The stream to put to (the only one, or events).")
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a JSON line for each acknowledged record: shard, sequence number, device, time, id.",
)
@click.option(
    "--verify",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send nothing: look whether all that this ledger holds is in the table or in the failures.",
)
@json_option
@with_backend
@click.pass_context
def simulate_command(
    ctx: click.Context,
    backend: Backend,
    /,
    devices: int,
    rate: float,
    duration: float,
    seed: int | None,
    start: str | None,
    stream: str | None,
    ledger: Path | None,
    verify: Path | None,
    as_json: bool,
    **shares: float,
) -> None:
    """Send the events of a made-up fleet at a given rate.

    Temperature, humidity and battery of each device, with a day's curve, noise and drift. What shall go wrong is given
    as shares from 0 to 1. With --verify the exit code is 1 if anything acknowledged is missing.
    """
    if verify is not None:
        if ledger is not None:
            raise UsageError("--verify sends nothing, so there is nothing for --ledger.", "Give one of them.")
        _verify(ctx, backend, verify, as_json)
        return
    mishaps = Shares(**{field.name: shares[field.name] for field in fields(Shares)})
    if sum(shares.values()) - mishaps.offline > 1:
        raise UsageError("The shares of late, duplicate, skew, broken and poison come to more than 1.")
    client = backend.client("kinesis")
    with backend.errors():
        stream = streams.chosen(client, stream)
        streams.describe(client, stream)
    fleet = Fleet(devices, seed, start_ms=_start_ms(start), rate=rate, shares=mishaps)
    with ExitStack() as stack:
        acknowledged = None
        if ledger is not None:
            file = stack.enter_context(_opened(ledger))
            head = {"ledger": LEDGER_VERSION, "run": fleet.run, "stream": stream, "began": _now()}
            file.write(json.dumps(head) + "\n")
            acknowledged = _writer(file)
        sender = Sender(kinesis_put(backend, stream), acknowledged=acknowledged, waits=note_waiting)
        stack.callback(sender.stop)
        run = Run(sender, fleet, rate, duration)
        run.go()
    summary = {
        "stream": stream,
        "devices": devices,
        "sent": run.sent,
        "acknowledged": sender.records,
        "seconds": round(run.seconds, 3),
        "rate": round(sender.records / run.seconds, 1),
        "behind_s": round(run.behind_s, 3),
        "mishaps": dict(sorted(fleet.counts.items())),
    }
    if as_json:
        print_json(summary)
    else:
        click.echo(_summary(summary, rate))


class Run:
    """One run: sends what is due for as long as it lasts."""

    def __init__(self, sender: Sender, fleet: Fleet, rate: float, duration_s: float) -> None:
        self._sender = sender
        self._fleet = fleet
        self._rate = rate
        self._duration_s = duration_s
        self.sent = 0
        self.seconds = 0.0
        self.behind_s = 0.0  # at worst, after its schedule

    def go(self) -> None:
        """Send, and wait until everything sent is acknowledged; Ctrl-C ends it early."""
        began_s = clock.monotonic_s()
        progress = Progress()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                self._send_all(began_s, progress)
            self._add(self._fleet.rest())
            self._sender.finish()
        finally:
            progress.clear()
            self.seconds = clock.monotonic_s() - began_s

    def _send_all(self, began_s: float, progress: Progress) -> None:
        number, total = 0, max(1, round(self._rate * self._duration_s))
        while number < total and (passed_s := clock.monotonic_s() - began_s) < self._duration_s + 1:
            due = min(total, int(passed_s * self._rate) + 1)
            self.behind_s = max(self.behind_s, passed_s - number / self._rate)
            upto = min(due, number + EVENTS_AT_ONCE)
            for at in range(number, upto):
                self._add(self._fleet.take(at))
            number = upto
            if number == due:
                self._sender.flush()
                progress.show(f"{self._sender.records:,} acknowledged  {passed_s:,.0f} of {self._duration_s:,.0f} s")
                clock.sleep(min(TICK_S, max(0.0, number / self._rate - (clock.monotonic_s() - began_s))))

    def _add(self, entries: Any) -> None:
        for entry in entries:
            self._sender.add(entry)
            self.sent += 1


def _summary(summary: dict[str, Any], rate: float) -> str:
    lines = [
        f"{counted(summary['sent'], 'event')} sent by {counted(summary['devices'], 'device')}, "
        f"{summary['acknowledged']:,} acknowledged by stream {summary['stream']} in {summary['seconds']:.1f} s "
        f"({summary['rate']:,} events/s)"
    ]
    if summary["behind_s"] > 1:
        lines.append(f"up to {summary['behind_s']:.1f} s behind the rate that was asked for ({rate:,.0f} events/s)")
    if summary["mishaps"]:
        lines.append("of them " + ", ".join(f"{kind} {count:,}" for kind, count in summary["mishaps"].items()))
    return "\n".join(lines)


def _verify(ctx: click.Context, backend: Backend, ledger: Path, as_json: bool) -> None:
    from headrace.cli import acknowledged

    outcome = acknowledged.verify(backend, ledger)
    if as_json:
        print_json(outcome)
    else:
        click.echo(acknowledged.render(outcome))
    if not outcome["verified"]:
        ctx.exit(1)


def _start_ms(start: str | None) -> int:
    if start is None:
        return clock.now_ms()
    try:
        canonical = times.from_text(start)
    except ValueError as error:
        raise UsageError(f"--start {start!r} is no time: {error}.", "Write RFC 3339, or seconds since 1970.") from error
    if not STARTS[0] <= canonical < STARTS[1]:
        raise UsageError(f"--start {start!r} is out of range.", f"It may lie between the years {' and '.join(STARTS)}.")
    return times.to_us(canonical) // 1000


def _now() -> str:
    return clock.rfc3339_ms(clock.now_ms())


@contextlib.contextmanager
def _opened(ledger: Path) -> Iterator[IO[str]]:
    """Append to a ledger, on a line of its own: the last simulation may have been killed in the middle of one."""
    try:
        with ledger.open("a", encoding="utf-8") as file:
            if file.seekable() and file.tell() and not _ends_with_a_line(ledger):
                file.write("\n")
            yield file
    except OSError as error:
        raise HeadraceError(
            f"{ledger}: {error.strerror}.", "Give a --ledger file that you may write, on a disk with space."
        ) from error


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        return file.read() == b"\n"


def _writer(file: IO[str]) -> Acknowledged:
    write = file.write

    def note(entry: Entry, answer: Answer) -> None:
        rest = f",{entry.note}" if entry.note else ""
        write(f'{{"shard":"{answer.ShardId}","sequence_number":"{answer.SequenceNumber}"{rest}}}\n')

    return note
