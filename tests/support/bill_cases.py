"""Bills computed by hand, a case each, all in one computation: every case has its own tenants, tariffs and devices."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from support.bills import Held, Tier, event
from support.jobs import Event

NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)


class Case(NamedTuple):
    """What is in force, what was sent, and what each tenant owes: (month, tenant, meter) -> the line's amount."""

    name: str
    tiers: list[Tier]
    held: list[Held]
    events: list[Event]
    expected: dict[tuple[date, str, str], str]


def tiered(case: str, *counts: int) -> Case:
    """Free 5, then 10 units at 0.10, 20 at 0.05, the rest at 0.01: a tenant for each number of events."""
    tariff = f"{case}-t"
    tiers = [
        Tier(tariff, "2026-01-01", "EUR", "events", 0, "0.10", "5"),
        Tier(tariff, "2026-01-01", "EUR", "events", 10, "0.05"),
        Tier(tariff, "2026-01-01", "EUR", "events", 30, "0.01"),
    ]
    # By hand: 4 and 5 are free; 6 is one unit; 15 is ten units; 16 has one of the second tier; 35 has twenty of it.
    by_hand = {4: "0", 5: "0", 6: "0.10", 14: "0.90", 15: "1.00", 16: "1.05", 34: "1.95", 35: "2.00", 36: "2.01"}
    held, events, expected = [], [], {}
    for count in counts:
        device = f"{case}-{count}"
        held.append(Held(device, device, tariff, "2026-01-01"))
        events += event(device, "2026-11-05T10:00:00", count)
        expected[NOVEMBER, device, "events"] = by_hand[count]
    return Case(case, tiers, held, events, expected)


def flat(case: str, price: str, currency: str = "EUR", meter: str = "events", **more: str) -> Tier:
    return Tier(f"{case}-t", "2026-01-01", currency, meter, 0, price, **more)


def one(case: str, tier: Tier, sent: list[Event], **expected: str) -> Case:
    lines = {(NOVEMBER, case, meter): amount for meter, amount in expected.items()}
    return Case(case, [tier], [Held(case, case, tier.tariff, "2026-01-01")], sent, lines)


def moved(name: str) -> list[Event]:
    """Return events of one device on one day: 1 before each move, one at its microsecond, one after it."""
    times = ("08:59:59.999999", "09:00:00", "12:00:00", "17:59:59.999999", "18:00:00", "18:00:01")
    return [each for number, time in enumerate(times) for each in event(name, f"2026-11-17T{time}", 1, 10**number)]


