import pytest

from headrace.archive.catalogue import File, merged
from headrace.archive.merging import FULL_BYTES, Plan, plan, warm_days_of

DAY_MS = 86_400_000


def file(key: str, size: int = 1000, created_ms: int = 0, unchecked: bool = False) -> File:
    return File(key, 1, size, created_ms, 0, 0, 0, 0, "a", "z", (), unchecked)


SMALL, FULL, OTHER = file("small"), file("full", FULL_BYTES), file("other", FULL_BYTES - 1)
LATE = file("late", unchecked=True, created_ms=9 * DAY_MS)


@pytest.mark.parametrize(
    ("files", "unreadable", "now_ms", "warm_days", "due"),
    [
        ((), (), 0, 90, Plan()),
        ((SMALL,), (), 0, 90, Plan((SMALL,))),
        ((SMALL, FULL, OTHER), (), 0, 90, Plan((SMALL, OTHER), (FULL,))),
        ((SMALL,), (), 90 * DAY_MS - 1, 90, Plan((SMALL,))),
        ((SMALL,), (), 90 * DAY_MS, 90, Plan(unchecked=True)),
        ((SMALL,), (), 10**15, None, Plan((SMALL,))),
        ((SMALL, FULL), ("full",), 0, None, Plan(unchecked=True)),
        ((SMALL, LATE), (), 10 * DAY_MS, 5, Plan((LATE,), unchecked=True)),
        ((LATE,), (), 10 * DAY_MS, 5, Plan((LATE,))),
        ((LATE,), ("late",), 10 * DAY_MS, 5, Plan(unchecked=True)),
    ],
)
def test_which_files_are_merged(
    files: tuple[File, ...], unreadable: tuple[str, ...], now_ms: int, warm_days: int | None, due: Plan
) -> None:
    assert plan(files, unreadable, now_ms, warm_days) == due


def rule(status: str = "Enabled", prefix: str = "events/", **transition: object) -> dict[str, object]:
    return {"Status": status, "Prefix": prefix, "Transitions": [transition]} if transition else {"Status": status}


@pytest.mark.parametrize(
    ("rules", "due"),
    [
        ([], None),
        ([rule()], None),
        (
            [rule(StorageClass="GLACIER", TransitionInDays=90), rule(StorageClass="DEEP_ARCHIVE", TransitionInDays=30)],
            30,
        ),
        ([rule(StorageClass="STANDARD_IA", TransitionInDays=30)], None),
        ([rule("Disabled", StorageClass="GLACIER", TransitionInDays=1)], None),
        ([rule(prefix="raw/", StorageClass="GLACIER", TransitionInDays=1)], None),
        ([rule(prefix="", StorageClass="GLACIER", TransitionInDays=2)], 2),
        ([rule(prefix="events/dt=2026", StorageClass="GLACIER", TransitionInDays=3)], 3),
        ([{"Status": "Enabled", "Transition": {"StorageClass": "GLACIER", "TransitionInDays": 4}}], 4),
    ],
)
def test_how_long_files_stay_readable(rules: list[dict[str, object]], due: int | None) -> None:
    assert warm_days_of(rules, "events/") == due


def test_runs_are_joined() -> None:
    assert merged([(5, 6), (0, 1), (2, 2), (6, 9), (20, 21)]) == [(0, 2), (5, 9), (20, 21)]
