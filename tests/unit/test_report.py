"""Report files: the header, and the check for what is portable."""

from pathlib import Path

import pytest

from headrace.errors import NotFound, UsageError
from headrace.jobs import portable, report
from support.backend import ROOT

HEAD = """\
-- How warm it was.
-- In two lines.
-- period: day
-- keys: device_id, reading, period_start
-- items: hour
-- parameter: gap_s 900
-- parameter: unit 'C'
-- parameter: factor 1.5
"""
SQL = "SELECT device_id, reading, period_start, count(*) AS count FROM readings GROUP BY device_id -- no; end\n;\n"


def test_a_header_says_how_a_report_is_computed() -> None:
    found = report.parse("warm", HEAD + SQL)
    assert found.description == "How warm it was. In two lines."
    assert (found.daily, found.items, found.uses) == (True, "hour", None)
    assert found.keys == ("device_id", "reading", "period_start")
    assert found.parameters == {"gap_s": 900, "unit": "C", "factor": 1.5}
    assert not found.sql.endswith(";")


def test_without_a_header_a_report_is_computed_as_a_whole() -> None:
    assert report.parse("all", "SELECT 1 AS one")[2:] == ("SELECT 1 AS one", (), False, None, None, {}, False)


@pytest.mark.parametrize("path", sorted((ROOT / "reports").glob("*.sql")), ids=lambda path: path.stem)
def test_the_shipped_reports_are_read(path: Path) -> None:
    found = report.load(path)
    assert found.description and found.periodic and report.START in found.keys


def test_a_missing_report(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        report.load(tmp_path / "none.sql")


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("period: day", "period: week", "warm.sql:3: period is 'week'"),
        ("items: hour", "items: minute", "warm.sql:5: items is 'minute'"),
        ("gap_s 900", "gap_s", "warm.sql:6: 'gap_s' is no parameter"),
        ("-- period: day\n", "", "a report with items is computed by day"),
        (", period_start", "", "period_start among its keys"),
    ],
)
def test_a_wrong_header_is_told(was: str, becomes: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        report.parse("warm", HEAD.replace(was, becomes, 1) + SQL)
    assert says in raised.value.problem and raised.value.hint


@pytest.mark.parametrize("used", ["typo", "weekly"])
def test_a_report_uses_another_one_that_is_there(tmp_path: Path, used: str) -> None:
    (tmp_path / "daily.sql").write_text("SELECT 1 AS one")
    path = tmp_path / "weekly.sql"
    path.write_text("-- uses: daily\nSELECT one FROM daily")
    assert report.load(path).uses == "daily"
    path.write_text(f"-- uses: {used}\nSELECT one FROM {used}")
    with pytest.raises(UsageError, match=f"weekly.sql: it uses {used}, which is no other report") as raised:
        report.load(path)
    assert raised.value.hint == "Reports are: daily."


PORTABLE = [
    "WITH a AS (SELECT 1 AS first, 'avg(x); -- ' AS \"filter(\"), b AS (SELECT first FROM a) SELECT * FROM a, b",
    "SELECT count(DISTINCT x), sum(CASE WHEN y IN (1, 2) THEN z END) OVER (PARTITION BY q ORDER BY t) AS last FROM e",
    "SELECT CAST(a AS DECIMAL(38, 9)), CAST(b AS VARCHAR(40)), date_trunc('hour', t) FROM e WHERE EXISTS (SELECT 1)",
    "SELECT a.first, a.filter FROM a -- avg(x), and so on\n/* median(x)\n */ WHERE a.x <> ''",
    "SELECT a FROM b UNION ALL (SELECT a FROM c) ORDER BY a LIMIT 10;",
]
NOT_PORTABLE = [
    ("SELECT sum(x) FILTER (WHERE y) FROM e", 1, "filter", "CASE WHEN"),
    ("SELECT *\nFROM e\nQUALIFY row_number() OVER (ORDER BY t) = 1", 3, "qualify", "subquery"),
    ("SELECT time_bucket(INTERVAL '1 hour', t) FROM e", 1, "time_bucket", "date_trunc"),
    ("SELECT Arg_Max(v, t) FROM e", 1, "arg_max", "row_number()"),
    ("SELECT quantile_cont(v, 0.5) FROM e", 1, "quantile_cont", "row_number()"),
    ("SELECT avg(v) FROM readings", 1, "avg", "sum(amount)"),
    ("SELECT now()", 1, "now", "period"),
    ("SELECT current_date", 1, "current_date", "period"),
    ("SELECT x::DOUBLE FROM e", 1, "::", "CAST("),
    ("SELECT readings->>'x' FROM events", 1, "->>", "readings"),
    ("SELECT `x` FROM e", 1, "`", "double quotes"),
    ("SELECT [1, 2]", 1, "[", "a row each"),
    ("SELECT CAST(x AS STRING) FROM e", 1, "string", "VARCHAR"),
    ("SELECT if(a, b, c) FROM e", 1, "if", "CASE WHEN"),
    ("SELECT sha256(x) FROM e", 1, "sha256", "date_trunc"),
    ("SELECT * FROM read_parquet('x')", 1, "read_parquet", "one of"),
    ("SELECT a FROM b; DROP TABLE b", 1, ";", "one SELECT"),
    ("WITH x AS (DELETE FROM y) SELECT 1", 1, "delete", "changes nothing"),
    ("-- x\n\nCOPY e TO 'f'", None, "", "Begin with SELECT"),
    ("", None, "", "Begin with SELECT"),
]


@pytest.mark.parametrize("sql", PORTABLE)
def test_portable_sql_passes(sql: str) -> None:
    portable.check("r", sql)


@pytest.mark.parametrize(("sql", "line", "what", "instead"), NOT_PORTABLE)
def test_the_rest_is_told_with_its_line_and_what_to_write(sql: str, line: int | None, what: str, instead: str) -> None:
    with pytest.raises(UsageError) as raised:
        portable.check("r", sql)
    if line:
        assert raised.value.problem == f"r.sql:{line}: {what} is not portable."
    assert instead in raised.value.hint