CASES = [
    tiered("below-an-edge", 4, 14, 34),
    tiered("at-an-edge", 5, 15, 35),
    tiered("above-an-edge", 6, 16, 36),
    one("half-rounds-up", flat("half-rounds-up", "0.005"), event("half-rounds-up", "2026-11-02", 1), events="0.01"),
    one("half-of-many", flat("half-of-many", "0.0015"), event("half-of-many", "2026-11-02", 3), events="0.00"),
    one("half-to-odd", flat("half-to-odd", "0.125"), event("half-to-odd", "2026-11-02", 1), events="0.13"),
    one("half-to-even", flat("half-to-even", "0.135"), event("half-to-even", "2026-11-02", 1), events="0.14"),
    one("just-below", flat("just-below", "0.004999999999"), event("just-below", "2026-11-02", 1), events="0.00"),
    one("yen", flat("yen", "0.5", "JPY"), event("yen", "2026-11-02", 5), events="3"),
    one("dinar", flat("dinar", "0.0005", "KWD"), event("dinar", "2026-11-02", 3), events="0.002"),
    one("unidad", flat("unidad", "0.00005", "CLF"), event("unidad", "2026-11-02", 1), events="0.0001"),
    one("bytes", flat("bytes", "0.000001", meter="bytes", free="1000"), event("bytes", "2026-11-02", 3, 2_000_000_000),
        bytes="6000.00"),  # 6,000,000,000 - 1,000 = 5,999,999,000, a millionth each: 5,999.999
    one("minimum", flat("minimum", "0.10", minimum="5"), event("minimum", "2026-11-02", 3), events="0.30",
        minimum="4.70"),
    one("minimum-reached", flat("minimum-reached", "0.10", minimum="0.30"), event("minimum-reached", "2026-11-02", 3),
        events="0.30"),
    one("no-usage", flat("no-usage", "0.10", minimum="5"), [], minimum="5"),
    one("free-only", flat("free-only", "0.10", free="3"), event("free-only", "2026-11-02", 3), events="0"),
    Case(
        "new-tariff",  # 2 events at 0.10 and 3 at 0.20, of each one free; the device's month goes by the first
        [
            Tier("new-tariff-t", "2026-01-01", "EUR", "events", 0, "0.10", "1"),
            Tier("new-tariff-t", "2026-01-01", "EUR", "device_months", 0, "2"),
            Tier("new-tariff-t", "2026-11-16T12:00:00Z", "EUR", "events", 0, "0.20", "1", "0.60"),
            Tier("new-tariff-t", "2026-11-16T12:00:00Z", "EUR", "device_months", 0, "3"),
        ],
        [Held("new-tariff", "new-tariff", "new-tariff-t", "2026-01-01")],
        event("new-tariff", "2026-11-16T11:59:59.999998", 2) + event("new-tariff", "2026-11-16T12:00:00", 3),
        {(NOVEMBER, "new-tariff", "events"): "0.50", (NOVEMBER, "new-tariff", "device_months"): "2"},
    ),
    Case(
        "new-tenant",  # each pays its own events, and both the device's month
        [flat("new-tenant", "0.10"), flat("new-tenant", "1", meter="device_months")],
        [
            Held("new-tenant", "new-tenant-a", "new-tenant-t", "2026-01-01"),
            Held("new-tenant", "new-tenant-b", "new-tenant-t", "2026-11-16"),
        ],
        event("new-tenant", "2026-11-15T23:59:59.999999", 1) + event("new-tenant", "2026-11-16", 4),
        {
            (NOVEMBER, "new-tenant-a", "events"): "0.10", (NOVEMBER, "new-tenant-a", "device_months"): "1",
            (NOVEMBER, "new-tenant-b", "events"): "0.40", (NOVEMBER, "new-tenant-b", "device_months"): "1",
        },
    ),
    Case(
        "twice-in-a-day",  # a until 09:00, b until 18:00, a again; the sizes tell which events went where
        [flat("twice-in-a-day", "1", meter="bytes"), flat("twice-in-a-day", "7", meter="device_months")],
        [
            Held("twice-in-a-day", "twice-a", "twice-in-a-day-t", "2026-01-01"),
            Held("twice-in-a-day", "twice-b", "twice-in-a-day-t", "2026-11-17T09:00:00Z"),
            Held("twice-in-a-day", "twice-a", "twice-in-a-day-t", "2026-11-17T19:00:00+01:00"),
        ],
        moved("twice-in-a-day"),
        {
            (NOVEMBER, "twice-a", "bytes"): "110001", (NOVEMBER, "twice-b", "bytes"): "1110",
            (NOVEMBER, "twice-a", "device_months"): "7", (NOVEMBER, "twice-b", "device_months"): "7",
        },
    ),
    Case(
        "month-boundary",
        [flat("month-boundary", "0.10")],
        [Held("month-boundary", "month-boundary", "month-boundary-t", "2026-01-01")],
        event("month-boundary", "2026-11-30T23:59:59.999999", 1) + event("month-boundary", "2026-12-01T00:00:00", 2),
        {(NOVEMBER, "month-boundary", "events"): "0.10", (DECEMBER, "month-boundary", "events"): "0.20"},
    ),
    Case(
        "nobody",  # unassigned before, taken back after: only what lies between is billed
        [flat("nobody", "1")],
        [Held("nobody", "nobody-a", "nobody-t", "2026-11-10"), Held("nobody", "", "", "2026-11-20")],
        [each for day in ("09", "10", "19", "20") for each in event("nobody", f"2026-11-{day}T00:00:00", 1)],
        {(NOVEMBER, "nobody-a", "events"): "2"},
    ),
    Case(
        "names",  # what would be a path, a page or SQL elsewhere is a name here
        [Tier("'; DROP", "2026-01-01", "EUR", "events", 0, "0.10")],
        [
            Held("../../x", "../../x", "'; DROP", "2026-01-01"),
            Held("<script>", '<script>alert("1")</script>', "'; DROP", "2026-01-01"),
        ],
        event("../../x", "2026-11-02", 2) + event("<script>", "2026-11-02", 3),
        {
            (NOVEMBER, "../../x", "events"): "0.20",
            (NOVEMBER, '<script>alert("1")</script>', "events"): "0.30",
        },
    ),
    Case(
        "huge",  # the dearest price there is
        [Tier("huge-t", "2026-01-01", "EUR", "bytes", 0, "9999999.999999999999")],
        [Held("huge", "huge", "huge-t", "2026-01-01")],
        event("huge", "2026-11-02", 1, 2**31 - 1),
        {(NOVEMBER, "huge", "bytes"): "21474836470000000.00"},  # 21474836469999999.9978 to the cent
    ),
]  # fmt: skip

