"""What a request must look like, from AWS's own service models; refusals in AWS's own words.

The models are data in the installed botocore (`data/<service>/<version>/service-2.json.gz`). They are read without
importing botocore, once, and only the shapes of the operations asked for are kept.

A body is checked as AWS checks it: first its types (SerializationException at the first that does not fit), then every
constraint (ValidationException, which lists up to ten).
"""

import base64
import binascii
import gzip
import importlib.util
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import HeadraceError
from headrace.wire import WireError

Scalars = Mapping[str, Callable[["Shape", Any], Any]]  # by a shape's kind: its value, from what a body says

ERRORS_MAX = 10  # AWS lists no more

_NO_LIST = "Start of list found where not expected"
_NO_STRUCTURE = "Start of structure or map found where not expected."
_NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
_CLASSES = {bool: "class java.lang.Boolean", str: "class java.lang.String", bytes: "class java.nio.HeapByteBuffer"}
_INTEGERS = {"integer": ("Integer", 2**31 - 1), "long": ("Long", 2**63 - 1)}
_NOT_BASE64 = re.compile(r"[^a-zA-Z0-9+/=]|=[^=]")


@dataclass(slots=True)
class Shape:
    """A shape of the model: its kind, what it is made of, and its constraints."""

    name: str
    kind: str
    members: dict[str, "Shape"] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    key: "Shape | None" = None
    element: "Shape | None" = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    matches: Callable[[str], object] | None = None
    least: float = -math.inf
    most: float = math.inf


class Service:
    """The operations of one service. `operations` holds every name in the model, `known` those that can be parsed."""

    def __init__(
        self,
        name: str,
        operations: tuple[str, ...],
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        values_max: int,
    ) -> None:
        """Read the model; `changes` overrides attributes of its shapes, by shape name.

        `values_max` is more than any right request has: see `from_json`.
        """
        model = _read_model(name)
        self._shapes: dict[str, Any] = model["shapes"]
        self._changes = changes or {}
        self._values_max = values_max
        self._namespace = "com.amazonaws.{}.v{}".format(name, model["metadata"]["apiVersion"].replace("-", ""))
        self.operations = frozenset(model["operations"])
        built: dict[str, Shape] = {}
        self.known = {
            operation: self._build(model["operations"][operation]["input"]["shape"], built)
            if "input" in model["operations"][operation]
            else Shape("Empty", "structure")
            for operation in operations
        }
        del self._shapes

    def parse(self, operation: str, body: bytes) -> dict[str, Any]:
        """Return an operation's input: blobs as bytes, unknown members and nulls left out. Raises WireError."""
        try:
            value = from_json(body, self._values_max)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise WireError("SerializationException", f"The body is not JSON: {error}") from None
        return self.check(operation, value)

    def check(self, operation: str, value: object, scalars: Scalars | None = None) -> dict[str, Any]:
        """Return an operation's input from its decoded body, as `parse` does. Raises WireError.

        `scalars` are JSON's, if not given: see AMZ_CBOR.
        """
        shape = self.known[operation]
        if not isinstance(value, dict | list):
            raise WireError("SerializationException", "The body is not an object.")
        taken: dict[str, Any] = _convert(shape, value, scalars or _JSON)
        errors = [text for text, _ in zip(self._violations(shape, taken, ""), range(ERRORS_MAX), strict=False)]
        if errors:
            count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: "
            raise WireError("ValidationException", count + "; ".join(errors))
        return taken

    def _build(self, name: str, built: dict[str, Shape]) -> Shape:
        if name in built:
            return built[name]
        raw = {**self._shapes[name], **self._changes.get(name, {})}
        shape = built[name] = Shape(name, raw["type"])
        shape.required = frozenset(raw.get("required", ()))
        shape.choices = tuple(raw.get("enum", ()))
        shape.least, shape.most = raw.get("min", -math.inf), raw.get("max", math.inf)
        if "pattern" in raw:
            shape.pattern = raw["pattern"]
            shape.matches = re.compile(shape.pattern, re.ASCII).fullmatch
        for member, target in raw.get("members", {}).items():
            shape.members[member] = self._build(target["shape"], built)
        for attribute, member in (("key", "key"), ("element", "value"), ("element", "member")):
            if member in raw:
                setattr(shape, attribute, self._build(raw[member]["shape"], built))
        return shape

    def _violations(self, shape: Shape, value: Any, path: str) -> Iterator[str]:
        """Yield what a converted value breaks, in the model's order."""
        for constraint in _broken(shape, value):
            yield f"Value {self._show(shape, value)} at '{path}' failed to satisfy constraint: {constraint}"
        if shape.kind == "structure":
            for name, member in shape.members.items():
                inner = f"{path}.{_lower_first(name)}" if path else _lower_first(name)
                if name in value:
                    yield from self._violations(member, value[name], inner)
                elif name in shape.required:
                    yield f"Value null at '{inner}' failed to satisfy constraint: Member must not be null"
        elif shape.kind == "list" and shape.element is not None and shape.element.kind == "structure":
            for index, item in enumerate(value, 1):
                yield from self._violations(shape.element, item, f"{path}.{index}.member")

    def _show(self, shape: Shape, value: Any) -> str:
        """Return a value as AWS writes it into a message."""
        return f"'{self._text(shape, value)}'"

    def _text(self, shape: Shape, value: Any) -> str:
        if shape.kind == "blob":
            return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
        if shape.kind == "structure":
            return f"{self._namespace}.{shape.name}@{zlib.crc32(shape.name.encode()):x}"  # AWS: an object's hash
        if shape.kind == "list" and shape.element is not None:
            return "[{}]".format(", ".join(self._text(shape.element, item) for item in value))
        if shape.kind == "map":
            return "{{{}}}".format(", ".join(f"{key}={item}" for key, item in value.items()))
        return str(value)


