"""What an expression in a function's code may be, as far as anybody here cares."""

import ast
from typing import Any, NamedTuple

from headrace.template.gates.modules import Module

Values = frozenset[Any]
Names = dict[str, Values]
NOTHING: Values = frozenset()


class Variable(NamedTuple):
    """The value of a variable of the environment."""

    name: str


class Text(NamedTuple):
    """A text that stands in the code."""

    value: str


class Prefix(NamedTuple):
    """A text of which only the beginning is known."""

    value: str


class Storage(NamedTuple):
    """A table or bucket by `headrace.connect`: `of` says which."""

    kind: str
    of: Variable | Text | None


class Client(NamedTuple):
    """A client of boto3."""

    service: str


class Use(NamedTuple):
    """An API call that the code makes: botocore's service, the operation, and on which resource, if that is known.

    `key` is how the keys of a bucket's objects begin.
    """

    service: str
    operation: str
    of: Variable | Text | None
    key: str = ""


class Function(NamedTuple):
    """A function of the code, with what it sees around it."""

    module: Module
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    around: tuple[tuple[str, Values], ...]

    def __hash__(self) -> int:
        return hash((self.module.name, id(self.node), self.around))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and (id(self.node), self.around) == (id(other.node), other.around)


class Class(NamedTuple):
    """A class of the code."""

    module: Module
    node: ast.ClassDef

    def __hash__(self) -> int:
        return hash((self.module.name, id(self.node)))

    def method(self, name: str) -> ast.FunctionDef | None:
        """Return the method that the class itself defines by that name."""
        return next((each for each in self.node.body if isinstance(each, ast.FunctionDef) and each.name == name), None)


class Instance(NamedTuple):
    """An object of a class: what its attributes may be."""

    of: Class
    attributes: tuple[tuple[str, Values], ...]


class Imported(NamedTuple):
    """A module as a value."""

    name: str


class Method(NamedTuple):
    """A method of a storage or client, before it is called."""

    of: Storage | Client
    name: str


class Place(NamedTuple):
    """Where an expression stands: its module, the values of names there, and how deep in calls that is."""

    module: Module
    names: Names
    depth: int


def frozen(names: Names) -> tuple[tuple[str, Values], ...]:
    """Return names and values as something that can be a key."""
    return tuple(sorted((name, value) for name, value in names.items() if value))
