"""Which modules code reaches by its imports, read from the text: nothing is imported. Pure but for reading files.

Imports inside functions count too: that is where storage is imported lazily. What only one machine needs is cut off,
and so is what stands under `if TYPE_CHECKING`.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from headrace.errors import HeadraceError

# Storage of one machine: `connect.py` imports it only where HEADRACE_DATA says that this is one.
ONE_MACHINE = ("headrace.table.local", "headrace.archive.local")


class Closure(msgspec.Struct, frozen=True):
    """The files of modules by their path in a package, and the top-level names of what is no part of them."""

    files: dict[str, Path]
    outside: frozenset[str]


def closure(starts: Iterable[str], folder: Path, installed: Path | None = None) -> Closure:
    """Return what these modules (dotted names) reach in `folder`, and of Headrace in `installed`.

    Whatever else lies in `installed`, which may be site-packages, is outside: it comes from wheels.
    Raises HeadraceError where a start is nowhere, or a module is no Python.
    """
    files: dict[str, Path] = {}
    outside: set[str] = set()
    waiting = list(starts)
    for name in waiting:
        if _file(name, folder, installed) is None:
            raise HeadraceError(f"There is no module {name}.", f"Looked in {folder}.")
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name in ONE_MACHINE:
            continue
        seen.add(name)
        found = _file(name, folder, installed)
        if found is None:
            if _file(name.partition(".")[0], folder, installed) is None:
                outside.add(name.partition(".")[0])
            continue
        path, place = found
        files[place] = path
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imports(path, name)
    return Closure(files, frozenset(outside - set(sys.stdlib_module_names)))


def _file(name: str, folder: Path, installed: Path | None) -> tuple[Path, str] | None:
    relative = name.replace(".", "/")
    for root in (folder, installed if name.partition(".")[0] == "headrace" else None):
        for place in (f"{relative}/__init__.py", f"{relative}.py"):
            if root is not None and (root / place).is_file():
                return root / place, place
    return None


def _imports(path: Path, name: str) -> Iterator[str]:
    """Yield every module that a file may mean by its imports; those of a package may be names in it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise HeadraceError(f"{path} is no Python: {error}.", "Mend it: on AWS it can't be imported either.") from error
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield other
                yield from _statements(other)
            continue
        yield node
        yield from _statements(node)
