"""Whether a function's code is there: its folder, its handler's file, and the handler in it. Nothing is imported."""

import ast
import re
from pathlib import Path

from headrace.template.document import did_you_mean, nearest
from headrace.template.intrinsics import describe
from headrace.template.rules import Site

RUNTIMES = tuple(f"python3.{minor}" for minor in range(8, 16))


def check_runtime(runtime: str, site: Site) -> None:
    """Check that a function is one of Python."""
    if runtime in RUNTIMES:
        return
    if not runtime.startswith("python") and nearest(runtime, RUNTIMES, 0.8) is None:
        raise site.error(
            f"{runtime} is not run on one machine.", "Only Python functions are: write Runtime: python3.13."
        )
    raise site.error(f"there is no runtime {runtime}.", did_you_mean(runtime, RUNTIMES))


def code_folder(base: Path, code: object, site: Site) -> Path:
    """Return the absolute folder that CodeUri (or Code) names, relative to the template's own."""
    if isinstance(code, dict) and "ZipFile" in code:
        raise site.error("inline code is not run on one machine.", f"Put it in a file, and write {site.name}: FOLDER.")
    if not isinstance(code, str) or re.match(r"[a-z0-9]+://", code):
        raise site.error(
            f"{site.name} is {describe(code)}, not a folder.", f"Write a folder, for example {site.name}: functions/"
        )
    folder = (base / code).resolve()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise site.error(f"{site.name} {code} is a file.", "Write the folder that holds the handler's file.")
    folders = [f"{each.name}/" for each in sorted(base.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    raise site.error(f"{site.name}: there is no folder {folder}.", did_you_mean(code, folders))


def check_handler(folder: Path, handler: str, site: Site) -> None:
    """Check that the module of `module.attribute` is a file, and that it defines the attribute."""
    module, _, attribute = handler.rpartition(".")
    path = folder / module.replace(".", "/")
    file = next((each for each in (path.with_name(f"{path.name}.py"), path / "__init__.py") if each.is_file()), None)
    if file is None:
        modules = [f"{each.stem}.{attribute}" for each in sorted(folder.glob("*.py"))]
        raise site.error(
            f"Handler is {handler}, but there is no {module.replace('.', '/')}.py in {folder}.",
            did_you_mean(handler, modules) if modules else "Add the file, or name another folder.",
        )
    names = _defined(file)
    if names is not None and attribute not in names:
        public = [name for name in names if not name.startswith("_")]
        raise site.error(
            f"Handler is {handler}, but {file.name} defines no {attribute}.",
            did_you_mean(attribute, public) if nearest(attribute, public) else f"Define {attribute}(event, context).",
        )


def _defined(file: Path) -> list[str] | None:
    """Return the names that a module defines; None where that can't be told without running it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return None  # the function itself reports this when it is imported
    names: list[str] = []
    for node in _top_level(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return None if "*" in names or "__getattr__" in names else names


def _top_level(node: ast.AST) -> list[ast.AST]:
    """Return a module's statements, those inside of `if`, `try` and `with` included."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        found.append(child)
        if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            found += _top_level(child)
    return found
