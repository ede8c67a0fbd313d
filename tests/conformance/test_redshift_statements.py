"""Statements that write, and COPY and UNLOAD: translated, and the writing ones run."""

from typing import Any

import pytest

from headrace.warehouse import dialect
from headrace.warehouse.dialect import Copy, Refused, Unload

SCHEMA = {"t": {"a": "INTEGER", "b": "VARCHAR", "c": "DECIMAL(10,2)"}, "u": {"a": "INTEGER"}}


@pytest.fixture
def connection() -> Any:
    duckdb = pytest.importorskip("duckdb")
    connected = duckdb.connect()
    connected.execute("CREATE TABLE t (a INTEGER, b VARCHAR, c DECIMAL(10,2)); CREATE TABLE u (a INTEGER)")
    connected.execute("INSERT INTO t VALUES (1, 'x', 1.50), (2, NULL, NULL)")
    yield connected
    connected.close()


@pytest.mark.parametrize(
    ("sql", "action", "target", "rows"),
    [
        ("INSERT INTO u VALUES (3), (NULL)", "INSERT", "u", [(3,), (None,)]),
        ("insert into U (A) select a + 1 from T", "INSERT", "u", [(2,), (3,)]),
        ("INSERT INTO t (b, a) VALUES ('it''s', '7')", "INSERT", "t", [(1, "x"), (2, None), (7, "it's")]),
        ("INSERT INTO public.t VALUES (9)", "INSERT", "t", [(1, "x"), (2, None), (9, None)]),
        ("INSERT INTO u SELECT 1 UNION ALL SELECT NULL", "INSERT", "u", [(1,), (None,)]),
        ("UPDATE t SET a = a * 10, b = NULL WHERE b = 'x '", "UPDATE", "t", [(2, None), (10, None)]),
        ("DELETE FROM t WHERE c IS NULL", "DELETE", "t", [(1, "x")]),
        ("DELETE FROM t WHERE a IN (SELECT 1)", "DELETE", "t", [(2, None)]),
        ("DELETE FROM t", "DELETE", "t", []),
        ("TRUNCATE TABLE t", "TRUNCATE", "t", []),
        ("TRUNCATE t", "TRUNCATE", "t", []),
        ("CREATE TABLE new AS SELECT b, a FROM t WHERE a = 1", "CREATE TABLE", "new", [("x", 1)]),
        ("SELECT a INTO new FROM t ORDER BY a LIMIT 1", "CREATE TABLE", "new", [(1,)]),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", "CREATE TABLE", "t", [(1, "x"), (2, None)]),
        ("CREATE TABLE new (a INT NOT NULL, b VARCHAR(3) ENCODE zstd) DISTSTYLE EVEN SORTKEY (a, b)", "CREATE TABLE", "new", []),
        ("CREATE TABLE new DISTKEY(a) SORTKEY(a) AS (SELECT 1 AS a)", "CREATE TABLE", "new", [(1,)]),
        ("CREATE OR REPLACE VIEW new AS SELECT a FROM t WHERE a > 1", "CREATE VIEW", "new", [(2,)]),
    ],
)  # fmt: skip
def test_a_write_does_what_it_says(
    connection: Any, sql: str, action: str, target: str, rows: list[tuple[Any, ...]]
) -> None:
    (statement,) = dialect.translate(sql, SCHEMA)
    assert (statement.kind, statement.action, statement.target) == ("write", action, target)
    connection.execute(statement.sql)
    found = connection.execute(f"SELECT * FROM {target} ORDER BY ALL").fetchall()
    assert [row[:2] for row in found] == rows


def test_a_varchar_holds_as_many_bytes_as_it_says(connection: Any) -> None:
    (statement,) = dialect.translate("CREATE TABLE new (v VARCHAR(3))", SCHEMA)
    connection.execute(statement.sql)
    connection.execute("INSERT INTO new VALUES ('abc')")
    (statement,) = dialect.translate("CREATE TABLE unsized (v VARCHAR)", SCHEMA)
    connection.execute(statement.sql)
    connection.execute("INSERT INTO unsized VALUES (repeat('a', 256))")
    with pytest.raises(Exception, match="CHECK"):
        connection.execute("INSERT INTO unsized VALUES (repeat('a', 257))")
    with pytest.raises(Exception, match="CHECK"):
        connection.execute("INSERT INTO new VALUES ('ñññ')")


def test_dropping(connection: Any) -> None:
    (statement,) = dialect.translate("DROP TABLE t", SCHEMA)
    assert (statement.kind, statement.action, statement.target) == ("write", "DROP TABLE", "t")
    connection.execute(statement.sql)
    (statement,) = dialect.translate("DROP TABLE IF EXISTS nowhere", SCHEMA)
    connection.execute(statement.sql)
    with pytest.raises(Refused, match="no table nowhere"):
        dialect.translate("DROP TABLE nowhere", SCHEMA)


def test_copy_is_read() -> None:
    (statement,) = dialect.translate(
        "COPY public.t (a, B) FROM 's3://archive/events/' IAM_ROLE 'arn:aws:iam::0:role/x' FORMAT AS CSV IGNOREHEADER 1 GZIP",
        SCHEMA,
    )
    assert (statement.kind, statement.target) == ("copy", "t")
    options = {"IGNOREHEADER": "1", "GZIP": None}
    assert statement.copy == Copy("t", ("a", "b"), "s3://archive/events/", "CSV", "arn:aws:iam::0:role/x", options)
    (statement,) = dialect.translate("copy t from 's3://bucket/x' iam_role default format json 'auto'", SCHEMA)
    assert statement.copy == Copy("t", (), "s3://bucket/x", "JSON", "default", {})


def test_unload_is_read_and_its_query_translated(connection: Any) -> None:
    (statement,) = dialect.translate(
        "UNLOAD ('SELECT a / 2 AS half, b FROM t WHERE b = ''x''') TO 's3://bucket/out_' IAM_ROLE default"
        " PARQUET ALLOWOVERWRITE PARALLEL OFF",
        SCHEMA,
    )
    assert (statement.kind, statement.tables) == ("unload", ("t",))
    query = "SELECT a / 2 AS half, b FROM t WHERE b = 'x'"
    options = {"ALLOWOVERWRITE": None, "PARALLEL": "OFF"}
    assert statement.unload == Unload(query, "s3://bucket/out_", "PARQUET", "default", options)
    assert connection.execute(statement.sql).fetchall() == [(0, "x")]


@pytest.mark.parametrize("sql", ["BEGIN", "BEGIN READ ONLY", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "SET query_group TO 'x'"])  # fmt: skip
def test_what_belongs_to_the_session_runs_nothing(sql: str) -> None:
    (statement,) = dialect.translate(sql, SCHEMA)
    assert (statement.kind, statement.sql) == ("session", "")


def test_tables_that_are_read_are_told() -> None:
    (statement,) = dialect.translate(
        "WITH x AS (SELECT a FROM u) SELECT * FROM x, T WHERE x.a IN (SELECT a FROM u)", SCHEMA
    )
    assert statement.tables == ("t", "u")
