"""What lifecycle rules do to an object and when: S3's semantics as tables."""

from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.archive import forecast, lifecycle
from headrace.archive.base import ObjectInfo
from headrace.archive.lifecycle import DAY_MS, PREFERENCE, VARIES, WATERFALL, Rule, Upload, When, rules_of

KIB = 1024


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


CREATED = ms("2026-01-15T10:30:00")
BIG = ObjectInfo("events/a.parquet", 200 * KIB, CREATED)


def rules(*configuration: dict[str, Any]) -> tuple[Rule, ...]:
    return rules_of({"Status": "Enabled", **each} for each in configuration)


def outcome(rule_list: tuple[Rule, ...], info: ObjectInfo, at: str, **keywords: Any) -> str | None:
    """Return the class that an object goes to, `delete`, or None."""
    action = lifecycle.decide(rule_list, info, ms(at), **keywords)
    return None if action is None else action.storage_class or "delete"


def to(storage_class: str, days: int) -> dict[str, Any]:
    return {"Transitions": [{"StorageClass": storage_class, "TransitionInDays": days}]}


@pytest.mark.parametrize(
    ("created", "days", "due"),
    [
        ("2026-01-15T10:30:00", 3, "2026-01-19T00:00:00"),
        ("2026-01-15T23:59:59.999", 1, "2026-01-17T00:00:00"),
        ("2026-01-15T00:00:00.001", 1, "2026-01-17T00:00:00"),
        ("2026-01-15T00:00:00", 1, "2026-01-16T00:00:00"),
        ("2026-01-15T10:30:00", 0, "2026-01-16T00:00:00"),
        ("2024-02-28T12:00:00", 1, "2024-03-01T00:00:00"),
        ("2026-01-15T10:30:00", 36_500, "2125-12-23T00:00:00"),
    ],
)
def test_days_are_rounded_up_to_the_next_midnight(created: str, days: int, due: str) -> None:
    assert When(days=days).due_ms(ms(created)) == ms(due)


@pytest.mark.parametrize(
    ("filtered", "info", "covered"),
    [
        ({}, BIG, True),
        ({"Prefix": "events/"}, BIG, True),
        ({"Prefix": "event"}, BIG, True),
        ({"Prefix": "raw/"}, BIG, False),
        ({"TagFilters": [{"Key": "a", "Value": "1"}]}, BIG, False),
        ({"TagFilters": [{"Key": "a", "Value": "1"}]}, BIG._replace(tags={"a": "1", "b": "2"}), True),
        ({"TagFilters": [{"Key": "a", "Value": "1"}]}, BIG._replace(tags={"a": "2"}), False),
        (
            {"TagFilters": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]},
            BIG._replace(tags={"a": "1"}),
            False,
        ),
        ({"ObjectSizeGreaterThan": 200 * KIB}, BIG, False),
        ({"ObjectSizeGreaterThan": 200 * KIB - 1}, BIG, True),
        ({"ObjectSizeLessThan": 200 * KIB}, BIG, False),
        ({"ObjectSizeLessThan": 200 * KIB + 1}, BIG, True),
        ({"Prefix": "events/", "TagFilters": [{"Key": "a", "Value": "1"}]}, BIG, False),
        ({"Prefix": "raw/", "ObjectSizeGreaterThan": 1}, BIG, False),
    ],
)
def test_an_object_has_to_pass_all_filters_of_a_rule(filtered: dict[str, Any], info: ObjectInfo, covered: bool) -> None:
    found = outcome(rules({**filtered, "ExpirationInDays": 1}), info, "2030-01-01")
    assert found == ("delete" if covered else None)


def test_a_disabled_rule_does_nothing() -> None:
    assert rules_of([{"Status": "Disabled", "ExpirationInDays": 1}]) == ()


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("2026-04-14T23:59:59.999", None),
        ("2026-04-16T00:00:00", "GLACIER"),
        ("2027-01-16T00:00:00", "DEEP_ARCHIVE"),
        ("2033-01-14T00:00:00", "delete"),
    ],
)
def test_what_is_due(at: str, found: str | None) -> None:
    rule = {
        "Transitions": [
            {"StorageClass": "GLACIER", "TransitionInDays": 90},
            {"StorageClass": "DEEP_ARCHIVE", "TransitionInDays": 365},
        ],
        "ExpirationInDays": 2555,
    }
    assert outcome(rules(rule), BIG, at) == found


