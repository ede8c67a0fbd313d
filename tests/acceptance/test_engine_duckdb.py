"""DuckDB as a job engine."""

from pathlib import Path

import duckdb
import pytest

from headrace.archive import columns
from headrace.errors import HeadraceError, UsageError
from support.engine_contract import DAYS, EngineContract, files, prepare, rows, session, started
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


def test_events_of_ten_thousand_members_take_little_memory(tmp_path: Path) -> None:
    columns_sql = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.schema(()).items())
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE ('wide' AS device_id, 'w' || n AS id, TIMESTAMP '{DAYS[0]}' AS time,"
            " (SELECT json_group_object('member ' || m, n + m / 8) FROM range(10000) AS t(m)) AS readings)"
            f" FROM (SELECT {columns_sql}), range(4) AS t(n)) TO '{tmp_path}/wide.parquet'"
        )
    session = engine("duckdb", tmp_path / "tmp", memory_mb=200)
    prepare(session, [str(tmp_path / "wide.parquet")], tmp_path)
    found = rows(session, tmp_path, "SELECT reading, count(*) AS n FROM readings GROUP BY reading", order=("reading",))
    assert len(found) == 10_000 and {row["n"] for row in found} == {4}
    session.close()
