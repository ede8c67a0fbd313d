"""Spark bills as computed by hand, and so as DuckDB does; and Java knows the same minor units."""

import pytest

from headrace.billing.money import DIGITS
from headrace.jobs.base import Engine
from headrace.jobs.spark import Spark
from support.bill_contract import BillContract
from support.engine_contract import started
from support.jobs import needs_java

__all__ = ["started"]
ENGINE = "spark"


@needs_java
@pytest.mark.timeout(900)  # the session starts within the first test
class TestSpark(BillContract):
    """The contract."""

    def test_minor_units_are_those_that_java_knows(self, started: Engine) -> None:
        assert isinstance(started, Spark)
        java = started._session._jvm.java.util.Currency
        known = {each.getCurrencyCode(): each.getDefaultFractionDigits() for each in java.getAvailableCurrencies()}
        assert {code: known[code] for code in DIGITS if code in known} == {
            code: digits for code, digits in DIGITS.items() if code in known
        }
        assert len(DIGITS.keys() & known.keys()) > 150
