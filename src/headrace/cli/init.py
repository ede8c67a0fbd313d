"""`headrace init`: a project of the user's own, copied from the one that is built in."""

import shutil
from importlib.resources import files
from pathlib import Path

import click

from headrace.cli.options import ignored_endpoint_option
from headrace.errors import HeadraceError, UsageError

PARTS = ("template.yaml", "functions", "reports")
_IGNORE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")

README = """# {name}

An IoT backend on Headrace: devices send events, functions store, archive and answer them.

    headrace up                  # runs template.yaml on this machine; data in ./data
    headrace simulate --devices 10 --rate 100 --duration 10
    headrace status

| here | what it is |
|---|---|
| `template.yaml` | the system: streams, functions, tables, buckets, alarms (AWS SAM) |
| `functions/` | the functions, plain Lambda handlers: edit them, write your own by its README, `headrace up --watch` |
| `reports/` | the batch jobs, portable SQL, one file a report; `tariffs.csv` and `tenants.csv`: what bills go by |

A device needs nothing but an AWS SDK with these settings: `eval "$(headrace env)"`.
"""
GITIGNORE = "/data/\n__pycache__/\n*.pyc\n"


@click.command("init")
@click.argument("name", type=click.Path(path_type=Path))
@ignored_endpoint_option
def init_command(name: Path) -> None:
    """Make the folder NAME with a project to edit.

    It holds the built-in template, functions and reports; NAME may be a path.
    """
    source = built_in_project()
    target = name.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{name} exists and is not an empty folder.", "Give another name, or an empty folder.")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            _copy(source / part, target / part)
        (target / "README.md").write_text(README.format(name=target.name), encoding="utf-8")
        (target / ".gitignore").write_text(GITIGNORE, encoding="utf-8")
    except OSError as error:
        raise HeadraceError(f"{error.filename or target}: {error.strerror}.", "Give a folder you may write.") from error
    click.echo(f"{name} holds template.yaml, functions and reports. Next:\n")
    if target != Path.cwd():
        click.echo(f"  cd {name}")
    click.echo("  headrace up\n\nand beside it, in another terminal:\n")
    click.echo("  headrace simulate --devices 10 --rate 100 --duration 10\n  headrace status")


def built_in_project() -> Path:
    """Return the folder with the built-in project: the installed package's, else the checkout's root."""
    package = Path(str(files("headrace")))
    for folder in (package / "project", package.parent.parent):
        if all((folder / part).exists() for part in PARTS):
            return folder
    raise HeadraceError("The built-in project is missing from this installation.", "Install headrace again.")


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=_IGNORE)
    else:
        shutil.copyfile(source, target)
