"""`reports/tariffs.csv`: what usage costs, from when on. Pure.

    tariff,valid_from,currency,meter,above,unit_price,free,minimum
    basic,2026-01-01,EUR,events,0,0.001,10000,5
    basic,2026-01-01,EUR,events,100000,0.0005,,
    basic,2026-01-01,EUR,device_months,0,0.25,,

A row is a tier of a meter. The rows of one tariff with the same `valid_from` are a version of it: all that it prices,
until the next version begins; a meter that it does not name costs nothing. Units up to `free` cost nothing; of the
others, those above `above`, up to the next row's, cost `unit_price` each. `free` stands in one of the meter's rows and
`minimum` in one of the version's, or in several of them alike. A tariff has one currency.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby, pairwise
from typing import NamedTuple

from headrace.billing import csvfile, money
from headrace.billing.csvfile import Faults, Row, Wrong, attempt

FILE = "reports/tariffs.csv"
COLUMNS = ("tariff", "valid_from", "currency", "meter", "above", "unit_price", "free", "minimum")
METERS = EVENTS, BYTES, DEVICE_MONTHS = ("events", "bytes", "device_months")
# Quantity and price together have 37 digits, of the 38 that both engines count in.
QUANTITY_DIGITS = 18
QUANTITY_MAX = 10**QUANTITY_DIGITS - 1
PRICE_DIGITS, PRICE_DECIMALS = 7, 12
MINIMUM_DIGITS = 14
OPEN_END = datetime(9999, 12, 31, tzinfo=UTC)  # the `valid_to` of what is valid from then on


class Tier(NamedTuple):
    """What a unit costs of those above `above` and not above `up_to` (None: of all others)."""

    above: int
    up_to: int | None
    unit_price: Decimal


class Price(NamedTuple):
    """A meter's price: `free` units, then the tiers in order, the first above 0."""

    free: int
    tiers: tuple[Tier, ...]


class Version(NamedTuple):
    """A tariff from `valid_from` to `valid_to` (exclusive), prices by meter; `line` is its first one."""

    tariff: str
    valid_from: datetime
    valid_to: datetime
    currency: str
    minimum: Decimal
    prices: Mapping[str, Price]
    line: int


class Tariffs(NamedTuple):
    """Every tariff's versions, in order of time."""

    versions: Mapping[str, tuple[Version, ...]]

    def at(self, tariff: str, time: datetime) -> Version | None:
        """Return the version of a tariff that is valid at a time."""
        return next((each for each in self.versions.get(tariff, ()) if each.valid_from <= time < each.valid_to), None)

    def all(self) -> Iterator[Version]:
        """Yield every version, by tariff and time."""
        for tariff in sorted(self.versions):
            yield from self.versions[tariff]


NONE = Tariffs({})


class _Line(NamedTuple):
    line: int
    tariff: str
    valid_from: datetime
    currency: str
    meter: str
    above: int
    unit_price: Decimal
    free: int | None
    minimum: Decimal | None


def parse(data: bytes, file: str = FILE) -> Tariffs:
    """Return the tariffs that a file holds; raises FaultyFile with all that is wrong."""
    faults = Faults(file)
    lines = [found for row in csvfile.rows(data, COLUMNS, faults) if (found := _line(row, faults)) is not None]
    _check_currencies(lines, faults)
    lines.sort(key=lambda each: (each.tariff, each.valid_from, each.meter, each.above, each.line))
    versions: dict[str, tuple[Version, ...]] = {}
    for tariff, of_tariff in groupby(lines, key=lambda each: each.tariff):
        groups = groupby(of_tariff, key=lambda each: each.valid_from)
        made = [_version(tariff, begins, list(group), faults) for begins, group in groups]
        ends = [*(each.valid_from for each in made[1:]), OPEN_END]
        versions[tariff] = tuple(each._replace(valid_to=end) for each, end in zip(made, ends, strict=True))
    faults.check()
    return Tariffs(versions)


