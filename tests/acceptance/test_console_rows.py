"""What the console's pages make of answers: rows, facts, charts."""

from typing import Any

import pytest

from headrace.console import bills_page, device_page, fleet, query, result_chart, sql_page
from headrace.console.query import Result, Value

TIME = ("day", "timestamp")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"longValue": 3}, 3),
        ({"doubleValue": 1.5}, 1.5),
        ({"stringValue": "9.99"}, "9.99"),
        ({"booleanValue": False}, False),
        ({"isNull": True}, None),
    ],
)
def test_fields(field: dict[str, object], value: object) -> None:
    assert query.value_of(field) == value


def test_numbers_over_time_are_lines() -> None:
    rows: list[list[Value]] = [["2026-01-02 00:00:00", 3, "1.5"], ["2026-01-01 00:00:00", 2, None]]
    chart = result_chart.options([TIME, ("events", "int8"), ("amount", "numeric")], rows)
    assert chart is not None
    events, amounts = chart["series"]
    assert (events["name"], [value for _, value in events["data"]]) == ("events", [2, 3])
    assert [value for _, value in amounts["data"]] == [1.5]
    assert "legend" in chart


def test_a_text_beside_the_time_splits_the_lines() -> None:
    rows: list[list[Value]] = [["2026-01-01", "a", 1], ["2026-01-01", "b", 2], ["2026-01-02", "a", 3]]
    chart = result_chart.options([TIME, ("device_id", "varchar"), ("mean", "float8")], rows)
    assert chart is not None
    assert {each["name"]: len(each["data"]) for each in chart["series"]} == {"a": 2, "b": 1}


def test_numbers_beside_names_are_bars() -> None:
    chart = result_chart.options([("device_id", "varchar"), ("events", "int8")], [["<b>a</b>", 1], [None, 2]])
    assert chart is not None
    assert (chart["xAxis"]["data"], chart["series"][0]["data"]) == (["<b>a</b>", "null"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ([("n", "int8")], [[1], [2]]),
        ([("a", "int8"), ("b", "int8")], [[1, 2], [3, 4]]),
        ([("a", "varchar"), ("b", "varchar")], [["x", "y"], ["x", "z"]]),
        ([("a", "varchar"), ("b", "bool")], [["x", True], ["y", False]]),
        ([("a", "varchar"), ("b", "int8")], [["x", 1]]),
        ([("a", "varchar"), ("b", "int8")], [[f"{n}", n] for n in range(100)]),
        ([TIME, ("d", "varchar"), ("n", "int8")], [["2026-01-01", f"d{n}", n] for n in range(50)]),
    ],
)
def test_what_is_not_drawn(columns: list[tuple[str, str]], rows: list[list[Value]]) -> None:
    assert result_chart.options(columns, rows) is None


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (3, "3"), ("a\x00b", "a\\x00b"), ("x" * 400, "x" * 300 + "…")]
)
def test_cells(value: str | int | None, text: str) -> None:
    assert sql_page.cell_text(value) == text


def test_what_a_result_says() -> None:
    assert sql_page._note(Result([], [], 0, 3.2)) == "Done in 3 ms; it gives no rows."
    assert sql_page._note(Result([("a", "int8")], [[1]], 1, 2500.0)) == "1 row in 2 s."
    assert sql_page._note(Result([("a", "int8")], [[1]], 5000, 12)) == "The first 1 of 5,000 rows in 12 ms."


def test_a_device_with_any_name_has_a_place() -> None:
    assert fleet.device_url("a/b?c=d&e ü'\"") == "/device?id=a%2Fb%3Fc%3Dd%26e%20%C3%BC%27%22"


def test_rows_of_the_fleet() -> None:
    device = {"device_id": "a\nb", "labels": {"site": "x\x00"}, "registered_at": None, "registered_by": None}
    row = fleet.device_row(device, 0)
    assert (row["device_id"], row["labels"], row["registered"], row["by"]) == ("a\nb", "site=x\\x00", "–", "–")


def test_facts_of_a_device() -> None:
    known = {
        "registered_at": "2026-01-01T00:00:00Z", "registered_by": "command", "labels": {"a": "b"}, "tenant": "acme",
        "tariff": "basic", "events": 10_000, "more_events": True,
        "last_event": {"time": "2026-01-01T00:00:01Z", "readings": {"heat": 3}},
    }  # fmt: skip
    assert device_page.facts(known, 1_767_225_660_000) == [
        "Registered by a command, 60 s ago",
        "a=b",
        "Tenant acme, tariff basic",
        "more than 10,000 events in the table",
        "Last event at 2026-01-01T00:00:01Z: heat 3",
    ]
    assert device_page.facts({"events": 0}, 0) == ["Not registered", "0 events in the table"]
    known["last_event"] = {"time": "2026-01-01T00:00:01Z", "readings": {}}
    assert device_page.facts(known, 0)[-1] == "Last event at 2026-01-01T00:00:01Z: without readings"


def test_usage_of_a_device() -> None:
    used = [{"tenant": "", "events": 1, "bytes": 10}, {"tenant": "acme", "events": 2, "bytes": 2000}]
    assert device_page.usage_lines("2026-01", used) == [
        "No tenant: 1 event, 10 B of event data",
        "acme: 2 events, 2.0 kB of event data",
    ]
    assert "headrace jobs run bills" in device_page.usage_lines("2026-01", [])[0]


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (1234.5, "1,234.5"), ("70.500000000", "70.5"), (None, "–"), ("x", "x")]
)
def test_numbers(value: object, text: str) -> None:
    assert device_page.number_text(value) == text


def test_a_months_state() -> None:
    assert bills_page.money({"EUR": "1.20", "CHF": "3.00"}) == "3.00 CHF, 1.20 EUR"
    assert bills_page.money({}) == "–"
    note = bills_page.month_note({"state": "provisional", "unbilled": {"devices": 1, "events": 2, "bytes": 3}})
    assert note == "Not closed: it still changes. 2 events of 1 device without a tenant are on no bill."
    assert bills_page.month_note({"state": "closed", "closed_at": "T"}) == "Closed T."


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"tariff": "basic", "meter": "events", "quantity": 3629}, "basic: events, 3,629: 4.63 EUR"),
        ({"tariff": "", "meter": "minimum", "quantity": 0}, "minimum: 4.63 EUR"),
        (
            {"tariff": "basic", "meter": "bytes", "quantity": -2, "adjusts": "2026-10"},
            "basic: bytes, adjusts 2026-10, -2: 4.63 EUR",
        ),
        ({"tariff": "", "meter": "minimum", "quantity": 0, "adjusts": "2026-10"}, "minimum, adjusts 2026-10: 4.63 EUR"),
    ],
)
def test_a_bills_line(line: dict[str, Any], text: str) -> None:
    assert bills_page.line_text({"amount": "4.63", "currency": "EUR", **line}) == text
