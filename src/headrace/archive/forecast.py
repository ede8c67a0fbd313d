"""What lifecycle rules will do to the objects that there are, by day, and what AWS would charge for it."""

from collections.abc import Iterable, Sequence
from importlib.resources import files

import msgspec

from headrace.archive import lifecycle
from headrace.archive.base import ObjectInfo
from headrace.archive.lifecycle import ALL_128K, DAY_MS, Rule

PRICES = "s3_prices.json"
_GB = 2**30


class Price(msgspec.Struct, frozen=True):
    """US dollars, and which of the file's sources says so."""

    price: float
    source: str


class Prices(msgspec.Struct, frozen=True):
    """S3's prices, dated: storage for a GB and month, transitions for 1,000 objects."""

    version: int
    date: str
    region: str
    currency: str
    sources: dict[str, str]
    storage_gb_month: dict[str, Price]
    transitions_per_1000: dict[str, Price]

    def storage(self, storage_class: str, size: int) -> float:
        """Return what so many bytes cost a month."""
        return size / _GB * self.storage_gb_month[storage_class].price

    def transition(self, storage_class: str, objects: int) -> float:
        """Return what moving so many objects to a class costs."""
        return objects / 1000 * self.transitions_per_1000[storage_class].price


class Step(msgspec.Struct, kw_only=True):
    """What a rule does on one day to the objects of one class. Dollars: `cost` once, `saved` each month from then on.

    `to` is None where they are deleted. `sourced` is False where a price has no source.
    """

    day_ms: int
    rule: str
    storage_class: str
    to: str | None
    objects: int = 0
    bytes: int = 0
    cost: float = 0.0
    saved: float = 0.0
    sourced: bool = True


class Waiting(msgspec.Struct, kw_only=True):
    """What a rule leaves alone only because it lacks tags that the rule filters on."""

    rule: str
    tags: dict[str, str]
    objects: int = 0
    bytes: int = 0


def prices() -> Prices:
    """Return the prices that come with Headrace."""
    return msgspec.json.decode(files("headrace.archive").joinpath(PRICES).read_bytes(), type=Prices)


def forecast(
    rules: Sequence[Rule], objects: Iterable[ObjectInfo], now_ms: int, until_ms: int, minimum: str = ALL_128K
) -> list[Step]:
    """Return what the rules do from now until then to objects that stay as they are, tags included, in order."""
    steps: dict[tuple[int, str, str, str | None], Step] = {}
    for info in objects:
        for at_ms, action in lifecycle.timeline(rules, info, now_ms, until_ms, minimum):
            day_ms, was = at_ms // DAY_MS * DAY_MS, action.info.storage_class
            key = day_ms, action.rule, was, action.storage_class
            step = steps.get(key)
            if step is None:
                step = Step(day_ms=day_ms, rule=action.rule, storage_class=was, to=action.storage_class)
                steps[key] = step
            step.objects += 1
            step.bytes += info.size
    table = prices()
    for step in steps.values():
        _price(step, table)
    return sorted(steps.values(), key=lambda step: (step.day_ms, step.rule, step.storage_class))


def waiting(rules: Sequence[Rule], objects: Iterable[ObjectInfo], until_ms: int) -> list[Waiting]:
    """Return, by rule, the objects that it would have taken by then had they its tags."""
    found: dict[str, Waiting] = {}
    for info in objects:
        for rule in rules:
            if rule.covers(info) or not rule._replace(tags=()).covers(info):
                continue
            if all(when.due_ms(info.modified_ms) > until_ms for when in rule.whens):
                continue
            each = found.setdefault(rule.id, Waiting(rule=rule.id, tags=dict(rule.tags)))
            each.objects += 1
            each.bytes += info.size
    return list(found.values())


def _price(step: Step, table: Prices) -> None:
    used = [table.storage_gb_month[step.storage_class]]
    step.saved = table.storage(step.storage_class, step.bytes)
    if step.to is not None:
        step.saved -= table.storage(step.to, step.bytes)
        step.cost = table.transition(step.to, step.objects)
        used += [table.storage_gb_month[step.to], table.transitions_per_1000[step.to]]
    step.sourced = all(price.source != "unsourced" for price in used)