def _line(row: Row, faults: Faults) -> _Line | None:
    """Return a line with values of the right kinds, or None where one is wrong."""
    values, line = row.values, row.line

    def whole(column: str) -> int:
        return int(csvfile.decimal(column, values[column], QUANTITY_DIGITS, 0)) if values[column] else 0

    tariff = attempt(faults, line, lambda: csvfile.name("tariff", values["tariff"]))
    valid_from = attempt(faults, line, lambda: csvfile.instant("valid_from", values["valid_from"]))
    currency = attempt(faults, line, lambda: _currency(values["currency"]))
    meter = attempt(faults, line, lambda: csvfile.one_of("meter", values["meter"], METERS))
    above = attempt(faults, line, lambda: whole("above"))
    free = attempt(faults, line, lambda: whole("free"))
    price = attempt(
        faults, line, lambda: csvfile.decimal("unit_price", values["unit_price"], PRICE_DIGITS, PRICE_DECIMALS)
    )
    minimum = attempt(faults, line, lambda: _minimum(values["minimum"], currency))
    if None in (tariff, valid_from, currency, meter, above, free, price, minimum):
        return None
    assert tariff and valid_from and currency and meter
    assert above is not None and price is not None
    return _Line(
        line, tariff, valid_from, currency, meter, above, price,
        free if values["free"] else None, minimum if values["minimum"] else None,
    )  # fmt: skip


def _currency(value: str) -> str:
    if value not in money.DIGITS:
        near = value.strip().upper()
        hint = f"Write {near}." if near in money.DIGITS else "Write its code of ISO 4217, such as EUR, USD or JPY."
        raise Wrong(f"currency is {value!r}, whose minor unit is not known." if value else "currency is empty.", hint)
    return value


def _minimum(value: str, currency: str | None) -> Decimal:
    if not value:
        return Decimal(0)
    found = csvfile.decimal("minimum", value, MINIMUM_DIGITS, money.DIGITS_MAX)
    digits = money.DIGITS.get(currency or "", money.DIGITS_MAX)
    if found != money.rounded(found, digits):
        raise Wrong(f"minimum is {value}, but {currency} has {digits} decimals.", "Write an amount that can be paid.")
    return found


def _check_currencies(lines: Iterable[_Line], faults: Faults) -> None:
    first: dict[str, _Line] = {}
    for each in sorted(lines, key=lambda each: each.line):
        before = first.setdefault(each.tariff, each)
        if before.currency != each.currency:
            problem = f"{each.tariff!r} is in {each.currency} here, and in {before.currency} in line {before.line}."
            faults.add(each.line, problem, "Keep one currency a tariff; another one is another tariff.")


def _version(tariff: str, begins: datetime, lines: list[_Line], faults: Faults) -> Version:
    prices = {
        meter: _price(list(group), faults) for meter, group in groupby(lines, key=lambda each: each.meter)
    }  # lines are in order of meter, then above
    minimum = _agreed("minimum", [(each.line, each.minimum) for each in lines], "version", faults)
    first = min(lines, key=lambda each: each.line)
    return Version(tariff, begins, OPEN_END, first.currency, minimum, prices, first.line)


def _price(lines: list[_Line], faults: Faults) -> Price:
    first = lines[0]
    if first.above != 0:
        problem = f"there is a gap: {first.meter} of {first.tariff!r} have no price from 0 to {first.above:,}."
        faults.add(first.line, problem, "Add the row of the first tier, with above 0.")
    for before, after in pairwise(lines):
        if before.above == after.above:
            one, other = sorted((before, after), key=lambda each: each.line)
            problem = (
                f"{after.meter} of {after.tariff!r} above {after.above:,} have a price in line {one.line} already."
            )
            if one[1:] == other[1:]:
                faults.add(other.line, f"this row is the same as line {one.line}.", "Delete one of them.")
            else:
                faults.add(other.line, problem, "Write where this tier begins (above), or delete one of them.")
    free = _agreed("free", [(each.line, each.free) for each in lines], "meter", faults)
    ends = [*(each.above for each in lines[1:]), None]
    tiers = (Tier(each.above, end, each.unit_price) for each, end in zip(lines, ends, strict=True))
    return Price(int(free), tuple(tiers))


def _agreed(column: str, values: Iterable[tuple[int, Decimal | int | None]], of: str, faults: Faults) -> Decimal:
    """Return the value that all rows with one agree on; 0 where no row has one."""
    given = sorted((line, value) for line, value in values if value is not None)
    if not given:
        return Decimal(0)
    first, agreed = given[0]
    for line, value in given[1:]:
        if value != agreed:
            problem = f"{column} is {value} here and {agreed} in line {first}."
            faults.add(line, problem, f"A {of} has one: write it once and leave the others empty.")
    return Decimal(agreed)
