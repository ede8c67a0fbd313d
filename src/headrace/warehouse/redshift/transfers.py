"""COPY and UNLOAD, read from their tokens: which table or query, from or to where, in which format."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.warehouse.dialect import Copy, Unload
from headrace.warehouse.redshift.names import Schema, folded
from headrace.warehouse.redshift.types import Refused

_PLACE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^\0]*)?")
_FORMATS = ("PARQUET", "CSV", "JSON")
# Options that are known -> whether a text or number follows.
_COPY_OPTIONS = {
    **dict.fromkeys(
        ("IAM_ROLE", "FORMAT", "REGION", "IGNOREHEADER", "DELIMITER", "NULL", "TIMEFORMAT", "DATEFORMAT"), True
    ),
    **dict.fromkeys(("STATUPDATE", "COMPUPDATE"), True),
    **dict.fromkeys(("MANIFEST", "GZIP", "ZSTD", "EMPTYASNULL"), False),
}
_UNLOAD_OPTIONS = {
    **dict.fromkeys(("IAM_ROLE", "FORMAT", "REGION", "PARALLEL", "MAXFILESIZE", "DELIMITER", "EXTENSION"), True),
    **dict.fromkeys(("HEADER", "GZIP", "ZSTD", "ALLOWOVERWRITE", "CLEANPATH"), False),
}
_HINT = "See docs/sql.md for the options that are known."


class _Tokens:
    """Tokens, taken one after the other."""

    def __init__(self, tokens: list[Any], sql: str) -> None:
        self._tokens = tokens
        self._sql = sql
        self._at = 0

    def peek(self) -> str:
        """Return the next token's text in capitals; empty at the end."""
        return str(self._tokens[self._at].text.upper()) if self._at < len(self._tokens) else ""

    def take(self) -> Any:
        if self._at >= len(self._tokens):
            raise Refused(f"{self._tokens[0].text.upper()} ends too soon.", _HINT)
        self._at += 1
        return self._tokens[self._at - 1]

    def word(self, *wanted: str) -> str:
        """Take a word, one of those wanted."""
        found = str(self.take().text.upper())
        if found not in wanted:
            raise Refused(f"{found!r} stands where {' or '.join(wanted)} belongs.", _HINT)
        return found

    def text(self) -> str:
        """Take a text in quotes."""
        token = self.take()
        if not self.is_text(token):
            raise Refused(f"{token.text!r} stands where a text in quotes belongs.", _HINT)
        return str(token.text)

    def value(self) -> str:
        """Take a text, a number or a word."""
        if self.peek() == "AS":
            self.take()
        return str(self.take().text)

    def is_text(self, token: Any) -> bool:
        return self._sql[token.start : token.start + 1] == "'"

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._tokens)


def copy(tokens: list[Any], sql: str, schema: Schema) -> Copy:
    """Read COPY table [(columns)] FROM 's3://…' ….."""
    reader = _Tokens(tokens, sql)
    reader.word("COPY")
    table = _table(reader)
    if table not in schema:
        raise Refused(
            f"There is no table {table}.", f"There are {', '.join(sorted(schema))}." if schema else "Create it first."
        )
    columns = _columns(reader) if reader.peek() == "(" else ()
    if unknown := [name for name in columns if name not in {column.lower() for column in schema[table]}]:
        raise Refused(f"{table} has no column {unknown[0]}.", f"It has {', '.join(schema[table])}.")
    reader.word("FROM")
    source = _place(reader.text())
    options = _options(reader, _COPY_OPTIONS)
    role, format_ = options.pop("IAM_ROLE", None), options.pop("FORMAT", None)
    if format_ is None:
        raise Refused("COPY needs FORMAT AS PARQUET, CSV or JSON 'auto'.", "Add FORMAT AS PARQUET.")
    return Copy(table, tuple(columns), source, format_, role, options)


def unload(tokens: list[Any], sql: str) -> Unload:
    """Read UNLOAD ('query') TO 's3://…' …."""
    reader = _Tokens(tokens, sql)
    reader.word("UNLOAD")
    reader.word("(")
    query = reader.text()
    reader.word(")")
    reader.word("TO")
    destination = _place(reader.text())
    options = _options(reader, _UNLOAD_OPTIONS)
    role, format_ = options.pop("IAM_ROLE", None), options.pop("FORMAT", None)
    if format_ is None:
        raise Refused("UNLOAD needs FORMAT AS PARQUET, CSV or JSON.", "Add FORMAT AS PARQUET.")
    return Unload(query, destination, format_, role, options)


def _table(reader: _Tokens) -> str:
    parts = [folded(reader.take().text)]
    while reader.peek() == ".":
        reader.take()
        parts.append(folded(reader.take().text))
    if len(parts) > 3 or (len(parts) > 1 and parts[-2] != "public"):
        raise Refused(f"There is no schema {parts[-2]}.", "Tables are in headrace.public.")
    return parts[-1]


def _columns(reader: _Tokens) -> tuple[str, ...]:
    reader.word("(")
    names = []
    while True:
        names.append(folded(reader.take().text))
        if reader.word(",", ")") == ")":
            return tuple(names)


def _place(text: str) -> str:
    if not _PLACE.fullmatch(text) or "/../" in text or text.endswith("/.."):
        raise Refused(f"{text[:80]!r} is no place in a bucket.", "Write 's3://bucket/prefix/'.")
    return text


def _options(reader: _Tokens, known: Mapping[str, bool]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    while not reader.is_done:
        token = reader.take()
        name = token.text.upper()
        if name in _FORMATS and not reader.is_text(token):
            found["FORMAT"] = _format(reader, name, found)
            continue
        if name not in known or reader.is_text(token):
            raise Refused(f"The option {token.text[:40]} is not supported.", f"Known are {', '.join(sorted(known))}.")
        if name in found:
            raise Refused(f"The option {name} stands there twice.", "Leave one out.")
        if name == "FORMAT":
            value = reader.value().upper()
            if value not in _FORMATS:
                raise Refused(f"The format {value} is not supported.", f"Use {', '.join(_FORMATS)}.")
            found["FORMAT"] = _format(reader, value, found)
        else:
            found[name] = reader.value() if known[name] else None
    return found


def _format(reader: _Tokens, name: str, found: Mapping[str, str | None]) -> str:
    if "FORMAT" in found:
        raise Refused("The format stands there twice.", "Leave one out.")
    if name == "JSON" and reader.peek() == "AUTO":
        reader.take()
    return name
