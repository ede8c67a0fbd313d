"""SIGKILL while a month is closed: it is closed once, whole, and bills what an undisturbed closing bills."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import bill_site
from support.backend import ROOT
from support.bill_site import BillSite
from support.bills import Held, Tier, event

OCTOBER, NOVEMBER = "2026-10", "2026-11"
TIERS = [
    Tier("basic", "2026-09-01", "EUR", "events", 0, "0.105", "2", "1.00"),
    Tier("basic", "2026-09-01", "EUR", "bytes", 0, "0.0001"),
]
HELD = [Held(f"d{n}", f"tenant {n % 3}", "basic", "2026-10-01") for n in range(5)]


def prepared(folder: Path) -> BillSite:
    site = BillSite(folder)
    site.prepare(TIERS, HELD)
    site.add([each for n in range(5) for each in event(f"d{n}", f"2026-10-{n + 1:02d}", 40 + n)])
    return site


def late(site: BillSite) -> None:
    site.add([each for n in range(5) for each in event(f"d{n}", f"2026-10-{n + 10:02d}", 3)])


def started(site: BillSite, month: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])
    with (site.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, bill_site.__file__, str(site.folder), month],
            stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip


def moments(site: BillSite, month: str) -> list[Callable[[], bool]]:
    """How far a closing has come, from its beginning to the moment after which the month is closed."""
    folder = site.folder / "archive" / "bills" / f"month={month}"
    return [
        lambda: any((site.folder / "jobs" / "bill_usage" / "work").glob("*/tmp/*")),
        lambda: any((site.folder / "jobs" / "bill_monthly" / "work").glob("*/out/**/*.parquet")),
        lambda: any((site.folder / "jobs" / "bills" / "work").glob("*/lines/*")),
        lambda: any(folder.glob("lines-*")),
        lambda: any(folder.glob("tenants-*")),
    ]


def killed(child: subprocess.Popen[bytes]) -> bool:
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def bills(site: BillSite) -> dict[str, Any]:
    """Return every closed bill as it reads, but for when it was closed."""
    found = {}
    for each in site.read()["bills"]:
        if each["state"] == "closed":
            bill = site.read(each["month"])
            found[each["month"]] = {name: value for name, value in bill.items() if name != "closed_at"}
    return found


@pytest.mark.timeout(300)
def test_a_killed_closing_bills_once(tmp_path: Path) -> None:
    calm, site = prepared(tmp_path / "calm"), prepared(tmp_path / "killed")
    calm.close(OCTOBER)
    late(calm)
    calm.close(NOVEMBER)
    expected = bills(calm)
    assert expected.keys() == {OCTOBER, NOVEMBER}
    assert any(line["kind"] == "adjustment" for each in expected[NOVEMBER]["tenants"] for line in each["lines"])
    kills = 0
    for month in (OCTOBER, NOVEMBER):
        conditions = moments(site, month)
        # Half of the moments with each month, and one that is random.
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        later_s = random.Random(seed).uniform(0.5, 1.5)
        for condition in [*conditions[month == NOVEMBER :: 2], None]:
            child = started(site, month)
            until = time.monotonic() + later_s
            while child.poll() is None and not (condition() if condition else time.monotonic() > until):
                time.sleep(0.001)
            kills += killed(child)
            # What is closed at any moment is closed for ever.
            assert bills(site).items() <= expected.items()
        child = started(site, month)
        assert child.wait() == 0, (site.folder / "log").read_text()[-3000:]
        if month == OCTOBER:
            late(site)
    assert kills >= 3
    assert bills(site) == expected
    kept = {key.rpartition("/")[2].partition("-")[0] for key in site.frozen()}
    assert kept == {"bill.json", "lines", "usage", "tariffs", "tenants"} and len(site.frozen()) == 10
