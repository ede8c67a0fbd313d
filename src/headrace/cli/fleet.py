"""A fleet of made-up devices, as a building's climate sensors would report, with what goes wrong in a real one.

Every reading and every mishap follows from the seed; with the same start as well, every event is the same.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrace import clock
from headrace.cli.sender import Entry

DAY_S = 86_400
AWAY_MS = 20_000  # how long a device is away, on average
WAITING_MAX = 1000  # events that a device without a connection keeps; the oldest are lost first
LATE_MS = (60_000, 86_400_000)
AHEAD_MS, BEHIND_MS = (600_000, 259_200_000), (3_600_000, 172_800_000)  # of a clock that is wrong
BIG_BYTES = 420_000  # more than an item may have

# A record that is no event: its fault's reason in the order of the rejected documents' reasons.
_BROKEN = (
    b'{"device_id":"%b","time":"%b","temperature":2',
    b'{"device_id":"%b","time":"%b","name":"\xff\xfe"}',
    b"temperature of %b at %b: fine",
    b'{"device_id":["%b"],"time":"%b","temperature":20}',
    b'{"device_id":"%b","time":"at %b or so","temperature":20}',
)


@dataclass(frozen=True)
class Shares:
    """How much goes wrong, each from 0 to 1: of the events, but `offline`, which is of the time."""

    late: float = 0.0
    duplicate: float = 0.0
    skew: float = 0.0
    broken: float = 0.0
    poison: float = 0.0
    offline: float = 0.0


class Fleet:
    """Devices that report in turn, `rate` events a second together from `start_ms` on.

    `run` begins every id; `counts` says how many of each kind there were.
    """

    def __init__(
        self,
        devices: int,
        seed: int | None = None,
        *,
        start_ms: int = 0,
        rate: float = 1.0,
        shares: Shares = Shares(),
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secrets here
        self.run = f"sim-{self._random.getrandbits(48):012x}"
        self.counts: dict[str, int] = {}
        self._start_ms = start_ms
        self._step_ms = 1000 / rate
        self._names = [f"sim-{number:06d}" for number in range(devices)]
        between = self._random.uniform
        self._base = [between(17, 24) for _ in self._names]
        self._swing = [between(1, 6) for _ in self._names]
        self._phase_s = [between(0, 3600) for _ in self._names]
        self._drift_a_day = [between(-0.3, 0.3) for _ in self._names]  # sensors age
        self._noise = [0.0] * devices
        self._battery = [between(3.3, 4.1) for _ in self._names]
        self._outages = _Outages(devices, shares.offline, self._random) if shares.offline else None
        self._waiting: dict[int, list[Entry]] = {}
        self._mishaps = _steps(
            [("late", shares.late), ("skew", shares.skew), ("duplicate", shares.duplicate),
             ("broken", shares.broken), ("poison", shares.poison)]
        )  # fmt: skip
        self._mishap_below = self._mishaps[-1][0] if self._mishaps else 0.0
        self._second, self._second_text = -1, ""

    def take(self, number: int) -> Sequence[Entry]:
        """Return what the fleet sends when event `number` (from 0, each once, in order) is due: one record mostly."""
        device = number % len(self._names)
        at_ms = self._start_ms + int(number * self._step_ms)
        if self._outages is None:
            return self._made(device, number, at_ms)
        state = self._outages.of(device, at_ms)
        if state == "off":
            self._count("gap")
            return ()
        made = self._made(device, number, at_ms)
        if state == "away":
            kept = self._waiting.setdefault(device, [])
            kept += made
            del kept[:-WAITING_MAX]
            return ()
        return [*self._back(device), *made] if device in self._waiting else made

    def rest(self) -> list[Entry]:
        """Return what devices without a connection still keep: all of them are back."""
        return [entry for device in list(self._waiting) for entry in self._back(device)]

    def event_id(self, number: int) -> str:
        """Return the id of event `number`."""
        return f"{self.run}-{number:09d}"

    def _back(self, device: int) -> list[Entry]:
        burst = self._waiting.pop(device)
        self._count("burst", len(burst))
        return burst

    def _made(self, device: int, number: int, at_ms: int) -> Sequence[Entry]:
        if self._mishap_below:
            chance = self._random.random()
            if chance < self._mishap_below:
                kind = next(kind for below, kind in self._mishaps if chance < below)
                self._count(kind)
                return self._mishap(kind, device, number, at_ms)
        return (self._event(device, number, at_ms, at_ms),)

    def _mishap(self, kind: str, device: int, number: int, at_ms: int) -> Sequence[Entry]:
        if kind == "late":
            return (self._event(device, number, at_ms, at_ms - self._random.randint(*LATE_MS)),)
        if kind == "skew":
            ahead = self._random.random() < 0.5
            off_ms = self._random.randint(*AHEAD_MS) if ahead else -self._random.randint(*BEHIND_MS)
            return (self._event(device, number, at_ms, at_ms + off_ms),)
        if kind == "duplicate":
            return (self._event(device, number, at_ms, at_ms),) * 2
        if kind == "broken":
            name = self._names[device]
            template = self._random.choice(_BROKEN)
            return (Entry(name, template % (name.encode(), self._time(at_ms).encode()), number),)
        return (self._poison(device, number, at_ms),)

    def _event(self, device: int, number: int, at_ms: int, time_ms: int, extra: str = "") -> Entry:
        """Return an event with the readings of a moment, and the time that the device takes it for."""
        noise = self._noise[device] = 0.9 * self._noise[device] + 0.4 * (self._random.random() - 0.5)
        day = math.sin(2 * math.pi * (at_ms / 1000 - 28_800 - self._phase_s[device]) / DAY_S)  # warmest at two
        drift = self._drift_a_day[device] * (at_ms - self._start_ms) / (DAY_S * 1000)
        temperature = self._base[device] + self._swing[device] * day + drift + noise
        humidity = min(95.0, max(20.0, 55 - 2.5 * (temperature - 20) + noise))
        name = self._names[device]
        identity = f'"device_id":"{name}","time":"{self._time(time_ms)}","id":"{self.run}-{number:09d}"'
        data = (
            f'{{{identity},"temperature":{temperature:.2f},"humidity":{humidity:.1f},'
            f'"battery":{self._battery[device]:.2f}{extra}}}'
        )
        return Entry(name, data.encode(), number, note=identity)

    def _poison(self, device: int, number: int, at_ms: int) -> Entry:
        """Return what is hard to swallow; where it is an object it says so, for functions that shall choke on it."""
        kind = self._random.randrange(4)
        if kind == 0:
            return self._event(device, number, at_ms, at_ms, f',"poison":true,"deep":{"[" * 400}{"]" * 400}')
        if kind == 1:
            members = "".join(f',"m{member}":{member}' for member in range(10_000))
            return self._event(device, number, at_ms, at_ms, f',"poison":true{members}')
        if kind == 2:
            return self._event(device, number, at_ms, at_ms, f',"poison":true,"big":"{"x" * BIG_BYTES}"')
        aggregate = b"\xf3\x89\x9a\xc2\x0a\x07sim-000\x1a\x40" + b"cut short"
        return Entry(self._names[device], aggregate, number)

    def _time(self, ms: int) -> str:
        second, rest = divmod(ms, 1000)
        if second != self._second:
            self._second, self._second_text = second, clock.rfc3339_ms(second * 1000)[:-4]
        return f"{self._second_text}{rest:03d}Z"

    def _count(self, kind: str, count: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count


class _Outages:
    """When each device is away: without power (it measures nothing), or without a connection (it keeps its events)."""

    def __init__(self, devices: int, share: float, source: random.Random) -> None:
        self._random = source
        self._share = share
        self._up_ms = AWAY_MS * (1 - share) / share
        self._states: list[tuple[str, float] | None] = [None] * devices  # a device's state, and until when

    def of(self, device: int, at_ms: int) -> str:
        """Return "on", "off" (no power) or "away" (no connection)."""
        state, until_ms = self._states[device] or self._begun(at_ms)
        while at_ms >= until_ms:
            state = "on" if state != "on" else self._gone()
            length_ms = (self._up_ms if state == "on" else AWAY_MS) * (0.5 + self._random.random())
            until_ms += max(length_ms, 1.0)
        self._states[device] = state, until_ms
        return state

    def _begun(self, at_ms: int) -> tuple[str, float]:
        """Return the first state: anywhere within one of its usual stretches."""
        away = self._random.random() < self._share
        length_ms = (AWAY_MS if away else self._up_ms) * self._random.random()
        return self._gone() if away else "on", at_ms + length_ms

    def _gone(self) -> str:
        return "off" if self._random.random() < 0.5 else "away"


def _steps(shares: list[tuple[str, float]]) -> list[tuple[float, str]]:
    """Return the kinds with the upper ends of their parts of the line from 0 to 1; none for a share of 0."""
    steps, end = [], 0.0
    for kind, share in shares:
        if share:
            end += share
            steps.append((end, kind))
    return steps
