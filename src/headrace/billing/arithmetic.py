"""How a line's amount comes about, for people to follow. Pure; `reports/bill_monthly.sql` computes what is billed."""

from decimal import Decimal
from typing import NamedTuple

from headrace.billing.tariffs import Price


class Part(NamedTuple):
    """Units of a tier at its price; `amount` is exact, not rounded."""

    above: int
    units: int
    unit_price: Decimal
    amount: Decimal


def parts(price: Price, quantity: int) -> list[Part]:
    """Return what a quantity costs, tier by tier; nothing where the allowance covers it."""
    left = max(quantity - price.free, 0)
    found = []
    for tier in price.tiers:
        units = max(min(left, tier.up_to if tier.up_to is not None else left) - tier.above, 0)
        if units:
            found.append(Part(tier.above, units, tier.unit_price, units * tier.unit_price))
    return found


def used_percent(quantity: int, allowance: int) -> int | None:
    """Return how much of an allowance is used up, in whole percent rounded down; None where there is none."""
    return quantity * 100 // allowance if allowance else None
