"""The thirteen queries of the Time Series Benchmark Suite's IoT case, on a real session of Spark."""

import pytest

from support.jobs import needs_java
from support.truck_contract import TruckContract, answers, loaded

__all__ = ["answers", "loaded"]
ENGINE = "spark"


@needs_java
@pytest.mark.timeout(900)  # the session starts within the first test
class TestTrucks(TruckContract):
    """Every query, its answer computed independently."""
