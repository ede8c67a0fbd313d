"""Tariffs and tenants: what is read, whose a device is at a moment, and that every fault is told with its line."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from headrace import rpc
from headrace.billing import arithmetic, files, money, tariffs, tenants
from headrace.billing.csvfile import SHOWN, FaultyFile
from headrace.billing.tariffs import OPEN_END, Tier
from support.backend import ROOT

TARIFFS = """\
tariff,valid_from,currency,meter,above,unit_price,free,minimum
basic,2026-01-01,EUR,events,0,0.001,10000,5
basic,2026-01-01,EUR,events,100000,0.0005,,
basic,2026-01-01,EUR,device_months,,0.25,,5.00
basic,2026-11-16T12:00:00+01:00,EUR,events,0,0.002,,
yen,2026-01-01,JPY,bytes,0,0.000000000001,,
"""
TENANTS = """\
device_id,tenant,tariff,valid_from
pump-1,acme,basic,2026-01-01
pump-1,globex,yen,2026-11-17T09:30:00.000001Z
pump-1,acme,basic,2026-11-17 18:00
pump-1,,,2026-12-01
pump-2,acme,basic,2026-02-01
"""
HEAD_TARIFFS, HEAD_TENANTS = (text.splitlines()[0] for text in (TARIFFS, TENANTS))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_tariffs_are_versions_of_tiers() -> None:
    found = tariffs.parse(TARIFFS.encode())
    first, second = found.versions["basic"]
    assert (first.valid_from, first.valid_to) == (at("2026-01-01"), at("2026-11-16T11:00"))
    assert second.valid_to == OPEN_END and second.minimum == 0 and set(second.prices) == {"events"}
    assert first.minimum == 5 and first.currency == "EUR" and first.line == 2
    events = first.prices["events"]
    assert events.free == 10_000
    assert events.tiers == (Tier(0, 100_000, Decimal("0.001")), Tier(100_000, None, Decimal("0.0005")))
    assert found.at("basic", at("2026-11-16T11:00")) == second
    assert found.at("basic", at("2025-12-31")) is None and found.at("none", at("2026-01-01")) is None


def test_a_device_is_whose_it_is_at_that_microsecond() -> None:
    found = tenants.parse(TENANTS.encode(), tariffs.parse(TARIFFS.encode()))

    def owner(device: str, time: str) -> str | None:
        held = found.at(device, at(time))
        return held.tenant if held else None

    assert owner("pump-1", "2025-12-31T23:59:59.999999") is None
    assert owner("pump-1", "2026-01-01") == "acme"
    assert owner("pump-1", "2026-11-17T09:30:00") == "acme"
    assert owner("pump-1", "2026-11-17T09:30:00.000001") == "globex"
    assert owner("pump-1", "2026-11-17T17:59:59.999999") == "globex"
    assert owner("pump-1", "2026-11-17T18:00") == "acme"
    assert owner("pump-1", "2026-12-01") is None and owner("pump-2", "9000-01-01") == "acme"
    assert owner("pump-3", "2026-11-01") is None


def test_byte_order_mark_line_ends_column_order_and_blank_lines_do_not_matter() -> None:
    rearranged = "\ufeffvalid_from,device_id,tariff,tenant\r\n\r\n2026-01-01,pump-1,basic,acme\r\n"
    found = tenants.parse(rearranged.encode(), tariffs.parse(TARIFFS.encode()))
    assert [each[:3] for each in found.all()] == [("pump-1", "acme", "basic")]
    assert next(found.all()).line == 3


FAULTY_TARIFFS = [
    ("basic,2026-01-01,EUR,events,0,-1,,", 2, "unit_price is '-1', a negative number.", "decimal point"),
    ("basic,2026-01-01,EUR,events,0,1e3,,", 2, "'1e3', no decimal number", "0.002"),
    ('basic,2026-01-01,EUR,events,0,"0,5",,', 2, "'0,5', no decimal number", "decimal point"),
    ("basic,2026-01-01,EUR,events,0,NaN,,", 2, "no decimal number", ""),
    ("basic,2026-01-01,EUR,events,0,,,", 2, "unit_price is ''", ""),
    ("basic,2026-01-01,EUR,events,0,10000000,,", 2, "too many digits", "7 digits before the point and 12 behind"),
    ("basic,2026-01-01,EUR,events,0,0.0000000000001,,", 2, "too many digits", "12 behind"),
    (f"basic,2026-01-01,EUR,events,0,1,{'9' * 400},", 2, "too many digits", "at most 18 digits"),
    ("basic,2026-01-01,EUR,events,0.5,1,,", 2, "above is '0.5'", "whole number"),
    ("basic,2026-01-01,EUR,events,5,1,,", 2, "there is a gap: events of 'basic' have no price from 0 to 5", "above 0"),
    (
        "a,2026-01-01,EUR,events,0,1,,\na,2026-01-01,EUR,events,0,2,,",
        3,
        "events of 'a' above 0 have a price in line 2 already",
        "tier",
    ),
    ("a,2026-01-01,EUR,events,0,1,,\na,2026-01-01T00:00Z,EUR,events,0,1,,", 3, "the same as line 2", "Delete one"),
    ("a,2026-01-01,EUR,events,0,1,5,\na,2026-01-01,EUR,events,9,2,6,", 3, "free is 6 here and 5 in line 2", "meter"),
    ("a,2026-01-01,EUR,events,0,1,,1\na,2026-01-01,EUR,bytes,0,2,,2", 3, "minimum is 2 here and 1 in line 2", "once"),
    (
        "a,2026-01-01,EUR,events,0,1,,\na,2027-01-01,USD,events,0,1,,",
        3,
        "in USD here, and in EUR in line 2",
        "Keep one",
    ),
    ("basic,2026-01-01,EUR,,0,1,,", 2, "meter is empty", "events, bytes, device_months"),
    ("basic,2026-01-01,EUR,Events,0,1,,", 2, "meter is 'Events'", "events, bytes, device_months"),
    ("basic,2026-01-01,eur,events,0,1,,", 2, "currency is 'eur'", "Write EUR."),
    ("basic,2026-01-01,XXX,events,0,1,,", 2, "minor unit is not known", "ISO 4217"),
    ("basic,2026-01-01,JPY,events,0,1,,1.5", 2, "minimum is 1.5, but JPY has 0 decimals", "can be paid"),
    ("basic,2026-13-01,EUR,events,0,1,,", 2, "valid_from is '2026-13-01', which no calendar has", "2026-11-01T12"),
    ("basic,01.02.2026,EUR,events,0,1,,", 2, "no day and no moment", "2026-11-01"),
    ("basic,2026-01-01T00:00:00.0000001Z,EUR,events,0,1,,", 2, "no day and no moment", "2026-11-01"),
    ("basic,0001-01-01T00:00:00+14:00,EUR,events,0,1,,", 2, "which no calendar has", ""),
    (",2026-01-01,EUR,events,0,1,,", 2, "tariff is empty", "name of the tariff"),
    ("basic ,2026-01-01,EUR,events,0,1,,", 2, "with space around it", "Write basic."),
    ("ba\x1bsic,2026-01-01,EUR,events,0,1,,", 2, "control character", ""),
    ("basic,2026-01-01,EUR,events,0,1", 2, "there are 6 values, not 8", "Write one for each of"),
    ('basic,2026-01-01,EUR,events,0,"1,,', 2, "can't be read as CSV", "in quotes"),
]


@pytest.mark.parametrize(("rows", "line", "problem", "hint"), FAULTY_TARIFFS, ids=[each[2] for each in FAULTY_TARIFFS])
def test_faults_of_tariffs(rows: str, line: int, problem: str, hint: str) -> None:
    with pytest.raises(FaultyFile) as raised:
        tariffs.parse(f"{HEAD_TARIFFS}\n{rows}\n".encode(), "t.csv")
    (fault,) = raised.value.faults
    assert fault.line == line and problem in fault.problem and hint in fault.hint
    assert f"t.csv:{line}: " in raised.value.problem


FAULTY_TENANTS = [
    ("pump-1,acme,gold,2026-01-01", 2, "there is no tariff 'gold'", "tariffs.csv has: basic, yen."),
    ("pump-1,acme,,2026-01-01", 2, "the tenant 'acme' has no tariff", "Write the tariff"),
    ("pump-1,,basic,2026-01-01", 2, "tenant is empty", ""),
    ("pump-1,acme,basic,", 2, "valid_from is ''", ""),
    (",acme,basic,2026-01-01", 2, "device_id is empty", ""),
    ("d" * 2049 + ",acme,basic,2026-01-01", 2, "2,049 bytes", ""),
    ("pump-1,acme,basic,2025-12-31", 2, "there is a gap", "Let the tariff begin earlier, or this row later."),
    ("pump-1,acme,basic,2026-01-01\npump-1,acme,basic,2026-01-01", 3, "the same as line 2", "Delete one"),
    ("p,acme,basic,2026-01-01\np,globex,basic,2026-01-01T00:00Z", 3, "another row from this moment on", "moment"),
    (
        "a,acme,basic,2026-01-01\nb,acme,yen,2026-01-01",
        3,
        "pays in JPY here, and in EUR in line 2",
        "Keep one currency",
    ),
]


@pytest.mark.parametrize(("rows", "line", "problem", "hint"), FAULTY_TENANTS, ids=[each[2] for each in FAULTY_TENANTS])
def test_faults_of_tenants(rows: str, line: int, problem: str, hint: str) -> None:
    with pytest.raises(FaultyFile) as raised:
        tenants.parse(f"{HEAD_TENANTS}\n{rows}\n".encode(), tariffs.parse(TARIFFS.encode()))
    (fault,) = raised.value.faults
    assert fault.line == line and problem in fault.problem and hint in fault.hint


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (HEAD_TARIFFS.replace(",", ";").encode(), "separated by semicolons"),
        (b"basic,2026-01-01,EUR,events,0,1,,\n", "there is no header"),
        (b"\n\n", "there is no header"),
        (HEAD_TARIFFS.replace("free,", "").encode(), "the header lacks free"),
        ((HEAD_TARIFFS + ",vat").encode(), "has 'vat' where it should not"),
        (HEAD_TARIFFS.encode("utf-16"), "not UTF-8, but UTF-16"),
        (HEAD_TARIFFS.encode("utf-16-le"), "not UTF-8"),
        (HEAD_TARIFFS.encode() + b"\nb\xfcro,2026-01-01,EUR,events,0,1,,", "byte 0xfc is not UTF-8"),
    ],
)
def test_faults_of_the_file(data: bytes, problem: str) -> None:
    with pytest.raises(FaultyFile, match=problem):
        tariffs.parse(data)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(FaultyFile) as raised:
        tariffs.parse(f"{HEAD_TARIFFS}\n{chr(10).join(['x,y,EUR,events,0,-1,,'] * 30)}".encode())
    assert len(raised.value.faults) == 60
    assert f"and {60 - SHOWN} more" in raised.value.problem and raised.value.exit_code == 2
    assert rpc.describe(raised.value)[0] == "UsageError", "so that nobody tries it again"


def test_names_may_hold_what_would_be_code_elsewhere() -> None:
    names = ("../../x", "<script>alert(1)</script>", "'; DROP TABLE bills; --", "Łódź \u2028"[:4])
    rows = "".join(f'd{number},"{name}",basic,2026-01-01\n' for number, name in enumerate(names))
    found = tenants.parse(f"{HEAD_TENANTS}\n{rows}".encode(), tariffs.parse(TARIFFS.encode()))
    assert [each.tenant for each in found.all()] == list(names)


def test_the_shipped_files_are_valid_and_empty() -> None:
    book = files.load(ROOT / "reports")
    assert not book.tariffs.versions and not book.tenants.assignments


def test_files_of_a_project(tmp_path: Path) -> None:
    assert files.load(tmp_path).digest == files.load(ROOT / "reports").digest
    (tmp_path / "tariffs.csv").write_text(TARIFFS)
    (tmp_path / "tenants.csv").write_text(TENANTS)
    first = files.load(tmp_path)
    (tmp_path / "tenants.csv").write_text(TENANTS.replace("pump-1,acme", "\npump-1,acme", 1))
    assert files.load(tmp_path).digest == first.digest, "nothing else is meant"
    (tmp_path / "tenants.csv").write_text(TENANTS.replace("18:00", "18:01"))
    assert files.load(tmp_path).digest != first.digest


@pytest.mark.parametrize(
    ("amount", "digits", "expected"),
    [
        ("0.005", 2, "0.01"), ("-0.005", 2, "-0.01"), ("0.0049999", 2, "0.00"), ("-0.0049999", 2, "0.00"),
        ("0.5", 0, "1"), ("-0.5", 0, "-1"), ("1.5", 0, "2"), ("2.5", 0, "3"), ("0.0005", 3, "0.001"),
    ],
)  # fmt: skip
def test_amounts_are_rounded_half_away_from_zero(amount: str, digits: int, expected: str) -> None:
    assert money.rounded(Decimal(amount), digits) == Decimal(expected)


def test_amounts_as_text() -> None:
    assert [money.text(Decimal("1234.5"), code) for code in ("EUR", "KWD", "JPY")] == [
        "1,234.50",
        "1,234.500",
        "1,234.5",
    ]
    assert money.text(Decimal("-12.5000"), "EUR") == "-12.50" and money.text(Decimal("1200"), "JPY") == "1,200"


def test_the_guides_files_are_right() -> None:
    guide = (ROOT / "docs" / "billing.md").read_text()
    blocks = re.findall(r"```csv\n(.*?)```", guide, re.DOTALL)
    (prices,) = (block for block in blocks if block.startswith(HEAD_TARIFFS))
    (held,) = (block for block in blocks if block.startswith(HEAD_TENANTS))
    found = tariffs.parse(prices.encode())
    assert len(list(tenants.parse(held.encode(), found).all())) == 3
    (first, _) = found.versions["basic"]
    exact = sum(part.amount for part in arithmetic.parts(first.prices["events"], 3629))
    assert exact == Decimal("4.629") and "so EUR 4.63" in guide