def test_a_date_is_for_whatever_there_is_from_then_on() -> None:
    dated = rules({"ExpirationDate": "2026-03-01T00:00:00+00:00"})
    later = BIG._replace(modified_ms=ms("2026-05-01"))
    assert [outcome(dated, info, at) for info in (BIG, later) for at in ("2026-02-28T23:59", "2026-05-02")] == [
        None, "delete", None, "delete",
    ]  # fmt: skip


# Two rules for one object: which wins.
@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"ExpirationInDays": 10}, to("GLACIER", 10), "delete"),
        ({"ExpirationInDays": 365}, {"ExpirationInDays": 10}, "delete"),
        (to("STANDARD_IA", 30), to("GLACIER", 30), "GLACIER"),
        (to("GLACIER", 10), to("DEEP_ARCHIVE", 10), "DEEP_ARCHIVE"),
        (to("INTELLIGENT_TIERING", 0), to("STANDARD_IA", 30), "INTELLIGENT_TIERING"),
        (to("INTELLIGENT_TIERING", 0), to("GLACIER_IR", 0), "INTELLIGENT_TIERING"),
        (to("INTELLIGENT_TIERING", 0), to("GLACIER", 0), "GLACIER"),
        (to("ONEZONE_IA", 30), to("STANDARD_IA", 30), "ONEZONE_IA"),
        (to("GLACIER", 100), to("STANDARD_IA", 30), "STANDARD_IA"),
    ],
)
def test_of_two_rules_deletion_wins_and_then_the_cheaper_class(
    one: dict[str, Any], other: dict[str, Any], found: str
) -> None:
    for pair in ((one, other), (other, one)):
        assert outcome(rules(*pair), BIG, "2026-03-01") == found


def test_the_earlier_expiration_is_the_one_that_is_told() -> None:
    both = rules({"Id": "late", "ExpirationInDays": 20}, {"Id": "soon", "ExpirationInDays": 10})
    action = lifecycle.decide(both, BIG, ms("2027-01-01"))
    assert action is not None
    assert (action.rule, action.due_ms) == ("soon", ms("2026-01-26"))


@pytest.mark.parametrize("was", WATERFALL)
@pytest.mark.parametrize("target", PREFERENCE)
def test_classes_are_a_waterfall(was: str, target: str) -> None:
    down = {
        "STANDARD": set(PREFERENCE),
        "STANDARD_IA": {"INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"},
        "INTELLIGENT_TIERING": {"ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"},
        "ONEZONE_IA": {"GLACIER", "DEEP_ARCHIVE"},
        "GLACIER_IR": {"GLACIER", "DEEP_ARCHIVE"},
        "GLACIER": {"DEEP_ARCHIVE"},
        "DEEP_ARCHIVE": set(),
    }
    found = outcome(rules(to(target, 30)), BIG._replace(storage_class=was), "2027-01-01")
    assert found == (target if target in down[was] else None)


@pytest.mark.parametrize(
    ("size", "target", "filtered", "minimum", "goes"),
    [
        (128 * KIB, "GLACIER", {}, lifecycle.ALL_128K, True),
        (128 * KIB - 1, "GLACIER", {}, lifecycle.ALL_128K, False),
        (128 * KIB - 1, "STANDARD_IA", {}, lifecycle.ALL_128K, False),
        (0, "GLACIER", {}, VARIES, True),
        (0, "DEEP_ARCHIVE", {}, VARIES, True),
        (128 * KIB - 1, "GLACIER_IR", {}, VARIES, False),
        (128 * KIB - 1, "INTELLIGENT_TIERING", {}, VARIES, False),
        (10, "GLACIER", {"ObjectSizeGreaterThan": 5}, lifecycle.ALL_128K, True),
        (10, "STANDARD_IA", {"ObjectSizeLessThan": 50}, lifecycle.ALL_128K, True),
        (10, "GLACIER", {"Prefix": "events/"}, lifecycle.ALL_128K, False),
    ],
)
def test_small_objects_stay_unless_the_rule_or_the_bucket_says_otherwise(
    size: int, target: str, filtered: dict[str, Any], minimum: str, goes: bool
) -> None:
    info = BIG._replace(size=size)
    found = outcome(rules({**filtered, **to(target, 30)}), info, "2027-01-01", minimum=minimum)
    assert found == (target if goes else None)


