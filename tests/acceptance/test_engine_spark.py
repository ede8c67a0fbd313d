"""Spark as a job engine: a real session of `local[*]`."""

import pytest

from support.engine_contract import EngineContract, files, session, started
from support.jobs import needs_java

__all__ = ["files", "session", "started"]
ENGINE = "spark"


@needs_java
@pytest.mark.timeout(900)  # the session starts within the first test
class TestSpark(EngineContract):
    """The contract: DuckDB keeps the same, so the two are equal row by row."""
