"""The functions of JSON that are let through. JSON is text here, as it is in VARCHAR on Redshift."""

from headrace.warehouse.redshift.expressions import Call, Handler
from headrace.warehouse.redshift.types import BOOLEAN, INTEGER, VARCHAR, Refused
from headrace.warehouse.redshift.values import Value, failing, text_sql


def _json_path(call: Call) -> Value:
    """JSON_EXTRACT_PATH_TEXT: an invalid text is an error, unless the last argument is TRUE."""
    nodes = list(call.nodes)
    lenient = type(nodes[-1]).__name__ == "Boolean" and bool(nodes.pop().this)
    keys = [call.expressions.value(node).literal for node in nodes[1:]]
    if not keys or any(not key or not set(key) <= _KEY for key in keys):
        raise Refused(
            f"{call.title} takes names that are written out, of letters, digits, _ and -.", "Write (x, 'a', 'b')."
        )
    if len(keys) > 5:
        raise Refused(f"{call.title} goes five levels deep.", "Apply it twice.")
    path = "$" + "".join(f'."{key}"' for key in keys)
    return Value(_json(call.text(0), text_sql(path), lenient), VARCHAR)


_KEY = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def _json_element(call: Call) -> Value:
    place = call.value(1).number
    if place is None or place < 0:
        raise Refused(f"{call.title} takes a place that is written out, from 0.", "Write (x, 0).")
    return Value(_json(call.text(0), text_sql(f"$[{place}]"), False, "ARRAY"), VARCHAR)


def _json(text: str, path: str, lenient: bool, kind: str = "OBJECT") -> str:
    """Return the text at a path of a JSON object or array; an error for what engines spell differently."""
    taken = failing(
        f"json_type({text}, {path}) IN ('DOUBLE', 'OBJECT', 'ARRAY', 'NULL')",
        "The JSON has a number with decimals, null, an object or an array there, whose spelling depends on the engine:"
        " name a member inside, or read numbers from the table readings.",
        f"json_extract_string({text}, {path})",
    )
    if lenient:
        return f"(CASE WHEN {_is_json(text, kind)} THEN {taken} END)"
    return f"({failing(f'NOT {_is_json(text, kind)}', f'A text is no JSON {kind.lower()}.', taken)})"


def _is_json(text: str, kind: str) -> str:
    """Return whether a text is a JSON object or array. DuckDB takes a comma at the end and NaN, which are none.

    Such are looked for in all texts, and where they seem to be, in what is left without the JSON's own texts.
    """
    loose = text_sql(r"(?i),\s*[}\]]|nan|inf")
    bare = f"""regexp_replace({text}, '"(?:[^"\\\\]|\\\\.)*"', '""', 'g')"""
    return (
        f"(CASE WHEN {text} IS NULL THEN NULL WHEN NOT json_valid({text}) THEN FALSE"
        f" WHEN json_type({text}) <> '{kind}' THEN FALSE"
        f" WHEN regexp_matches({text}, {loose}) THEN NOT regexp_matches({bare}, {loose}) ELSE TRUE END)"
    )


def _is_valid_json(call: Call) -> Value:
    return Value(_is_json(call.text(0), "OBJECT"), BOOLEAN)


def _json_array_length(call: Call) -> Value:
    text = call.text(0)
    length = f"json_array_length({text})"
    checked = failing(f"NOT {_is_json(text, 'ARRAY')}", "A text is no JSON array.", length)
    return Value(f"CAST({checked} AS INTEGER)", INTEGER)


JSON: dict[str, tuple[int, int, Handler]] = {
    "json_extract_path_text": (2, 7, _json_path),
    "json_extract_array_element_text": (2, 2, _json_element),
    "json_array_length": (1, 1, _json_array_length),
    "is_valid_json": (1, 1, _is_valid_json),
}
