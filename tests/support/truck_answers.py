"""Reference answers to the thirteen queries, computed from the events in plain Python: no SQL, no engine."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from headrace import clock
from support.jobs import Event
from support.trucks import END

WINDOW_US, DAY_US, HOUR_US = 600_000_000, 86_400_000_000, 3_600_000_000
Rows = list[dict[str, Any]]
Tags = dict[str, dict[str, Any]]


def time_us(event: Event) -> int:
    since = event.time - clock.EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


END_US = (END - clock.EPOCH).days * DAY_US + (END - clock.EPOCH).seconds * 1_000_000


def mean(values: Iterable[float]) -> float:
    """The mean of values that are first rounded to nine decimals, half up, and then added exactly."""
    billionths = []
    for value in values:
        whole = math.floor(value)
        billionths.append(whole * 10**9 + math.floor((value - whole) * 1e9 + 0.5))
    return float(Decimal(sum(billionths)).scaleb(-9)) / len(billionths)


class Answers:
    """Each method answers the query of its name, its rows in the order of their keys."""

    def __init__(self, events: list[Event], tags: Tags) -> None:
        self.events, self.tags = events, tags

    def last_loc(self) -> Rows:
        return [
            {"device_id": truck, "driver": self.tag(truck, "driver"), **self.location(found)}
            for truck, found in sorted(self.located().items())
        ]

    def single_last_loc(self) -> Rows:
        return [{"device_id": "truck-1", **self.location(self.located()["truck-1"])}]

    def low_fuel(self) -> Rows:
        return [
            {"device_id": truck, "driver": self.tag(truck, "driver"), "fuel_state": value}
            for truck, value in self.latest("fuel_state", "South")
            if value < 0.1
        ]

    def high_load(self) -> Rows:
        return [
            {"device_id": truck, "driver": self.tag(truck, "driver"), "current_load": value, "load_capacity": capacity}
            for truck, value in self.latest("current_load", "South")
            if (capacity := self.tag(truck, "load_capacity")) is not None and value / capacity > 0.9
        ]

    def stationary_trucks(self) -> Rows:
        return [
            {"device_id": truck, "driver": self.tag(truck, "driver"), "velocity": velocity}
            for (truck, window), velocity in self.windows().items()
            if window == END_US - WINDOW_US and velocity < 1 and self.tag(truck, "fleet") == "West"
        ]

    def long_driving_sessions(self) -> Rows:
        return self.driven_for(4, 22)

    def long_daily_sessions(self) -> Rows:
        return self.driven_for(24, 60)

    def avg_vs_projected_fuel_consumption(self) -> Rows:
        consumed: dict[str, list[float]] = defaultdict(list)
        nominal: dict[str, list[float]] = defaultdict(list)
        for event in self.events:
            value, velocity = event.readings.get("fuel_consumption"), event.readings.get("velocity")
            fleet = self.tag(event.device_id, "fleet")
            if fleet and value is not None and velocity is not None and velocity > 1:
                consumed[fleet].append(value)
                nominal[fleet].append(self.tag(event.device_id, "nominal_fuel_consumption"))
        return [
            {"fleet": fleet, "mean_consumption": mean(values), "projected_consumption": mean(nominal[fleet])}
            for fleet, values in sorted(consumed.items())
        ]

    def avg_daily_driving_duration(self) -> Rows:
        days: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for truck, window in self.driving():
            days[truck][window // DAY_US] += 1
        return [
            {
                "device_id": truck,
                "fleet": self.tag(truck, "fleet"),
                "driver": self.tag(truck, "driver"),
                "hours": sum(counts.values()) / 6 / len(counts),
            }
            for truck, counts in sorted(days.items())
        ]

    def avg_daily_driving_session(self) -> Rows:
        lengths: dict[tuple[str, int], list[int]] = defaultdict(list)
        driving = set(self.driving())
        for truck, window in sorted(driving):
            if (truck, window - WINDOW_US) in driving:
                continue
            length = 1
            while (truck, window + length * WINDOW_US) in driving:
                length += 1
            lengths[truck, window // DAY_US * DAY_US].append(length)
        return [
            {"device_id": truck, "day_us": day, "minutes": 10.0 * sum(found) / len(found)}
            for (truck, day), found in sorted(lengths.items())
        ]

    def avg_load(self) -> Rows:
        loads: dict[str, list[float]] = defaultdict(list)
        for event in self.events:
            if (value := event.readings.get("current_load")) is not None:
                loads[event.device_id].append(value)
        shares: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for truck, values in loads.items():
            if (capacity := self.tag(truck, "load_capacity")) is not None:
                key = self.tag(truck, "fleet"), self.tag(truck, "model"), capacity
                shares[key].append(math.floor(mean(values) / capacity * 1e9 + 0.5))
        return [
            {"fleet": fleet, "model": model, "load_capacity": capacity, "mean_share": sum(found) / 1e9 / len(found)}
            for (fleet, model, capacity), found in shares.items()
        ]

    def daily_activity(self) -> Rows:
        counts: dict[tuple[Any, ...], int] = defaultdict(int)
        for truck, windows in self.statuses().items():
            for window, is_fine in windows:
                if is_fine:
                    counts[self.tag(truck, "fleet"), self.tag(truck, "model"), window // DAY_US * DAY_US] += 1
        return [
            {"fleet": fleet, "model": model, "day_us": day, "active_days": count / 144}
            for (fleet, model, day), count in counts.items()
        ]

    def breakdown_frequency(self) -> Rows:
        counts: dict[str, int] = defaultdict(int)
        for truck, windows in self.statuses().items():
            counts[self.tag(truck, "model")] += sum(now and not then for (_, now), (_, then) in pairwise(windows))
        return [{"model": model, "breakdowns": count} for model, count in sorted(counts.items())]

    def tag(self, truck: str, name: str) -> Any:
        return self.tags[truck].get(name)

    def located(self) -> dict[str, Event]:
        return self.newest(lambda e: None not in (e.readings.get("latitude"), e.readings.get("longitude")))

    def location(self, event: Event) -> dict[str, Any]:
        place = {name: event.readings[name] for name in ("latitude", "longitude")}
        return {"time": event.time.replace(tzinfo=None), **place}

    def latest(self, reading: str, fleet: str) -> list[tuple[str, float]]:
        found = self.newest(lambda event: event.readings.get(reading) is not None)
        return [(t, e.readings[reading]) for t, e in sorted(found.items()) if self.tag(t, "fleet") == fleet]

    def newest(self, counts: Callable[[Event], bool]) -> dict[str, Event]:
        found: dict[str, Event] = {}
        for event in sorted(self.events, key=lambda event: (event.time, event.id)):
            if counts(event):
                found[event.device_id] = event
        return found

    def windows(self) -> dict[tuple[str, int], float]:
        """The mean velocity of each truck in each ten minutes."""
        found: dict[tuple[str, int], list[float]] = defaultdict(list)
        for event in self.events:
            if (value := event.readings.get("velocity")) is not None:
                found[event.device_id, time_us(event) // WINDOW_US * WINDOW_US].append(value)
        return {key: mean(values) for key, values in sorted(found.items())}

    def driving(self) -> list[tuple[str, int]]:
        return [key for key, velocity in self.windows().items() if velocity > 1]

    def driven_for(self, hours: int, more_than: int) -> Rows:
        counts: dict[str, int] = defaultdict(int)
        for truck, window in self.driving():
            if END_US - hours * HOUR_US <= window < END_US and self.tag(truck, "fleet") == "West":
                counts[truck] += 1
        return [
            {"device_id": truck, "driver": self.tag(truck, "driver"), "windows": count}
            for truck, count in sorted(counts.items())
            if count > more_than
        ]

    def statuses(self) -> dict[str, list[tuple[int, bool]]]:
        """Each truck's ten minutes in order: whether at least half of what it reported was fine."""
        found: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for event in self.events:
            if (value := event.readings.get("status")) is not None:
                found[event.device_id][time_us(event) // WINDOW_US * WINDOW_US].append(value == 0)
        return {
            truck: [(window, Fraction(sum(fine), len(fine)) * 2 >= 1) for window, fine in sorted(windows.items())]
            for truck, windows in found.items()
        }
