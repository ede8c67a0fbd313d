"""Device times, pure: what devices write as a time, and the one form that keys, comparisons and answers use.

The canonical form is `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always 27 characters, UTC, years 0001 to 9999: as text it orders as
time does. What is finer than a microsecond is cut off (towards the past), never rounded up.
"""

import decimal
import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from headrace.clock import EPOCH

_OUTSIDE = "outside the years 0001 to 9999"
_NO_TIME = "neither RFC 3339 nor a number"
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?P<second>[0-6]\d)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# Below which absolute value a number counts in which unit, as a power of ten of microseconds.
_UNITS = ((Decimal(10) ** 11, 6), (Decimal(10) ** 14, 3), (Decimal(10) ** 18, 0))


def from_text(text: str) -> str:
    """Return the canonical form of RFC 3339 text (offset optional: UTC; a space for the T) or of a JSON number as text.

    Raises ValueError for anything else and for what lies outside the years.
    """
    # Most are `YYYY-MM-DDTHH:MM:SSZ` with up to six decimals: the shape is looked at, the digits are parsed in C.
    shape = text[4:20:3]
    if (shape == "--T::Z" and len(text) == 20) or (shape == "--T::." and 21 < len(text) <= 27 and text[-1] == "Z"):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return _from_rfc3339(text)
        if text[11:13] > "23":  # newer Pythons read midnight as 24:00
            raise ValueError(_NO_TIME)
        return text[:19] + ".000000Z" if len(text) == 20 else text[:-1].ljust(26, "0") + "Z"
    return from_number(text) if _NUMBER.fullmatch(text) else _from_rfc3339(text)


def _from_rfc3339(text: str) -> str:
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(_NO_TIME)
    leap = found["second"] == "60"
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        at = datetime.fromisoformat(text.upper())
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        if leap and at.hour * 60 + at.minute != 1439:
            raise ValueError("a leap second stands at 23:59:60 UTC")
        at += timedelta(seconds=leap)
    except OverflowError:
        raise ValueError(_OUTSIDE) from None
    return _canonical(at)


def from_number(text: str) -> str:
    """Return the canonical form of a JSON number since 1970; its size says whether it counts s, ms or us.

    Raises ValueError where it is no JSON number or lies outside the years.
    """
    if text.isdigit() and text.isascii() and len(text) <= 18 and (text[0] != "0" or text == "0"):
        return from_us(int(text) * (1_000_000 if len(text) <= 11 else 1_000 if len(text) <= 14 else 1))
    if not _NUMBER.fullmatch(text):
        raise ValueError("no JSON number")
    try:
        value = Decimal(text)
        for below, exponent in _UNITS:
            if value.copy_abs() < below:
                whole = value.quantize(Decimal(1).scaleb(-exponent), ROUND_FLOOR)
                return from_us(int(whole.scaleb(exponent)))
    except decimal.DecimalException:
        pass
    raise ValueError(_OUTSIDE)


def from_us(us: int) -> str:
    """Return the canonical form of microseconds since 1970; raises ValueError outside the years."""
    try:
        return _canonical(EPOCH + timedelta(microseconds=us))
    except OverflowError:
        raise ValueError(_OUTSIDE) from None


def to_us(text: str) -> int:
    """Return a canonical time in microseconds since 1970."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def short(text: str) -> str:
    """Return a canonical time without the zeros that end its fraction, as it is shown: `2024-05-06T07:08:09.5Z`."""
    return text[:26].rstrip("0").rstrip(".") + "Z" if text[25] == "0" else text


def _canonical(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")[:26] + "Z"
