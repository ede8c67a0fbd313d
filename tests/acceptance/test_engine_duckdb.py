"""DuckDB as a job engine."""

from pathlib import Path

import pytest

from headrace.errors import HeadraceError, UsageError
from support.engine_contract import EngineContract, files, prepare, session, started
from support.jobs import engine

__all__ = ["files", "session", "started"]
ENGINE = "duckdb"


class TestDuckDB(EngineContract):
    """The contract."""


def test_sql_that_eats_memory_ends_with_a_message(files: list[str], tmp_path: Path) -> None:
    session = engine("duckdb", tmp_path / "tmp", memory_mb=40)
    prepare(session, files, tmp_path)
    with pytest.raises(HeadraceError, match="more memory than it may have") as raised:
        session.write(
            "SELECT max(a.id || b.id || c.id) AS m, count(DISTINCT a.id || b.id || c.id) AS n"
            " FROM events a CROSS JOIN events b CROSS JOIN events c",
            tmp_path / "out",
            order=(),
        )
    assert "memory_mb" in raised.value.hint
    session.close()


def test_a_view_that_is_not_there_is_named_with_those_that_are(files: list[str], tmp_path: Path) -> None:
    session = engine("duckdb", tmp_path / "tmp")
    prepare(session, files, tmp_path)
    with pytest.raises(UsageError, match=r"There is no view reading\.") as raised:
        session.write("SELECT * FROM reading", tmp_path / "out", order=())
    hint = raised.value.hint
    assert hint.startswith("A report reads: devices, events, ") and "readings" in hint
    session.close()
