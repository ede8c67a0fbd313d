"""`headrace backup` and `headrace restore`."""

from pathlib import Path

import click
import msgspec

from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import print_json, size
from headrace.plural import counted

DATA = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    default=Path("data"),
    help="The data directory (HEADRACE_DATA, else ./data).",
)


@click.command("backup")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@DATA
@json_option
@ignored_endpoint_option
def backup_command(folder: Path, data: Path, as_json: bool) -> None:
    """Copy the data directory to the new folder DIR, at work or not.

    Everything acknowledged before the command began is in it. Files that never change are linked where DIR is on the
    same disk: put backups on another one. Logs are left out.
    """
    from headrace.operations.backup import backup
    from headrace.settings import Layout

    manifest = backup(Layout(data.resolve()), folder)
    if as_json:
        print_json(msgspec.to_builtins(manifest))
    else:
        click.echo(f"{folder}: {counted(manifest.files, 'file')}, {size(manifest.bytes)}")
        click.echo(f"restore it with: headrace restore {folder} --data NEW")


@click.command("restore")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="NEW", type=click.Path(path_type=Path), required=True, help="The data directory to make."
)
@json_option
@ignored_endpoint_option
def restore_command(folder: Path, data: Path, as_json: bool) -> None:
    """Copy the backup DIR to a new data directory.

    It is ready for `headrace up --data NEW`.
    """
    from headrace.operations.backup import restore

    manifest = restore(folder, data)
    if as_json:
        print_json(msgspec.to_builtins(manifest))
    else:
        click.echo(f"{data}: {counted(manifest.files, 'file')}, {size(manifest.bytes)}")
        click.echo(f"start it with: headrace up --data {data}")
