"""Redshift's SQL as a syntax tree: sqlglot's parser, told to leave functions as they are written.

sqlglot turns functions it knows into nodes that several of them share, which loses what was said (GETDATE, SYSDATE and
CURRENT_TIMESTAMP become one). Here every function keeps its name and its arguments, so that a list of names decides.
"""

from itertools import zip_longest
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.redshift import Redshift
from sqlglot.errors import SqlglotError
from sqlglot.parsers.redshift import RedshiftParser
from sqlglot.tokenizer_core import Token, TokenType

from headrace.warehouse.redshift.types import Refused

_SYNTAX = ("CAST", "CONVERT", "EXTRACT", "POSITION", "SUBSTRING", "TRIM")  # functions with a syntax of their own
DEPTH_MAX = 200
_CLAUSES = (
    TokenType.FROM, TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.QUALIFY, TokenType.ORDER_BY,
    TokenType.LIMIT, TokenType.OFFSET, TokenType.UNION, TokenType.INTERSECT, TokenType.EXCEPT, TokenType.SEMICOLON,
)  # fmt: skip


class Dialect(Redshift):
    """Redshift's dialect without sqlglot's knowledge of functions."""

    class Tokenizer(Redshift.Tokenizer):
        """Reads every statement token by token."""

        COMMANDS: ClassVar[set[Any]] = set()

    class Parser(RedshiftParser):
        """Makes a function call `Anonymous(name, arguments)`."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {name: RedshiftParser.FUNCTION_PARSERS[name] for name in _SYNTAX}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            "CASE": RedshiftParser.NO_PAREN_FUNCTION_PARSERS["CASE"],
            "APPROXIMATE": lambda self: self.approximate(),
        }

        def _build_predicate(
            self, klass: Any, this: Any, expression: Any, comments: Any = None, negate: bool = False
        ) -> Any:
            """Build a comparison without brackets that nobody wrote: what lacks them is refused."""
            found = klass(this=this, expression=expression)
            if negate:
                found.set("negate", True)
            return self.expression(found, comments=comments)

        def _parse_join(self, *args: Any, **kwargs: Any) -> Any:
            """Parse a join; one that is written as such, without a condition, is told from a comma."""
            written = self._curr is not None and self._curr.token_type != TokenType.COMMA
            join = super()._parse_join(*args, **kwargs)
            if join is not None and written and not any(join.args.get(part) for part in ("kind", "on", "using")):
                join.set("kind", "INNER")
            return join

        def approximate(self) -> Any:
            """Parse what follows APPROXIMATE; without a function it is a column of that name."""
            index = self._index - 1
            if call := self._parse_function():
                return self.expression(exp.Anonymous(this="approximate", expressions=[call]))
            self._retreat(index)
            return None


def tokens(sql: str) -> list[Token]:
    """Return the tokens of SQL; raises Refused where a text or a comment does not end, or a literal is in doubt."""
    try:
        found = list(Dialect().tokenize(sql))
    except (SqlglotError, RecursionError) as error:
        raise Refused(f"The SQL can't be read: {_first_line(error)}", "Is a quote or a comment left open?") from None
    for token, following in zip_longest(found, found[1:]):
        _check_literal(sql, token)
        if _leaves_a_gap(token, following):
            raise Refused(f"A comma stands beside nothing: {sql[token.start :][:20]!r}.", "Leave it out.")
        if token.token_type == TokenType.NUMBER and following and following.start == token.end + 1:
            _check_number(token, following)
    _check_depth(found)
    return found


def parse(found: list[Token], sql: str) -> Any:
    """Return the tree of one statement from its tokens."""
    try:
        trees = Dialect().parser().parse(found, sql)
    except SqlglotError as error:
        raise Refused(_syntax(error), "Compare it with the syntax of Redshift's SELECT.") from None
    except RecursionError:
        raise Refused("The SQL is nested too deeply.", "Use WITH for the inner queries.") from None
    if len(trees) != 1 or trees[0] is None:
        raise Refused("The SQL holds no statement.", "Write one, such as SELECT count(*) FROM events.")
    return trees[0]


def statements(found: list[Token]) -> list[list[Token]]:
    """Return the tokens of each statement; `;` parts them."""
    parts: list[list[Token]] = [[]]
    for token in found:
        if token.token_type == TokenType.SEMICOLON:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _check_literal(sql: str, token: Token) -> None:
    """Refuse escapes in a text but of the backslash itself: what else Redshift makes of them depends on settings."""
    if token.token_type in (
        TokenType.BYTE_STRING,
        TokenType.HEX_STRING,
        TokenType.BIT_STRING,
        TokenType.NATIONAL_STRING,
    ):
        raise Refused(f"{sql[token.start : token.start + 1]}'…' is not supported.", "Write a plain text: '…'.")
    if token.token_type in (TokenType.RAW_STRING, TokenType.HEREDOC_STRING):
        raise Refused("Texts in dollars are not supported.", "Write a plain text: '…'.")
    if token.token_type == TokenType.STRING:
        written = sql[token.start : token.end + 1]
        if "\\" in written.replace("\\\\", ""):
            raise Refused(f"A backslash in {written}: what it means depends on settings.", "Write two for one: \\\\.")
    if token.token_type == TokenType.PARAMETER or token.text == "\0":
        raise Refused(f"{token.text!r} is not supported.", "Write a parameter as :name.")


def _leaves_a_gap(token: Token, following: Token | None) -> bool:
    """Tell whether a comma parts something from nothing, which sqlglot passes over."""
    if token.token_type == TokenType.COMMA:
        return following is None or following.token_type in (*_CLAUSES, TokenType.COMMA, TokenType.R_PAREN)
    return (
        token.token_type in (*_CLAUSES, TokenType.L_PAREN, TokenType.SELECT, TokenType.DISTINCT)
        and following is not None
        and following.token_type == TokenType.COMMA
    )


def _check_number(token: Token, following: Token) -> None:
    """Refuse a word right behind a number: 0x1F is the number 0 under the name x1F for Redshift's parser."""
    if following.text[:1].isalpha() or following.text[:1] == "_":
        raise Refused(f"{token.text}{following.text} is no number.", "Write it in digits; leave a space before a name.")


def _check_depth(found: list[Token]) -> None:
    depth = 0
    for token in found:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth > DEPTH_MAX:
            raise Refused("The SQL is nested too deeply.", "Use WITH for the inner queries.")


def _syntax(error: SqlglotError) -> str:
    found = getattr(error, "errors", None)
    if not found:
        return f"The SQL can't be read: {_first_line(error)}"
    first = found[0]
    near = first.get("highlight") or ""
    return f"Syntax error in line {first.get('line')}" + (f" at {near!r}." if near else ".")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
