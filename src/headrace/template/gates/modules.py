"""Modules of a function's code, parsed; and what can be told of one without following its values."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Module(NamedTuple):
    """A module's code."""

    name: str
    tree: ast.Module
    names: dict[str, ast.AST]  # what its top level defines


@cache
def parsed(name: str, file: Path, changed: int) -> Module:
    """Return a module; it is read again when its file has changed."""
    tree = ast.parse(file.read_bytes(), str(file))
    names: dict[str, ast.AST] = {}
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                names[
                    alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else alias.name.split(".")[0])
                ] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names |= {each.id: node for each in ast.walk(target) if isinstance(each, ast.Name)}
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += ast.iter_child_nodes(node)
    return Module(name, tree, names)


def imported(node: ast.Import, name: str) -> str:
    """Return the module that a name stands for."""
    return next((each.name if each.asname else each.name.split(".")[0] for each in node.names
                 if (each.asname or each.name.split(".")[0]) == name), name)  # fmt: skip


def variables(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield the variables of the environment that are read, and whether it fails without them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_environment(node.value) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value), True
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            if isinstance(function, ast.Attribute) and (
                (function.attr == "get" and is_environment(function.value)) or function.attr == "getenv"
            ):
                yield str(node.args[0].value), False
        elif (
            isinstance(node, ast.Compare)
            and isinstance(node.left, ast.Constant)
            and is_environment(node.comparators[0])
        ):
            yield str(node.left.value), False


def is_environment(node: ast.AST) -> bool:
    """Return whether an expression is `os.environ`."""
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )


def metrics(tree: ast.Module) -> Iterator[str]:
    """Yield the names of metrics: the texts that are keys in a function that calls `emf.lines`."""
    for function in (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)):
        nodes = list(ast.walk(function))
        if any(isinstance(each, ast.Attribute) and each.attr == "lines" for each in nodes):
            for each in nodes:
                for key in each.keys if isinstance(each, ast.Dict) else ():
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value
