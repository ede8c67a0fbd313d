"""Whatever is called, in whatever place: a function is on the list, or it is refused by its name."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.warehouse import dialect
from headrace.warehouse.dialect import Refused
from headrace.warehouse.redshift.calls import ALLOWED

SCHEMA = {"t": {"a": "INTEGER", "b": "VARCHAR"}}
# Words that stand before a bracket in SQL without being a function.
WORDS = frozenset(
    [
        "all",
        "and",
        "any",
        "approximate",
        "as",
        "between",
        "by",
        "case",
        "cast",
        "char",
        "convert",
        "cross",
        "distinct",
        "else",
        "end",
        "except",
        "exclude",
        "exists",
        "extract",
        "false",
        "from",
        "full",
        "group",
        "having",
        "if",
        "in",
        "inner",
        "intersect",
        "interval",
        "into",
        "is",
        "join",
        "left",
        "like",
        "limit",
        "minus",
        "natural",
        "not",
        "null",
        "on",
        "or",
        "order",
        "outer",
        "over",
        "position",
        "qualify",
        "right",
        "rollup",
        "row",
        "select",
        "set",
        "some",
        "substring",
        "table",
        "then",
        "top",
        "trim",
        "true",
        "try_cast",
        "union",
        "unpivot",
        "using",
        "values",
        "when",
        "where",
        "with",
        "xmltable",
        "current_date",
        "sysdate",
    ]
)
PLACES = (
    "SELECT {}(a) FROM t",
    "SELECT a FROM t WHERE {}(b) = 'x'",
    "SELECT a FROM t ORDER BY {}(a)",
    "SELECT COUNT({}(a)) FROM t GROUP BY {}(b)",
    "SELECT {}(a) OVER (ORDER BY a) FROM t",
    "SELECT * FROM {}('x')",
    "SELECT (SELECT {}(t.a))",
    "WITH q AS (SELECT {}(a) AS z FROM t) SELECT 1",
    "INSERT INTO t SELECT {}(a), b FROM t",
    "UNLOAD ('SELECT {}(a) FROM t') TO 's3://bucket/x' FORMAT PARQUET",
)
KNOWN_ELSEWHERE = [
    "read_csv",
    "read_csv_auto",
    "read_parquet",
    "read_json",
    "read_ndjson",
    "read_text",
    "read_blob",
    "glob",
    "getenv",
    "current_setting",
    "duckdb_settings",
    "duckdb_secrets",
    "pragma_database_list",
    "query",
    "query_table",
    "sniff_csv",
    "parquet_scan",
    "parquet_metadata",
    "which_secret",
    "read_duckdb",
    "list_transform",
    "array_agg",
    "struct_pack",
    "json_serialize_sql",
    "sql_auto_complete",
    "nextval",
    "currval",
    "txid_current",
    "pg_sleep",
    "version",
    "user",
    "current_user",
    "dblink",
    "lo_import",
    "set_config",
    "range",
    "unnest",
    "generate_series",
    "hash",
    "write_log",
    "copy_database",
]
names = st.one_of(
    st.sampled_from(KNOWN_ELSEWHERE),
    st.text(string.ascii_letters + "_", min_size=1, max_size=1).flatmap(
        lambda first: st.text(string.ascii_letters + string.digits + "_", max_size=20).map(lambda rest: first + rest)
    ),
)


@settings(max_examples=300, deadline=None)
@given(name=names, place=st.sampled_from(PLACES), quoted=st.booleans())
def test_a_function_that_is_not_listed_is_refused_by_its_name(name: str, place: str, quoted: bool) -> None:
    if name.lower() in ALLOWED or name.lower() in WORDS:
        return
    sql = place.replace("{}", f'"{name}"' if quoted else name)
    with pytest.raises(Refused) as found:
        dialect.translate(sql, SCHEMA)
    assert name.lower() in str(found.value).lower() or "syntax" in str(found.value).lower()


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("'\"\\;-/*()$:@,.%abtSELECT FROM\n\0é；")))
def test_any_text_is_translated_or_refused(text: str) -> None:
    for sql in (text, f"SELECT {text}", f"SELECT '{text}'", f"SELECT a FROM t WHERE b = '{text}'"):
        try:
            statements = dialect.translate(sql, SCHEMA)
        except Refused:
            continue
        assert all(statement.kind in ("query", "session", "write") for statement in statements)
