"""LIKE, SIMILAR TO and regular expressions: the part in which POSIX (Redshift) and RE2 (DuckDB) find the same. Pure."""

import re

from headrace.warehouse.redshift.types import Refused
from headrace.warehouse.redshift.values import Value, text_sql

_CLASSES = r"\[:(?:alnum|alpha|blank|cntrl|digit|graph|lower|print|punct|space|upper|xdigit):\]"
_BRACKET = rf"\[\^?\]?(?:{_CLASSES}|[^\]\[\\])*\]"
_PARTS = re.compile(
    rf"(?P<bracket>{_BRACKET})|(?P<count>\{{\d{{1,3}}(?:,\d{{0,3}})?\}})|(?P<escape>\\[.^$*+?()\[\]{{}}|\\/-])"
    r"|(?P<repeat>[*+?])|(?P<group>[()|])|(?P<anchor>[\^$])|(?P<plain>[^\\\[\]{}])",
    re.DOTALL,
)
_HINT = "Use characters, ., […], [[:digit:]], ^, $, *, +, ?, {m,n}, ( ) and |; a backslash only before punctuation."


def regular_expression(pattern: str | None, what: str, *, finds: bool = False) -> str:
    """Return a POSIX pattern for RE2, or refuse it.

    Whether a pattern matches is the same for both; which of several matches it finds (`finds`) is so without groups and
    alternatives alone: POSIX takes the longest, RE2 the first.
    """
    if pattern is None:
        raise Refused(f"{what} takes a pattern that is written out.", "Write the pattern as a text: '^pump-[0-9]+$'.")
    _check(_parts(pattern, what), pattern, what, finds=finds)
    return pattern


def _check(parts: list[re.Match[str]], pattern: str, what: str, *, finds: bool = False) -> None:
    """Refuse a pattern that repeats nothing, or has a group or an alternative that is empty."""
    before = "("
    for part in parts:
        kind, written = str(part.lastgroup), part[0]
        if finds and kind == "group":
            raise Refused(
                f"{what}: a pattern with ( ) or | may find another part here.", "Use […] and repetitions, or LIKE."
            )
        if kind in ("repeat", "count") and before not in ("bracket", "escape", "plain", ")"):
            raise Refused(f"{what}: {written!r} repeats nothing in {pattern!r}.", _HINT)
        if kind == "group" and written != "(" and before in ("(", "|"):
            raise Refused(f"{what}: {written!r} stands behind nothing in {pattern!r}.", _HINT)
        before = written if kind == "group" else kind
    if before == "|":
        raise Refused(f"{what}: nothing stands behind | in {pattern!r}.", _HINT)


def matches_nothing(pattern: str) -> bool:
    """Tell whether a pattern without groups finds an empty text: each of its parts may be left out."""
    parts = [(str(part.lastgroup), part[0]) for part in _parts(pattern, "")]
    atoms = sum(kind in ("bracket", "escape", "plain") for kind, _ in parts)
    optional = sum(
        written in ("*", "?") or written.startswith(("{0,", "{0}"))
        for kind, written in parts
        if kind in ("repeat", "count")
    )
    return atoms == optional


def similar(pattern: str | None) -> str:
    """Return SIMILAR TO's pattern as a regular expression over the whole text, or refuse it."""
    if pattern is None:
        raise Refused("SIMILAR TO takes a pattern that is written out.", "Write the pattern as a text: 'pump-[0-9]+'.")
    found, parts = [], _parts(pattern, "SIMILAR TO")
    _check(parts, pattern, "SIMILAR TO")
    for part in parts:
        kind, written = str(part.lastgroup), part[0]
        if kind == "plain":
            written = {"%": "(?:.*)", "_": ".", ".": r"\."}.get(written, written)
        found.append("\\" + written if kind == "anchor" else written)
    return "(?:" + "".join(found) + ")"


def _parts(pattern: str, what: str) -> list[re.Match[str]]:
    parts, at = [], 0
    while at < len(pattern):
        match = _PARTS.match(pattern, at)
        if match is None:
            raise Refused(f"{what}: {pattern[at : at + 10]!r} in a pattern is not supported.", _HINT)
        parts.append(match)
        at = match.end()
    return parts


def like_sql(left: Value, pattern: Value, escape: str | None) -> str:
    """Return LIKE; a backslash escapes unless another character is named, as on Redshift (DuckDB has none)."""
    if escape is None or len(escape) != 1:
        raise Refused("ESCAPE takes one character.", "Write ESCAPE '!'.")
    if pattern.literal is not None and _ends_in_escape(pattern.literal, escape):
        raise Refused("A pattern of LIKE ends with its escape character.", "Write it twice.")
    return f"({left.sql} LIKE {pattern.sql} ESCAPE {text_sql(escape)})"


def _ends_in_escape(pattern: str, escape: str) -> bool:
    return (len(pattern) - len(pattern.rstrip(escape))) % 2 == 1
