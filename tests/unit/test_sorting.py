"""Rows by day, as the archive orders them."""

import duckdb

from headrace.archive import sorting


def test_days_are_told_in_order() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (time TIMESTAMP)")
        connection.execute("INSERT INTO events VALUES ('9999-12-31 23:59'), ('0001-01-01'), ('2026-07-01 12:00')")
        assert sorting.days_of(connection, "events") == ["0001-01-01", "2026-07-01", "9999-12-31"]
