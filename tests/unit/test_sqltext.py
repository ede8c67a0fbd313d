import pytest

from headrace import sqltext


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT \";\"", ["SELECT ';'", 'SELECT ";"']),
        ("SELECT 1 -- ; no\n; /* ; /* ; */ ; */ ; SELECT 2", ["SELECT 1 -- ; no", "SELECT 2"]),
        ("-- nothing\n;;  ;", []),
        ("SELECT 'it''s; fine'; X", ["SELECT 'it''s; fine'", "X"]),
        ("SELECT 'open ; SELECT 2", ["SELECT 'open ; SELECT 2"]),
        ("SELECT 1 /* open ; SELECT 2", ["SELECT 1 /* open ; SELECT 2"]),
        ("", []),
        ("SELECT 'ü;'; SELECT '；'", ["SELECT 'ü;'", "SELECT '；'"]),
    ],
)  # fmt: skip
def test_statements_end_at_semicolons_outside_of_quotes_and_comments(sql: str, statements: list[str]) -> None:
    assert sqltext.split(sql) == statements


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT 1", True),
        ("with a as (select 1) select * from a", True),
        ("-- hello\n/* there */ SELECT 1; SHOW TABLES", True),
        ("(SELECT 1) UNION (SELECT 2)", True),
        ("SELECT 'DROP TABLE t', \"delete\"", True),
        ("SELECT 1; DROP TABLE t", False),
        ("SELECT a INTO b FROM c", False),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", False),
        ("INSERT INTO t VALUES (1)", False),
        ("CALL f()", False),
        ("UNLOAD ('SELECT 1') TO 's3://x'", False),
        ("'SELECT'", False),
        (r"SELECT '\' ; DROP TABLE t; --'", False),
        ("/* SELECT */ DELETE FROM t", False),
        ("1", False),
        ("ＳＥＬＥＣＴ 1", False),
        ("", True),
    ],
)
def test_what_only_reads(sql: str, reads: bool) -> None:
    assert sqltext.reads_only(sql) is reads


@pytest.mark.parametrize(
    ("sql", "complete"),
    [
        ("SELECT 1;", True),
        ("SELECT 1", False),
        ("SELECT ';", False),
        ("SELECT 1; -- done", True),
        ("SELECT 1 /* ; */", False),
        ("  ", True),
        ("-- words", True),
    ],
)
def test_when_a_text_is_complete(sql: str, complete: bool) -> None:
    assert sqltext.is_complete(sql) is complete
