"""Values and types as the Redshift Data API spells them."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from headrace.warehouse.fields import Column, column, csv_text, encoder, text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BIGINT", ("int8", 19, 0)),
        ("bigint", ("int8", 19, 0)),
        ("HUGEINT", ("numeric", 38, 0)),
        ("DECIMAL(18,4)", ("numeric", 18, 4)),
        ("numeric(38,9)", ("numeric", 38, 9)),
        ("character varying", ("varchar", 65535, 0)),
        ("character varying(10)", ("varchar", 10, 0)),
        ("double precision", ("float8", 17, 17)),
        ("timestamp without time zone", ("timestamp", 29, 6)),
        ("TIMESTAMP WITH TIME ZONE", ("timestamptz", 35, 6)),
        ("boolean", ("bool", 1, 0)),
        ("INTEGER[]", ("varchar", 65535, 0)),
        ("STRUCT(a INTEGER)", ("varchar", 65535, 0)),
    ],
)
def test_types_have_redshifts_names(kind: str, expected: tuple[str, int, int]) -> None:
    found = column("x", kind)
    assert (found.type, found.precision, found.scale) == expected


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("bigint", 2**63 - 1, {"longValue": 2**63 - 1}),
        ("numeric(38,0)", 2**90, {"stringValue": str(2**90)}),
        ("numeric(10,2)", Decimal("-1.50"), {"stringValue": "-1.50"}),
        ("numeric(38,9)", Decimal("1E-9"), {"stringValue": "0.000000001"}),
        ("double precision", 0.1, {"doubleValue": 0.1}),
        ("double precision", math.nan, {"doubleValue": "NaN"}),
        ("double precision", -math.inf, {"doubleValue": "-Infinity"}),
        ("boolean", False, {"booleanValue": False}),
        ("character varying", "", {"stringValue": ""}),
        ("bigint", None, {"isNull": True}),
    ],
)
def test_values_are_typed_fields(kind: str, given: Any, field: dict[str, Any]) -> None:
    assert encoder([column("x", kind)])([given]) == [field]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2026, 1, 31, 12), "2026-01-31 12:00:00"),  # noqa: DTZ001
        (datetime(2026, 1, 31, 12, 0, 0, 500_000), "2026-01-31 12:00:00.5"),  # noqa: DTZ001
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31 12:00:00+00"),
        (datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2026-01-31 12:00:00+05:30"),
        (date(1, 1, 1), "0001-01-01"),
        (time(1, 2, 3), "01:02:03"),
        (True, "t"),
        (b"\x00\xff", "00ff"),
        ([1, Decimal("1.5")], '[1,"1.5"]'),
    ],
)
def test_text_is_spelled_as_redshift_does(given: Any, expected: str) -> None:
    assert text(given) == expected


def test_csv_quotes_what_has_to_be() -> None:
    columns = [Column("a", "varchar", 1, 0, 1), Column('b"', "varchar", 1, 0, 1)]
    assert csv_text(columns, [("x,y", None), ('"', "z\n")], header=True) == 'a,"b"""\r\n"x,y",\r\n"""","z\n"\r\n'
