"""`headrace simulate`: a fleet of made-up devices that sends at a given rate."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click

from headrace import clock
from headrace.cli import streams
from headrace.cli.backend import Backend
from headrace.cli.fleet import Fleet
from headrace.cli.options import json_option, with_backend
from headrace.cli.output import Progress, print_json
from headrace.cli.sender import LANES, Acknowledged, Entry, Sender, kinesis_put
from headrace.errors import HeadraceError

TICK_S = 0.05


@click.command("simulate")
@click.option("--devices", metavar="N", type=click.IntRange(1, 1_000_000), default=10, help="How many devices (10).")
@click.option(
    "--rate",
    metavar="R",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    help="Events a second, all devices together (10).",
)
@click.option(
    "--duration", metavar="S", type=click.FloatRange(0, min_open=True), default=10.0, help="For how many seconds (10)."
)
@click.option("--seed", metavar="N", type=int, help="The same readings each time.")
@click.option("--stream", metavar="NAME", help="The stream to put to (the only one, or events).")
@click.option(
    "--ledger",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a JSON line for each acknowledged record: shard, sequence number, device, time, id.",
)
@json_option
@with_backend
def simulate_command(
    backend: Backend,
    devices: int,
    rate: float,
    duration: float,
    seed: int | None,
    stream: str | None,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Send the events of a made-up fleet at a given rate.

    Temperature, humidity and battery of each device, with a day's curve and noise.
    """
    client = backend.client("kinesis", retries=0, connections=LANES)
    with backend.errors():
        stream = streams.chosen(client, stream)
        streams.describe(client, stream)
    with ExitStack() as stack:
        acknowledged = _writer(stack.enter_context(_opened(ledger))) if ledger else None
        sender = Sender(kinesis_put(backend, client, stream), acknowledged=acknowledged)
        stack.callback(sender.stop)
        began_s = clock.monotonic_s()
        sent = _run(sender, Fleet(devices, seed), rate, duration)
        seconds = clock.monotonic_s() - began_s
    summary = {
        "stream": stream,
        "devices": devices,
        "sent": sent,
        "acknowledged": sender.records,
        "seconds": round(seconds, 3),
        "rate": round(sender.records / seconds, 1),
    }
    if as_json:
        print_json(summary)
    else:
        click.echo(
            f"{sent:,} events sent by {devices:,} devices, {sender.records:,} acknowledged by stream {stream} "
            f"in {seconds:.1f} s ({summary['rate']:,} events/s)"
        )


def _run(sender: Sender, fleet: Fleet, rate: float, duration_s: float) -> int:
    """Send what is due at each tick, for as long as it lasts; return how many events that were."""
    began_s, sent, total = clock.monotonic_s(), 0, max(1, round(rate * duration_s))
    progress = Progress()
    try:
        while sent < total and (passed_s := clock.monotonic_s() - began_s) < duration_s + 1:
            due = min(total, int(passed_s * rate) + 1)
            now_ms = clock.now_ms()
            for number in range(sent, due):
                sender.add(fleet.event(number, now_ms))
            sent = max(sent, due)
            sender.flush()
            progress.show(f"{sender.records:,} acknowledged  {passed_s:,.0f} of {duration_s:,.0f} s")
            clock.sleep(min(TICK_S, max(0.0, sent / rate - (clock.monotonic_s() - began_s))))
        sender.finish()
    except KeyboardInterrupt:
        sender.finish()
    finally:
        progress.clear()
    return sent


def _opened(ledger: Path) -> IO[str]:
    try:
        return ledger.open("a", encoding="utf-8")
    except OSError as error:
        raise HeadraceError(f"{ledger}: {error.strerror}.", "Give a --ledger file that you may write.") from error


def _writer(file: IO[str]) -> Acknowledged:
    def write(entry: Entry, answer: dict[str, Any]) -> None:
        event = json.loads(entry.data)
        line = {"shard": answer["ShardId"], "sequence_number": answer["SequenceNumber"]}
        line |= {name: event[name] for name in ("device_id", "time", "id")}
        file.write(json.dumps(line) + "\n")

    return write
