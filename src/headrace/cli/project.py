"""The project that a command is about: which template, and the parameters given for it."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from headrace.errors import UsageError

TEMPLATE = "template.yaml"
P = ParamSpec("P")
R = TypeVar("R")


def template_options(command: Callable[P, R]) -> Callable[P, R]:
    """Accept `--template` as `template_file` and `--parameters`, as `headrace up` does."""
    command = click.option(
        "--parameters",
        metavar="K=V|FILE",
        multiple=True,
        help="A template parameter, or a file of them; may be given several times.",
    )(command)
    return click.option(
        "--template",
        "template_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The template (template.yaml in this folder).",
    )(command)


def template_here(given: Path | None, *, or_built_in: bool = False) -> Path:
    """Return the template that `--template` names, else this folder's, else perhaps the built-in one."""
    if given is not None:
        return given
    here = Path(TEMPLATE)
    if here.is_file():
        return here
    if or_built_in:
        from headrace.cli.init import built_in_project

        return built_in_project() / TEMPLATE
    raise UsageError(
        f"There is no {TEMPLATE} in {Path.cwd()}.",
        "Go to your project's folder, give --template FILE, or make a project with `headrace init NAME`.",
    )
