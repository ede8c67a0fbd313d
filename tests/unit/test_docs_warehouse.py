"""docs/warehouse.md says what there is: tables and columns as `tables.sql` has them, settings, queries that run."""

import re
from collections.abc import Iterator

import msgspec
import pytest

from headrace.warehouse import dialect, tables
from headrace.warehouse.engine import Engine, Limits
from headrace.warehouse.server import Settings
from support.backend import ROOT

TEXT = (ROOT / "docs" / "warehouse.md").read_text()
QUERIES = re.findall(r"^### \d+\. (.*?)\n\n```sql\n(.*?)\n```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"), Limits(memory_mb=100), dialect.SETTINGS)
    yield made
    made.close()


@pytest.mark.parametrize("table", tables.tables().values(), ids=tables.tables())
def test_every_column_is_described(table: tables.Table) -> None:
    rows = [f"| `{each.name}` | {each.type} | {each.description} |" for each in table.columns]
    assert (
        "\n".join(
            [f"### {table.name}\n\n{table.description}\n\n| column | type | what it holds |\n|---|---|---|", *rows]
        )
        in TEXT
    )


def test_every_setting_is_described() -> None:
    for field in msgspec.structs.fields(Settings):
        assert f"| `HEADRACE_WAREHOUSE_{field.name.upper()}` | {field.default:.0f} |" in TEXT


def test_there_are_twenty_queries() -> None:
    assert len(QUERIES) == 20


@pytest.mark.parametrize("sql", [sql for _, sql in QUERIES], ids=[name for name, _ in QUERIES])
def test_every_query_runs(engine: Engine, sql: str) -> None:
    [statement] = dialect.translate(sql, engine.schema())
    with engine.session() as session:
        session.run(statement.sql)
        assert len(session.columns()) == len(statement.columns)
