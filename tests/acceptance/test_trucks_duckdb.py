"""The thirteen queries of the Time Series Benchmark Suite's IoT case, on DuckDB."""

from support.truck_contract import TruckContract, answers, loaded

__all__ = ["answers", "loaded"]
ENGINE = "duckdb"


class TestTrucks(TruckContract):
    """Every query, its answer computed independently."""