def test_small_objects_expire_all_the_same() -> None:
    assert outcome(rules({"ExpirationInDays": 1}), BIG._replace(size=0), "2027-01-01") == "delete"


def test_uploads_that_are_never_finished() -> None:
    found = rules(
        {"Id": "raw", "Prefix": "raw/", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
        {"Id": "expiry", "ExpirationInDays": 1},
    )
    begun = Upload("raw/x", "1", CREATED, 5)
    assert lifecycle.abort(found, begun, ms("2026-01-22T23:59")) is None
    due = lifecycle.abort(found, begun, ms("2026-01-23"))
    assert due is not None
    assert (due.rule, due.due_ms) == ("raw", ms("2026-01-23"))
    assert lifecycle.abort(found, begun._replace(key="x"), ms("2030-01-01")) is None


def test_a_timeline_is_what_decide_says_at_each_midnight() -> None:
    found = rules(
        {**to("STANDARD_IA", 30), "Prefix": "events/"},
        to("GLACIER", 90),
        to("DEEP_ARCHIVE", 365),
        {"ExpirationInDays": 500},
    )
    seen = [
        (at_ms, action.info.storage_class, action.storage_class)
        for at_ms, action in lifecycle.timeline(found, BIG, CREATED, ms("2040-01-01"))
    ]
    walked, info, at_ms = [], BIG, ms("2026-01-16")
    while at_ms < ms("2028-01-01"):
        action = lifecycle.decide(found, info, at_ms)
        if action is not None:
            walked.append((at_ms, info.storage_class, action.storage_class))
            if action.storage_class is None:
                break
            info = info._replace(storage_class=action.storage_class)
        at_ms += DAY_MS
    assert seen == walked
    assert [target for _, _, target in seen] == ["STANDARD_IA", "GLACIER", "DEEP_ARCHIVE", None]


def test_a_forecast_in_objects_bytes_and_money() -> None:
    gib = 2**30
    objects = [
        ObjectInfo("events/a", 3 * gib, CREATED),
        ObjectInfo("events/b", gib, CREATED + 60_000),
        ObjectInfo("events/c", gib, CREATED + DAY_MS),
        ObjectInfo("raw/d", gib, CREATED),
    ]
    found = rules(
        {"Id": "cold", "Prefix": "events/", **to("DEEP_ARCHIVE", 90)},
        {"Id": "raw", "Prefix": "raw/", "ExpirationInDays": 7},
    )
    steps = forecast.forecast(found, objects, CREATED, ms("2026-04-16"))
    told = [(step.day_ms, step.rule, step.storage_class, step.to, step.objects, step.bytes) for step in steps]
    assert told == [
        (ms("2026-01-23"), "raw", "STANDARD", None, 1, gib),
        (ms("2026-04-16"), "cold", "STANDARD", "DEEP_ARCHIVE", 2, 4 * gib),
    ]
    assert [round(step.saved, 6) for step in steps] == [0.023, round(4 * (0.023 - 0.00099), 6)]
    assert [round(step.cost, 6) for step in steps] == [0, 0.0001]
    assert [step.sourced for step in steps] == [True, True]


def test_a_price_without_a_source_is_marked() -> None:
    steps = forecast.forecast(rules(to("GLACIER", 90)), [BIG], CREATED, ms("2027-01-01"))
    assert [step.sourced for step in steps] == [False]
    table = forecast.prices()
    assert {
        price.source for group in (table.storage_gb_month, table.transitions_per_1000) for price in group.values()
    } <= (table.sources.keys())
    assert set(table.transitions_per_1000) == set(PREFERENCE)
    assert set(table.storage_gb_month) == set(WATERFALL)
