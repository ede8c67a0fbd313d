"""`headrace package`: the functions' packages as `headrace deploy` makes them, for other tools and for a look."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import print_json, table
from headrace.cli.project import template_here, template_options
from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.deploy.package import Source


@click.command("package")
@click.argument("functions", metavar="[FUNCTION]...", nargs=-1)
@click.option("--to", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Where the zips go (packages/).")
@click.option("--unpacked", metavar="DIR", type=click.Path(path_type=Path), help="Lay one package out there instead.")
@click.option("--here", is_flag=True, help="For this machine and Python, to try it without AWS.")
@template_options
@json_option
@ignored_endpoint_option
def package_command(
    functions: tuple[str, ...],
    folder: Path | None,
    unpacked: Path | None,
    here: bool,
    template_file: Path | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make the zips of functions that Lambda takes.

    All of them, unless FUNCTION names some. The same code makes the same zip. Wheels come from uv's or pip's cache, or
    the package index.
    """
    from headrace.deploy import package
    from headrace.template import parse_parameters

    found = package.sources(template_here(template_file), parse_parameters(parameters))
    chosen = [_targeted(each, here) for each in (_chosen(found, functions) if functions else found)]
    if unpacked is not None:
        if len(chosen) != 1 or folder is not None:
            raise UsageError("--unpacked takes one FUNCTION, and no --to.", "Name the one to lay out.")
        package.lay_out(chosen[0], unpacked)
        return
    built = package.build_all(chosen, folder or Path("packages"))
    if as_json:
        print_json(
            [
                {
                    "function": each.source.name,
                    "path": str(each.path),
                    "digest": each.digest,
                    "zip_bytes": each.zip_bytes,
                    "unzipped_bytes": each.unzipped_bytes,
                    "python": each.source.target.python,
                    "processor": each.source.target.processor,
                    "distributions": list(each.distributions),
                    "files": list(each.files),
                }
                for each in built
            ]
        )
        return
    rows = [
        [
            each.source.name,
            each.zip_bytes,
            each.unzipped_bytes,
            len(each.files),
            ", ".join(each.distributions),
            each.path,
        ]
        for each in built
    ]
    click.echo(table(("function", "zipped", "unpacked", "files", "distributions", "path"), rows))


def _chosen(found: "list[Source]", names: tuple[str, ...]) -> "list[Source]":
    chosen = []
    for name in names:
        matches = [each for each in found if name in (each.name, each.logical_id)]
        if not matches:
            known = ", ".join(each.name for each in found) or "none"
            raise UsageError(f"The template has no function {name} with code beside it.", f"There are: {known}.")
        chosen += matches
    return chosen


def _targeted(source: "Source", here: bool) -> "Source":
    import msgspec

    from headrace.deploy.wheels import Target

    return msgspec.structs.replace(source, target=Target.here()) if here else source