def from_json(body: bytes, values_max: int) -> Any:
    """Return what JSON says; raises ValueError, MsgspecError or RecursionError.

    It is refused if it has more than `values_max` values, before they take many times the body's memory. Commas and
    brackets are counted for them, also those in strings.
    """
    if len(body) > values_max and sum(map(body.count, (b",", b"[", b"{"))) > values_max:
        raise ValueError(f"it has more than {values_max:,} values")
    return msgspec.json.decode(body)


def model_file(service: str) -> Path:
    """Return the file with botocore's model of a service, found without importing botocore; raises HeadraceError."""
    spec = importlib.util.find_spec("botocore")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in Path(folder, "data", service).glob("*/service-2.json*")]
    if not found:
        raise HeadraceError(f"botocore's model of {service} is missing.", "Install boto3 again: pip install boto3")
    return max(found, key=lambda path: path.parent.name)


def _read_model(service: str) -> dict[str, Any]:
    newest = model_file(service)
    packed = newest.read_bytes()
    model: dict[str, Any] = msgspec.json.decode(gzip.decompress(packed) if newest.suffix == ".gz" else packed)
    return model


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _refuse(message: str) -> WireError:
    return WireError("SerializationException", message)


# --- types -----------------------------------------------------------------------------------------------------------


def _convert(shape: Shape, value: Any, scalars: Scalars) -> Any:
    """Return a decoded value as the shape's type; raises WireError where AWS's deserializer does."""
    if isinstance(value, list) and shape.kind != "list":
        raise _refuse(_NO_LIST)
    if isinstance(value, dict) and shape.kind not in ("structure", "map"):
        raise _refuse(_NO_STRUCTURE)
    if shape.kind in _NESTED:
        return _NESTED[shape.kind](shape, value, scalars)
    return scalars[shape.kind](shape, value)


def _structure(shape: Shape, value: Any, scalars: Scalars) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse("Expected null")
    return {
        name: _convert(member, value[name], scalars)
        for name, member in shape.members.items()
        if value.get(name) is not None
    }


def _list(shape: Shape, value: Any, scalars: Scalars) -> list[Any]:
    if not isinstance(value, list):
        raise _refuse("Expected list or null")
    assert shape.element is not None
    return [_convert(shape.element, {} if item is None else item, scalars) for item in value]


def _map(shape: Shape, value: Any, scalars: Scalars) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse("Expected map or null")
    assert shape.element is not None
    return {key: _convert(shape.element, "" if item is None else item, scalars) for key, item in value.items()}