ALL_TIERS = [each for case in CASES for each in case.tiers]
ALL_HELD = [each for case in CASES for each in case.held]
ALL_EVENTS = [each for case in CASES for each in case.events]


def expected_amounts() -> dict[tuple[date, str, str], Decimal]:
    found = {key: Decimal(amount) for case in CASES for key, amount in case.expected.items()}
    # December has a minimum, too, for whoever had one in November.
    return found | {
        (DECEMBER, "minimum", "minimum"): Decimal(5),
        (DECEMBER, "minimum-reached", "minimum"): Decimal("0.30"),
        (DECEMBER, "no-usage", "minimum"): Decimal(5),
        (DECEMBER, "new-tariff", "minimum"): Decimal("0.60"),
    }


def made_up(seed: int) -> tuple[list[Tier], list[Held], list[Event]]:
    """Return tariffs, tenants and events around the end of a month, many a microsecond around a change of anything."""
    choice = random.Random(seed)
    begin = datetime(2026, 10, 24, tzinfo=UTC)

    def moment() -> datetime:
        return begin + timedelta(microseconds=choice.randrange(15 * 86_400_000_000))

    tiers, held, events = [], [], []
    for currency in ("EUR", "JPY", "KWD", "CLF"):
        for begins in (begin, *sorted(moment() for _ in range(3))):
            minimum = choice.choice(["", "0", "7", "90"])
            for meter in choice.sample(["events", "bytes", "device_months"], choice.randint(1, 3)):
                free = choice.choice(["", "1", "17", "2000000000"])
                for above in (0, *sorted(choice.sample(range(1, 60), choice.randrange(3)))):
                    price = f"{Decimal(choice.randrange(10 ** choice.randint(1, 15))).scaleb(-12):f}"
                    tiers.append(Tier(currency, begins.isoformat(), currency, meter, above, price, free, minimum))
    for device in range(10):
        for begins in (begin, *(moment() for _ in range(choice.randrange(5)))):
            currency = choice.choice(["EUR", "JPY", "KWD", "CLF"])
            owner = choice.choice(["", f"{currency} a", f"{currency} b", f"{currency} c"])
            held.append(Held(f"made-up-{device}", owner, currency if owner else "", begins.isoformat()))
    starts = {row.valid_from for row in held} | {row.valid_from for row in tiers}
    changes = [datetime.fromisoformat(text) for text in sorted(starts)]
    for number in range(400):
        near = choice.choice(changes) + timedelta(microseconds=choice.choice([-1, 0, 1]))
        time = max(begin, near if choice.random() < 0.4 else moment())
        size = choice.choice([2, 300, 2**31 - 1])
        events.append(Event(f"made-up-{choice.randrange(10)}", time, f"{number}", {"t": 1.0}, time, bytes=size))
    return tiers, held, events
