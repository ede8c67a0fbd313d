"""DuckDB bills as computed by hand."""

from support.bill_contract import BillContract
from support.engine_contract import started

__all__ = ["started"]
ENGINE = "duckdb"


class TestDuckDB(BillContract):
    """The contract."""
