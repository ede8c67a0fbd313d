"""The thirteen queries of the Time Series Benchmark Suite's IoT case, on a real session of Spark."""

from support.jobs import needs_java
from support.truck_contract import TruckContract, answers, loaded

__all__ = ["answers", "loaded"]
ENGINE = "spark"


@needs_java
class TestTrucks(TruckContract):
    """Every query, its answer computed independently."""
