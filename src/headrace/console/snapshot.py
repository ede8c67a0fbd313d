"""What the console knows of the backend at one moment: values alone, filled by `watcher.py`, judged by `verdict.py`."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec


class Function(msgspec.Struct):
    """A function.

    `account` is its ledger, None where it reads no stream; `errors` are of the last minutes; `trouble` is what keeps it
    from getting on now.
    """

    name: str
    account: dict[str, int] | None = None
    errors: int = 0
    import_error: str | None = None
    trouble: str | None = None


class Alarm(NamedTuple):
    """An alarm as DescribeAlarms tells it."""

    name: str
    state: str  # OK, ALARM or INSUFFICIENT_DATA
    since_ms: float
    reason: str
    description: str


class Failure(msgspec.Struct):
    """A failure document in short, as `/_headrace/failures/newest` answers it."""

    id: str
    function: str | None = None
    reason: str | None = None
    message: str | None = None
    time: str | None = None
    shard: str | None = None
    sequence_number: str | None = None
    key: str | None = None
    records: int = 1
    calls: int | None = None
    replayed: int = 0
    replayed_at: str | None = None

    @property
    def rejected(self) -> bool:
        """Return whether it is what a device sent that will never be an event, rather than a function's failure."""
        return self.id.startswith("rejected/")


class Seen(NamedTuple):
    """A record that came in: an event, or what was wrong with it."""

    place: str
    arrived_ms: int
    device: str
    readings: bytes
    fault: str | None


@dataclass
class Snapshot:
    """The last that is known of each thing. `problem` says why something is not newer, where that is so."""

    at_ms: int = 0  # when the backend last answered
    problem: str | None = None
    processes: dict[str, bool] = field(default_factory=dict)
    accepted: int = 0
    per_s: float | None = None
    functions: list[Function] = field(default_factory=list)
    table: dict[str, int] = field(default_factory=dict)
    archive: dict[str, int] = field(default_factory=dict)
    clock: dict[str, Any] = field(default_factory=dict)
    disk: dict[str, Any] = field(default_factory=dict)
    balanced: bool = True
    alarms: list[Alarm] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    failure_documents: int = 0
    rates: list[tuple[int, float]] = field(default_factory=list)  # (start of a minute in ms, events a second in it)
    events: list[Seen] = field(default_factory=list)  # the newest first
    devices: list[str] = field(default_factory=list)  # seen lately, the newest first

    @property
    def pending(self) -> int:
        """Return how many records wait for a function."""
        return sum(each.account["pending"] for each in self.functions if each.account)

    @property
    def alarms_on(self) -> list[Alarm]:
        """Return the alarms that are on."""
        return [alarm for alarm in self.alarms if alarm.state == "ALARM"]
