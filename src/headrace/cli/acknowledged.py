"""Whether everything that `headrace simulate` was told is accepted arrived: in the table by identity, or in failures.

Devices are asked for through `device_api`, a page of a thousand events a call and several calls at once, so a hundred
thousand events take seconds; nothing but what a device could ask for itself is relied upon, so it works anywhere.
"""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from headrace import clock
from headrace.cli.backend import Backend
from headrace.cli.functions import INVOKE_S_MAX, checked_answer
from headrace.cli.output import Progress
from headrace.errors import HeadraceError, UsageError
from headrace.event import times

STORE = "store"  # the function whose table devices read
CALLS_AT_ONCE = 4
PAGE = 1000
PATIENCE_S = 60.0  # for events that are not processed yet, as long as none is
MISSING_SHOWN_MAX = 100
CLOCKS_APART_US = 60_000_000  # the simulation's and the stream's, at most


class Line(msgspec.Struct, gc=False, omit_defaults=True):
    """A line of a ledger: an acknowledged record, and the identity in it if it is an event. The first one is a head."""

    shard: str = ""
    sequence_number: str = ""
    device_id: str | None = None
    time: str = ""
    id: str = ""
    ledger: int | None = None  # of a head: its version
    began: str = ""


class _Event(msgspec.Struct, gc=False):
    time: str
    id: str
    device_time: msgspec.Raw = msgspec.Raw()


class _Page(msgspec.Struct):
    events: list[_Event]
    cursor: str | None = None


class Ledger:
    """What was acknowledged: by device, and what is no event. `began` is when the first run did, by its clock."""

    def __init__(self, path: Path) -> None:
        self.records = 0
        self.began: str | None = None
        self.devices: dict[str, list[Line]] = defaultdict(list)
        self.others: list[Line] = []
        for line in _lines(path):
            if line.ledger is not None:
                self.began = min(self.began or line.began, line.began)
                continue
            self.records += 1
            (self.others if line.device_id is None else self.devices[line.device_id]).append(line)


def verify(backend: Backend, path: Path) -> dict[str, Any]:
    """Compare; return the outcome as `--json` prints it."""
    began_s = clock.monotonic_s()
    ledger = Ledger(path)
    progress = Progress()
    _settle(backend, progress)
    progress.show("reading the failures")
    failed = _failed(backend)
    missing = [line for line in ledger.others if line.sequence_number not in failed]
    client = backend.client("lambda", timeout_s=INVOKE_S_MAX, connections=CALLS_AT_ONCE)

    def missing_of(device: str) -> list[Line]:
        return _Device(backend, client, device, ledger.began).missing(ledger.devices[device])

    stored = records = 0
    with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
        for device, absent in zip(ledger.devices, threads.map(missing_of, ledger.devices), strict=True):
            records += len(ledger.devices[device])
            stored += len(ledger.devices[device]) - len(absent)
            missing += [line for line in absent if line.sequence_number not in failed]
            progress.show(f"{records:,} of {ledger.records:,} looked for")
    progress.clear()
    return {
        "ledger": str(path),
        "acknowledged": ledger.records,
        "devices": len(ledger.devices),
        "stored": stored,
        "failed": ledger.records - stored - len(missing),
        "missing": len(missing),
        "differences": [msgspec.to_builtins(line) for line in missing[:MISSING_SHOWN_MAX]],
        "seconds": round(clock.monotonic_s() - began_s, 3),
        "verified": not missing,
    }


def render(outcome: dict[str, Any]) -> str:
    """Return an outcome as text for people."""
    head = (
        f"{outcome['acknowledged']:,} acknowledged records: {outcome['stored']:,} stored, {outcome['failed']:,} in "
        f"failures, {outcome['missing']:,} missing ({outcome['seconds']:.1f} s)"
    )
    if outcome["verified"]:
        return f"{head}\nverified: nothing that was acknowledged is lost"
    lines = [
        f"  {one['shard']} {one['sequence_number']}  {one.get('device_id', 'no event')} {one.get('id', '')}".rstrip()
        for one in outcome["differences"]
    ]
    more = outcome["missing"] - len(lines)
    lines += [f"  … and {more:,} more"] if more else []
    return "\n".join([head, "NOT VERIFIED; missing (see: headrace trace SHARD SEQUENCE):", *lines])


