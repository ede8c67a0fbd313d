"""A fleet of trucks for the queries of the Time Series Benchmark Suite's IoT case: data of our own, from a seed.

Every two minutes a truck sends where it is and how it drives (readings), and how it is doing (diagnostics). Some of it
never arrives, some arrives late, single fields are missing or null, and a few trucks don't say whose they are.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from support.jobs import Event

READINGS = ("latitude", "longitude", "elevation", "velocity", "heading", "grade", "fuel_consumption")
DIAGNOSTICS = ("fuel_state", "current_load", "status")
BEGIN = datetime(2026, 3, 30, 9, tzinfo=UTC)
HOURS, EVERY_S = 39, 120
END = BEGIN + timedelta(hours=HOURS)
FLEETS, MODELS, DRIVERS = ("East", "West", "North", "South"), ("F-150", "G-2000", "H-2"), ("Rodney", "Derek", "Trish")
CAPACITIES = {"F-150": (2000.0, 15.2), "G-2000": (5000.0, 19.5), "H-2": (1500.0, 12.25)}


def trucks(count: int, seed: int = 7) -> dict[str, dict[str, Any]]:
    """Return each truck's configuration."""
    choice = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    for number in range(count):
        model = choice.choice(MODELS)
        capacity, nominal = CAPACITIES[model]
        tags: dict[str, Any] = {
            "fleet": FLEETS[number % len(FLEETS)],
            "driver": choice.choice(DRIVERS),
            "model": model,
            "load_capacity": capacity,
            "nominal_fuel_consumption": nominal,
        }
        if number % 7 == 6:
            del tags[choice.choice(["fleet", "driver", "load_capacity"])]
        found[f"truck-{number}"] = tags
    return found


def events(fleet: dict[str, dict[str, Any]], seed: int = 8) -> list[Event]:
    """Return what all of them have sent, each event once, in the order of arrival."""
    choice = random.Random(seed)
    sent: list[Event] = []
    for number, (truck, tags) in enumerate(fleet.items()):
        sent += _driven(choice, number, truck, tags.get("load_capacity", 2000.0))
    return sorted(sent, key=lambda event: event.arrived_at)


def _driven(choice: random.Random, number: int, truck: str, capacity: float) -> list[Event]:
    sent = []
    latitude, longitude, fuel, is_driving, is_broken = 40.0 + number, -70.0 - number, 1.0, False, False
    for step in range(HOURS * 3600 // EVERY_S):
        time = BEGIN + timedelta(seconds=step * EVERY_S + choice.random() * EVERY_S * 0.9)
        if choice.random() < (0.004 if number % 3 else 0.03):
            is_driving = not is_driving
        if choice.random() < 0.02:
            is_broken = not is_broken
        velocity = choice.uniform(20, 100) if is_driving or number % 5 == 1 else 0.0
        latitude, longitude = latitude + velocity * 1e-5, longitude + velocity * 1e-5
        thirsty = number % 8 == 3
        fuel = (
            1.0
            if fuel < 0.05 and not thirsty
            else max(0.03, fuel - thirsty * 1e-3 - velocity * 5e-6 - (number % 4) * 1e-4)
        )
        readings = {
            "latitude": latitude, "longitude": longitude, "elevation": choice.gauss(300, 50), "velocity": velocity,
            "heading": choice.randrange(360), "grade": choice.uniform(0, 90), "fuel_consumption": choice.gauss(15, 4),
        }  # fmt: skip
        load = capacity * (0.97 if number % 8 == 3 else choice.random())
        diagnostics = {"fuel_state": fuel, "current_load": load, "status": int(is_broken) * choice.randrange(1, 4)}
        for kind, values in (("r", readings), ("d", diagnostics)):
            if choice.random() < 0.02:
                continue  # never arrived
            fields: dict[str, Any] = dict(values)
            if choice.random() < 0.05:
                fields[choice.choice(list(fields))] = None
            if choice.random() < 0.05:
                del fields[choice.choice(list(fields))]
            delay_s = choice.uniform(600, 40_000) if choice.random() < 0.1 else choice.random()
            sent.append(Event(truck, time, f"{kind}{step}", fields, time + timedelta(seconds=delay_s)))
    return sent
