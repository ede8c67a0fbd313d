"""What SQL a report may use: the part that DuckDB and Spark read alike. Pure.

Functions go by a list of those that are the same everywhere; of the rest of the language, by a list of what is not.
A parser would have to be told the same two lists, and would accept what the engines do not.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from headrace.errors import UsageError


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    abs cast ceil coalesce count date_trunc dense_rank exists extract first_value floor greatest lag last_value
    lead least length lower ltrim max min mod nullif position rank replace row_number rtrim sqrt substring sum
    trim upper
    """
)
# Words that a bracket may follow without being a function.
_KEYWORDS = _words(
    """
    all and any as between by case cross decimal distinct else except extract from full group having in inner
    intersect is join left like limit not numeric on or order outer over partition right rows select then union
    using values varchar when where with within
    """
)
# What stands elsewhere only, or means something else there -> what to write instead.
_INSTEAD = {
    "any_value": "min(…) or max(…)",
    "approx_count_distinct": "count(DISTINCT …)",
    "approx_quantile": "row_number() and a CASE over its place",
    "arg_max": "max(CASE WHEN place = 1 THEN … END) over row_number() … ORDER BY … DESC AS place",
    "arg_min": "min(CASE WHEN place = 1 THEN … END) over row_number() … ORDER BY … AS place",
    "array_agg": "a row each",
    "avg": "CAST(CAST(sum(amount) AS VARCHAR(40)) AS DOUBLE) / count(amount): engines average differently",
    "concat": "a || b: engines treat nulls in concat differently",
    "current_date": "the view `period`: a run over the same days answers the same",
    "current_timestamp": "the view `period`: a run over the same days answers the same",
    "date_add": "+ INTERVAL '1' DAY",
    "date_diff": "the microseconds in `time_us`, subtracted",
    "datediff": "the microseconds in `time_us`, subtracted",
    "epoch": "the column `time_us`",
    "epoch_us": "the column `time_us`",
    "exp": "products and sqrt: engines differ in its last digit",
    "filter": "CASE WHEN … THEN … END inside the aggregate",
    "first": "max(CASE WHEN place = 1 THEN … END) over row_number() … AS place",
    "ifnull": "coalesce(…)",
    "if": "CASE WHEN … THEN … ELSE … END",
    "last": "max(CASE WHEN place = 1 THEN … END) over row_number() … DESC AS place",
    "list": "a row each",
    "ln": "products and sqrt: engines differ in its last digit",
    "max_by": "max(CASE WHEN place = 1 THEN … END) over row_number() … ORDER BY … DESC AS place",
    "median": "row_number() and a CASE over its place",
    "min_by": "min(CASE WHEN place = 1 THEN … END) over row_number() … ORDER BY … AS place",
    "now": "the view `period`: a run over the same days answers the same",
    "nvl": "coalesce(…)",
    "percentile_cont": "row_number() and a CASE over its place",
    "power": "x * x: engines differ in its last digit",
    "quantile_cont": "row_number() and a CASE over its place",
    "random": "nothing: a report answers the same each time",
    "round": "floor(x * 100 + 0.5) / 100, or CAST(… AS DECIMAL(18, 2)) of a DECIMAL: engines round halves differently",
    "stddev": "sums of amount and of its square",
    "string_agg": "a row each",
    "time_bucket": "date_trunc('hour', time), or arithmetic on `time_us`",
    "to_timestamp": "the TIMESTAMP columns that the views have",
    "try_cast": "CASE WHEN … THEN CAST(…) END",
}
_WORDS = {
    "asof": "a join on the newest row_number()",
    "exclude": "the columns by name",
    "explode": "the view `readings`",
    "filter": _INSTEAD["filter"],
    "ilike": "lower(…) LIKE …",
    "lateral": "a join",
    "pivot": "CASE WHEN … THEN … END inside aggregates",
    "qualify": "a subquery with WHERE around the window function",
    "sample": "WHERE on a key",
    "string": "VARCHAR(n)",
    "tablesample": "WHERE on a key",
    "unnest": "the view `readings`",
    "unpivot": "the view `readings`",
}
_SYMBOLS = {
    "::": "CAST(… AS …)",
    "//": "floor(a / b)",
    "->": "the typed columns, or the view `readings`",
    "[": "a row each",
    "{": "plain columns",
    "`": 'double quotes: "name"',
    "==": "=",
    "@": "plain names",
    ";": "one SELECT a file",
}
_STATEMENTS = _words(
    """
    alter attach call copy create delete drop export import insert install load pragma set update use vacuum
    """
)
_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*')|(?P<name>\"(?:[^\"]|\"\")*\")"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<number>\d[\w.]*)|(?P<space>\s+)|(?P<symbol>::|//|->>?|==|.)",
    re.DOTALL,
)


class Token(NamedTuple):
    """A piece of SQL that is neither comment nor space; words are in small letters."""

    kind: str
    text: str
    line: int


def check(name: str, sql: str) -> None:
    """Raise UsageError, with the line and what to write instead, unless the report `name` keeps to what is portable."""
    tokens = _tokens(sql)
    if not tokens or tokens[0].text not in ("select", "with"):
        raise UsageError(f"{name}.sql: a report is one SELECT.", "Begin with SELECT, or with WITH … SELECT.")
    while tokens[-1].text == ";":
        tokens.pop()
    named = {after.text for before, after in pairwise(tokens) if before.text == "as"}  # columns and tables
    named |= {before.text for before, after in pairwise(tokens) if after.text == "as"}
    for at, token in enumerate(tokens):
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        before = tokens[at - 1].text if at else ""
        instead = _instead(token, before, following, named)
        if instead:
            raise UsageError(f"{name}.sql:{token.line}: {token.text} is not portable.", f"Write {instead}.")


def mentions(sql: str, names: Iterable[str]) -> bool:
    """Return whether one of some words, in small letters, stands in SQL outside of texts and comments."""
    wanted = set(names)
    return any(token.text.strip('"') in wanted for token in _tokens(sql) if token.kind in ("word", "name"))


def _instead(token: Token, before: str, following: str, named: set[str]) -> str | None:
    """Return what to write instead of a token, or None where it may stand."""
    if token.kind == "symbol":
        return _SYMBOLS.get(token.text) or (_SYMBOLS["->"] if token.text == "->>" else None)
    if (before, token.text, following) == ("as", "string", ")"):
        return _WORDS["string"]
    if token.kind != "word" or before in (".", "as"):
        return None
    if token.text in _STATEMENTS and token.text not in named:
        return "SELECT alone: a report changes nothing"
    if following != "(":
        if token.text in ("current_date", "current_timestamp"):
            return _INSTEAD[token.text]
        return _WORDS.get(token.text) if token.text not in named else None
    if token.text in FUNCTIONS or token.text in _KEYWORDS:
        return None
    return _INSTEAD.get(token.text) or _WORDS.get(token.text) or f"one of: {', '.join(sorted(FUNCTIONS))}"


def _tokens(sql: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(sql):
        kind = str(match.lastgroup)
        if kind not in ("comment", "space"):
            text = match[0].lower() if kind == "word" else match[0]
            found.append(Token(kind, text, sql.count("\n", 0, match.start()) + 1))
    return found
