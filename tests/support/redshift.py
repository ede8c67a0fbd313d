"""Redshift's SQL executed by DuckDB, a batch in a transaction, COPY from manifests in moto's S3."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from headrace.archive.base import Bucket
from headrace.archive.copies import Copies
from headrace.warehouse import dialect


class Redshift:
    """A database that is empty at first. COPY goes by position, and refuses another number of columns, as there."""

    def __init__(self, bucket: Bucket, name: str, folder: Path) -> None:
        self._connection = duckdb.connect()
        for setting in dialect.SETTINGS:
            self._connection.execute(setting)
        self._copies = Copies(bucket, folder)
        self._url = f"s3://{name}/"

    def batch(self, sqls: Sequence[str]) -> None:
        """Execute statements as one transaction: all, or none."""
        self._connection.begin()
        try:
            for sql in sqls:
                self._statement(sql)
        except Exception:
            self._connection.rollback()
            raise
        self._connection.commit()

    def rows(self, select: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(select).fetchall()

    def _statement(self, sql: str) -> None:
        if sql.startswith("ALTER TABLE events ADD COLUMN "):  # which the dialect leaves to Headrace itself
            self._connection.execute(sql)
            return
        (statement,) = dialect.translate(sql, self._schema())
        if statement.copy is None:
            self._connection.execute(statement.sql)
            return
        assert "MANIFEST" in statement.copy.options and statement.copy.format.upper() == "PARQUET"
        manifest = json.loads(self._object(statement.copy.source).read_bytes())
        paths = []
        for entry in manifest["entries"]:
            paths.append(str(path := self._object(entry["url"])))
            assert entry["mandatory"] is True and path.stat().st_size == entry["meta"]["content_length"]
        self._connection.execute(f"INSERT INTO {statement.copy.table} SELECT * FROM read_parquet({paths})")

    def _object(self, url: str) -> Path:
        assert url.startswith(self._url)
        return Path(self._copies.location(url.removeprefix(self._url)))

    def _schema(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        asked = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        for table, column, kind in self._connection.execute(f"{asked} ORDER BY column_index").fetchall():
            found.setdefault(table, {})[column] = kind
        return found