class _Device:
    """One device's events in the table."""

    def __init__(self, backend: Backend, client: Any, device: str, began: str | None) -> None:
        self._backend = backend
        self._client = client
        self._device = device
        self._began = began

    def missing(self, lines: list[Line]) -> list[Line]:
        """Return those that the table does not have."""
        wanted = [(times.from_text(line.time), line) for line in lines]
        first, last = min(wanted, key=_time)[0], max(wanted, key=_time)[0]
        found = {(times.from_text(event.time), event.id) for event in self._events(first, last)}
        absent = [line for time, line in wanted if (time, line.id) not in found]
        if absent and self._began is not None:  # a clock that was ahead: stored under the time of arrival
            began = times.from_us(times.to_us(times.from_text(self._began)) - CLOCKS_APART_US)
            replaced = {event.id for event in self._events(began, None) if event.device_time}
            absent = [line for line in absent if line.id not in replaced]
        return absent

    def _events(self, first: str, last: str | None) -> Iterator[_Event]:
        """Yield the events from one canonical time on, up to another or to the end."""
        cursor: str | None = None
        while True:
            asked = {"operation": "history", "device_id": self._device, "from": first, "limit": PAGE, "cursor": cursor}
            with self._backend.errors():
                answer = self._client.invoke(FunctionName="device_api", Payload=msgspec.json.encode(asked))
                payload = answer["Payload"].read()
            page = msgspec.json.decode(checked_answer(payload, answer.get("FunctionError")), type=_Page)
            yield from page.events
            cursor = page.cursor
            if cursor is None or (last is not None and times.from_text(page.events[-1].time) > last):
                return


def _time(wanted: tuple[str, Line]) -> str:
    return wanted[0]


def _settle(backend: Backend, progress: Progress) -> None:
    """Wait until the function that stores is done with everything; raises if nothing moves for long."""
    lowest, deadline_s = None, 0.0
    while True:
        account = backend.get("status")["functions"].get(STORE)
        if account is None:
            raise HeadraceError(f"This backend has no function {STORE} that reads a stream.", "Its template needs one.")
        pending: int = account["pending"]
        if pending == 0:
            return
        if lowest is None or pending < lowest:
            lowest, deadline_s = pending, clock.monotonic_s() + PATIENCE_S
        if clock.monotonic_s() > deadline_s:
            raise HeadraceError(
                f"{STORE} has {pending:,} records pending and does not get on.", f"See: headrace logs {STORE}"
            )
        progress.show(f"waiting for {STORE}: {pending:,} pending")
        clock.sleep(0.2)


def _failed(backend: Backend) -> set[str]:
    """Return the sequence numbers of all records that have a failure document of the function that stores."""
    found: set[str] = set()
    after: str | None = ""
    while after is not None:
        page = backend.get("failures", [("after", after)])
        found |= {row["sequence_number"] for row in page["failures"] if row["function"] == STORE}
        after = page["next"]
    return found


def _lines(path: Path) -> Iterator[Line]:
    decode = msgspec.json.Decoder(Line).decode
    torn: UsageError | None = None  # a line that a simulation was killed in: the last one, or another's head follows
    text = b""
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = decode(text)
                except msgspec.DecodeError as error:
                    torn = torn or UsageError(
                        f"{path}, line {number} is no line of a ledger: {error}.",
                        "Give the file that `headrace simulate --ledger FILE` wrote.",
                    )
                    continue
                if torn is not None and line.ledger is None:
                    raise torn
                torn = None
                yield line
    except OSError as error:
        raise HeadraceError(f"{path}: {error.strerror}.", "Give a ledger that you may read.") from error
    if torn is not None and text.endswith(b"\n"):
        raise torn
