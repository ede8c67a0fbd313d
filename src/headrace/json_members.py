"""The members of JSON objects as rows, in DuckDB's SQL, without holding an object once for each of its members."""

KEY, VALUE = '"\tkey"', '"\tvalue"'  # columns: no reading with a column of its own is called so, it can be printed


def members(column: str) -> str:
    """Return the columns KEY and VALUE (JSON) of a SELECT that then has a row a member of the objects in `column`.

    json_each in FROM would join its rows back on the whole object: ten thousand members of one are a gigabyte.
    """
    return f"unnest(json_keys({column})) AS {KEY}, unnest(json_extract({column}, '$.*')) AS {VALUE}"
