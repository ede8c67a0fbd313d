"""A fleet of made-up devices: a day's curve with noise for each, as a building's climate sensors would send it."""

import math
import random

from headrace import clock
from headrace.cli.sender import Entry

DAY_S = 86_400


class Fleet:
    """Devices that report in turn. With a seed the readings are the same each time; `run` begins every id."""

    def __init__(self, devices: int, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secrets here
        self.run = f"sim-{self._random.getrandbits(48):012x}"
        self._names = [f"sim-{number:06d}" for number in range(devices)]
        between = self._random.uniform
        self._base = [between(17, 24) for _ in self._names]
        self._swing = [between(1, 6) for _ in self._names]
        self._phase_s = [between(0, 3600) for _ in self._names]
        self._drift = [0.0] * devices
        self._battery = [between(3.3, 4.1) for _ in self._names]

    def event(self, number: int, now_ms: int) -> Entry:
        """Return event `number` (from 0) of the fleet, at this time."""
        device = number % len(self._names)
        self._drift[device] = 0.9 * self._drift[device] + self._random.gauss(0, 0.1)
        day = math.sin(2 * math.pi * (now_ms / 1000 - 28_800 - self._phase_s[device]) / DAY_S)  # warmest at two
        temperature = self._base[device] + self._swing[device] * day + self._drift[device]
        humidity = min(95.0, max(20.0, 55 - 2.5 * (temperature - 20) + self._drift[device]))
        name, battery = self._names[device], self._battery[device]
        data = (
            f'{{"device_id":"{name}","time":"{clock.rfc3339_ms(now_ms)}","id":"{self.event_id(number)}",'
            f'"temperature":{temperature:.2f},"humidity":{humidity:.1f},"battery":{battery:.2f}}}'
        )
        return Entry(name, data.encode(), number)

    def event_id(self, number: int) -> str:
        """Return the id of event `number`."""
        return f"{self.run}-{number:09d}"
