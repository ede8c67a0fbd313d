"""A report: one file of portable SQL under `reports/`, with a header of comment lines. Pure.

    -- What the file answers, in as many lines as it takes.
    -- period: day                    computed a day (UTC) at a time, over that day's events; without it, as a whole
    -- period: month                  computed a month at a time, from the days of the report that it uses
    -- uses: device_daily             a view of all rows of that report; what follows a day that changed in it is
                                      computed again, and in any case each of the last 31 days
    -- keys: device_id, reading, …    the columns that tell its rows apart, and sort them
    -- items: hour                    its rows also become items of the table, as aggregates of this period
    -- parameter: gap_s 900           a column of the view `parameters`, with its default; may stand several times
    SELECT …

A report with a period has the TIMESTAMP column `period_start`, which says to which day a row belongs. One with items
has the columns device_id, reading and period_start; all the others become members of the item.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.errors import NotFound, UsageError
from headrace.jobs import portable

START = "period_start"
ITEM_KEYS = ("device_id", "reading", START)
PERIODS = ("hour", "day", "month")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SETTING = re.compile(r"(period|uses|keys|items|parameter)\s*:\s*(.*)")
_PARAMETER = re.compile(r"([a-z][a-z0-9_]*)\s+(-?\d{1,18}(?:\.\d+)?|'[^']*')")

Value = int | float | str


class Report(NamedTuple):
    """A report as its file says. `daily`, `monthly`: computed by that; `uses`: the report that it is computed from."""

    name: str
    description: str
    sql: str
    keys: tuple[str, ...]
    daily: bool = False
    uses: str | None = None
    items: str | None = None
    parameters: Mapping[str, Value] = {}
    monthly: bool = False

    @property
    def periodic(self) -> bool:
        """Return whether it is computed a period at a time, each of which has an object of its own."""
        return self.daily or self.monthly

    @property
    def unit(self) -> str:
        """Return what its periods are called, several of them."""
        return "months" if self.monthly else "days"

    @property
    def bills(self) -> bool:
        """Return whether it goes by tariffs and tenants."""
        return portable.mentions(self.sql, ("tariffs", "tenants"))


def is_name(text: str) -> bool:
    """Return whether a job may be called so."""
    return _NAME.fullmatch(text) is not None


def files(folder: Path) -> dict[str, Path]:
    """Return the report files of a folder by name, in order; none where there is no folder."""
    return {path.stem: path for path in sorted(folder.glob("*.sql")) if is_name(path.stem)}


def load(path: Path) -> Report:
    """Read a report file; raises NotFound where there is none, UsageError where it is wrong."""
    try:
        found = parse(path.stem, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no report {path}.", "See `headrace jobs list`.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8.", "Save it as UTF-8.") from None
    if found.uses == found.name or (found.uses and found.uses not in files(path.parent)):
        others = ", ".join(name for name in files(path.parent) if name != found.name)
        raise UsageError(f"{path.name}: it uses {found.uses}, which is no other report.", f"Reports are: {others}.")
    return found


def parse(name: str, text: str) -> Report:
    """Return the report that a file holds; raises UsageError with file and line for what is wrong with it."""
    description: list[str] = []
    settings: dict[str, str] = {}
    parameters: dict[str, Value] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("--"):
            break
        found = _SETTING.match(comment := line[2:].strip())
        if found is None:
            description.append(comment)
        elif found[1] == "parameter":
            parameters |= _parameter(name, number, found[2])
        else:
            settings[found[1]] = _checked(name, number, found[1], found[2].strip())
    keys = tuple(key.strip() for key in settings.get("keys", "").split(",") if key.strip())
    period, items = settings.get("period"), settings.get("items")
    daily, monthly = period == "day", period == "month"
    if period and START not in keys:
        raise UsageError(
            f"{name}.sql: a report with a period has {START} among its keys.", f"Write -- keys: {START}, …"
        )
    if items and not (daily and set(keys) == set(ITEM_KEYS)):
        raise UsageError(
            f"{name}.sql: a report with items is computed by day, and its keys are {', '.join(ITEM_KEYS)}.",
            "Write -- period: day and these -- keys:, or take -- items: out.",
        )
    if monthly and "uses" not in settings:
        raise UsageError(
            f"{name}.sql: a report by month is computed from one by day.",
            "Write which: -- uses: REPORT; or -- period: day.",
        )
    portable.check(name, text)
    sql = text.rstrip().rstrip(";")
    return Report(name, " ".join(description), sql, keys, daily, settings.get("uses"), items, parameters, monthly)


def _checked(name: str, line: int, setting: str, value: str) -> str:
    allowed = {"period": ("day", "month"), "items": PERIODS}.get(setting)
    if allowed and value not in allowed:
        raise UsageError(f"{name}.sql:{line}: {setting} is {value!r}.", f"Write one of: {', '.join(allowed)}.")
    return value


def _parameter(name: str, line: int, text: str) -> dict[str, Value]:
    found = _PARAMETER.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{name}.sql:{line}: {text!r} is no parameter.", "Write its name and default: -- parameter: gap_s 900"
        )
    value = found[2]
    if value.startswith("'"):
        return {found[1]: value[1:-1]}
    return {found[1]: float(value) if "." in value else int(value)}