def _class(value: Any) -> str:
    """Return what AWS calls a scalar's type."""
    return _CLASSES.get(type(value), _NUMBER)


def _number(value: Any, wanted: str) -> Any:
    if type(value) in _CLASSES:
        raise _refuse(f"{_class(value)} can not be converted to {wanted}")
    return value


def _string(_: Shape, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _refuse(f"{_class(value)} can not be converted to an String")


def _boolean(_: Shape, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise _refuse(f"{_class(value)} can not be converted to an Boolean")
    if value.upper() in ("TRUE", "FALSE"):
        return value.upper() == "TRUE"
    raise _refuse(f"'{value.upper()}' can not be converted to an Boolean")


def _integer(shape: Shape, value: Any) -> int:
    name, most = _INTEGERS[shape.kind]
    whole: int = math.floor(_number(value, f"an {name}"))
    return max(-most - 1, min(most, whole))


def _double(_: Shape, value: Any) -> float:
    return float(_number(value, "an Double"))


def _timestamp(_: Shape, value: Any) -> float:
    return float(_number(value, "milliseconds since epoch"))


def _milliseconds(shape: Shape, value: Any) -> float:
    return _timestamp(shape, value) / 1000


def _blob(_: Shape, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _refuse(f"{_class(value)} can not be converted to a Blob")
    refused = f"'{value}' can not be converted to a Blob: "
    if len(value) % 4:
        raise _refuse(f"{refused}Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}")
    if wrong := _NOT_BASE64.search(value):
        raise _refuse(f"{refused}Invalid Base64 character: '{wrong[0][0]}'")
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error:
        data = None
    if data is None or base64.b64encode(data) != value.encode():
        raise _refuse(f"{refused}Invalid last non-pad Base64 character dectected")
    return data


def _bytes(_: Shape, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _refuse(f"{_class(value)} can not be converted to a Blob")
    return value


_NESTED: dict[str, Callable[[Shape, Any, Scalars], Any]] = {"structure": _structure, "list": _list, "map": _map}
_JSON: Scalars = {
    "string": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "double": _double,
    "float": _double,
    "timestamp": _timestamp,
    "blob": _blob,
}
AMZ_CBOR: Scalars = {**_JSON, "timestamp": _milliseconds, "blob": _bytes}


# --- constraints -----------------------------------------------------------------------------------------------------


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """Yield the constraints that a value breaks by itself, in AWS's words."""
    if shape.kind in ("integer", "long", "double", "float"):
        if value < shape.least:
            yield f"Member must have value greater than or equal to {shape.least}"
        if value > shape.most:
            yield f"Member must have value less than or equal to {shape.most}"
        return
    if shape.choices and value not in shape.choices:
        yield f"Member must satisfy enum value set: [{', '.join(shape.choices)}]"
    if shape.matches and not shape.matches(value):
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"
    if shape.kind in ("string", "blob", "list", "map"):
        if len(value) < shape.least:
            yield f"Member must have length greater than or equal to {shape.least}"
        if len(value) > shape.most:
            yield f"Member must have length less than or equal to {shape.most}"
    yield from _broken_within(shape, value)


def _broken_within(shape: Shape, value: Any) -> Iterator[str]:
    """Yield what a list's strings, or a map's keys and values, break: AWS reports it at the list or map itself."""
    checks: list[tuple[str, Shape, Any]] = []
    if shape.kind == "map" and shape.key is not None and shape.element is not None:
        checks = [("Map keys", shape.key, value.keys()), ("Map value", shape.element, value.values())]
    elif shape.kind == "list" and shape.element is not None and shape.element.kind == "string":
        checks = [("Member", shape.element, value)]
    for subject, inner, items in checks:
        if any(next(_broken(inner, item), None) for item in items):
            yield f"{subject} must satisfy constraint: [{', '.join(_constraints(inner))}]"


def _constraints(shape: Shape) -> Iterator[str]:
    """Yield all length and pattern constraints of a string shape."""
    if shape.most < math.inf:
        yield f"Member must have length less than or equal to {shape.most}"
    if shape.least > -math.inf:
        yield f"Member must have length greater than or equal to {shape.least}"
    if shape.pattern:
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"
