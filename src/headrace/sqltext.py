"""SQL as text: where statements end, and which of them only read. Pure, and without a parser.

Whoever runs a statement decides what it may do; this is what a command line or a page can tell before it sends one.
"""

import re

_PIECE = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<text>'(?:[^'\\]|''|\\.)*'?)|(?P<name>\"(?:[^\"]|\"\")*\"?)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<end>;)|(?P<other>.)",
    re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")
_READING = ("SELECT", "WITH", "SHOW", "EXPLAIN")
# Words that write wherever they stand outside of texts and names: INTO, and what may follow WITH.
_WRITING = frozenset(
    [
        "ALTER",
        "CALL",
        "COPY",
        "CREATE",
        "DELETE",
        "DROP",
        "EXECUTE",
        "GRANT",
        "INSERT",
        "INTO",
        "MERGE",
        "REVOKE",
        "TRUNCATE",
        "UNLOAD",
        "UPDATE",
        "VACUUM",
    ]
)


def split(sql: str) -> list[str]:
    """Return the statements of a text as they are written, without the `;` between them and without empty ones."""
    parts: list[str] = []
    start, has_words = 0, False
    for kind, begin, end in _pieces(sql):
        if kind == "end":
            if has_words:
                parts.append(sql[start:begin].strip())
            start, has_words = end, False
        elif kind not in ("comment", "space"):
            has_words = True
    if has_words:
        parts.append(sql[start:].strip())
    return parts


def is_complete(sql: str) -> bool:
    """Tell whether a text ends with `;` outside of quotes and comments, or holds nothing to run."""
    last = [kind for kind, *_ in _pieces(sql) if kind not in ("comment", "space")]
    return not last or last[-1] == "end"


def reads_only(sql: str) -> bool:
    """Tell whether every statement is one that only reads. In doubt it is not."""
    return "\\'" not in sql and all(_reads(statement) for statement in split(sql))


def _reads(statement: str) -> bool:
    words = [statement[begin:end].upper() for kind, begin, end in _pieces(statement) if kind == "word"]
    first = next((kind for kind, *_ in _pieces(statement) if kind not in ("comment", "space", "other")), "")
    return bool(words) and first == "word" and words[0] in _READING and not _WRITING & set(words)


def _pieces(sql: str) -> list[tuple[str, int, int]]:
    """Return (kind, begin, end) of each piece; comments may be nested. A quote left open reaches to the end."""
    pieces, at = [], 0
    while at < len(sql):
        match = _PIECE.match(sql, at)
        assert match is not None  # the last alternative takes any character
        kind, end = str(match.lastgroup), match.end()
        if kind == "block":
            kind, end = "comment", _end_of_block(sql, match.end())
            if end < 0:
                kind, end = "text", len(sql)
        elif kind in ("text", "name") and (len(match[0]) == 1 or match[0][-1] != match[0][0]):
            end = len(sql)
        pieces.append((kind, at, end))
        at = end
    return pieces


def _end_of_block(sql: str, at: int) -> int:
    depth = 1
    for match in _BLOCK.finditer(sql, at):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return -1
