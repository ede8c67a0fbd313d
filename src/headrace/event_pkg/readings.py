"""The readings that are named in a setting (`READINGS`): their numbers, out of many events at once."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from headrace import jsontext

_NUMBERS: frozenset[Any] = frozenset((int, float))  # bool is neither


def names_of(setting: str) -> tuple[str, ...]:
    """Return the names in a comma-separated setting, each once."""
    return tuple(dict.fromkeys(name for name in map(str.strip, setting.split(",")) if name))


def columns(names: tuple[str, ...], objects: Sequence[bytes]) -> dict[str, list[float]]:
    """Return each name's numbers in the objects (`Event.readings`), in order; what is no number is left out.

    A number that no double holds is left out as well.
    """
    if not names or not objects:
        return {}
    rows = map(_row_decoder(names), objects)
    return {name: _numbers(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _numbers(column: tuple[Any, ...]) -> list[float]:
    return [value for value in column if value.__class__ in _NUMBERS]


@lru_cache(maxsize=16)
def _row_decoder(names: tuple[str, ...]) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what takes an object's members of these names, as a tuple: all other members are skipped undecoded."""
    fields = [(f"field_{place}", Any, None) for place in range(len(names))]
    rename = {f"field_{place}": name for place, name in enumerate(names)}
    decode = msgspec.json.Decoder(msgspec.defstruct("Row", fields, rename=rename, gc=False)).decode
    as_tuple = msgspec.structs.astuple

    def row(text: bytes) -> tuple[Any, ...]:
        try:
            return as_tuple(decode(text))
        except msgspec.ValidationError:  # 1e400, or thousands of digits
            found = jsontext.parse(text)
            return tuple(found.get(name) for name in names)

    return row
