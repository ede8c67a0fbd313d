"""Whatever tariffs, tenants and usage there are: DuckDB bills what plain Python comes to, event by event."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.billing.tariffs import METERS
from headrace.jobs.base import Engine
from support.bills import Held, Tier, amounts, book, by_reports, directly
from support.jobs import Event, engine

BEGIN = datetime(2026, 10, 20, tzinfo=UTC)
MINUTES = 60 * 24 * 60
CURRENCIES = {"EUR": "0.05", "JPY": "3", "KWD": "0.005"}
TENANTS = ("acme", "globex", "../x")
DEVICES = ("a", "b", "c")
World = tuple[list[Tier], list[Held], list[Event]]


def at(minutes: int) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


moments = st.integers(0, MINUTES)
prices = st.decimals(0, 10, places=4).map(lambda each: f"{each:f}")


@st.composite
def tariff(draw: st.DrawFn, name: str, currency: str) -> list[Tier]:
    rows = []
    for begins in sorted({0, *draw(st.lists(moments, max_size=2))}):
        minimum = draw(st.sampled_from(["", "0", CURRENCIES[currency]]))
        for meter in sorted(draw(st.sets(st.sampled_from(METERS), min_size=1))):
            free = draw(st.sampled_from(["", "1", "3", "700"]))
            for above in sorted({0, *draw(st.sets(st.integers(1, 9), max_size=3))}):
                price = draw(prices)
                rows.append(Tier(name, at(begins).isoformat(), currency, meter, above, price, free, minimum))
    return rows


@st.composite
def worlds(draw: st.DrawFn) -> World:
    currencies = {tenant: draw(st.sampled_from(sorted(CURRENCIES))) for tenant in TENANTS}
    tiers = [row for code in CURRENCIES for n in (1, 2) for row in draw(tariff(f"{code}-{n}", code))]
    held = []
    for device in DEVICES:
        for begins in draw(st.sets(moments, max_size=4)):
            owner = draw(st.sampled_from([*TENANTS, ""]))
            goes_by = f"{currencies[owner]}-{draw(st.integers(1, 2))}" if owner else ""
            held.append(Held(device, owner, goes_by, at(begins).isoformat()))
    starts = {row.valid_from for row in tiers} | {row.valid_from for row in held}
    changes = [datetime.fromisoformat(text) for text in sorted(starts)]
    # As often as not at the very moment of a change, or a microsecond before it.
    near = st.tuples(st.sampled_from(changes), st.sampled_from([-1, 0, 1])).map(
        lambda each: each[0] + timedelta(microseconds=each[1])
    )
    times = draw(st.lists(st.one_of(near, moments.map(at)), max_size=40))
    sizes = st.integers(2, 1000)
    events = [
        Event(draw(st.sampled_from(DEVICES)), max(time, BEGIN), f"{n}", {"t": 1.0}, time, bytes=draw(sizes))
        for n, time in enumerate(times)
    ]
    return tiers, held, events


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = engine("duckdb", tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds())
def test_duckdb_bills_what_plain_python_does(world: World, session: Engine) -> None:
    tiers, held, events = world
    with tempfile.TemporaryDirectory() as folder:
        _, lines = by_reports(session, events, book(tiers, held), Path(folder))
    found = amounts(lines)
    if not events:  # then it was asked for a month without any
        assert all(meter == "minimum" for *_, meter in found)
        return
    assert found == directly(events, tiers, held)
