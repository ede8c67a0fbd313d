"""`headrace doctor`: what is wrong, and the mend."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import print_json

if TYPE_CHECKING:
    from headrace.operations.doctor import Finding


@click.command("doctor")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    help="The data directory to look at (HEADRACE_DATA, else ./data if it is there).",
)
@click.option("--repair", is_flag=True, help="Mend what can be mended, deleting nothing; stop the backend first.")
@click.option(
    "--give-up",
    "given_up",
    metavar="KEY",
    multiple=True,
    help="Repair, and go on without this compacted file, which is missing or damaged.",
)
@json_option
@ignored_endpoint_option
@click.pass_context
def doctor_command(
    ctx: click.Context, data: Path | None, repair: bool, given_up: tuple[str, ...], as_json: bool
) -> None:
    """Say what is wrong with this installation or data, and the mend.

    The whole log is read once. Exit code 1 if something is wrong that was not mended.
    """
    from headrace.operations.doctor import examine
    from headrace.settings import Layout

    if data is None and Path("data").is_dir():
        data = Path("data")
    layout = Layout(data.resolve()) if data is not None else None
    report = examine(layout, mend=repair or bool(given_up), given_up=given_up)
    if as_json:
        print_json({"well": report.well, **msgspec.to_builtins(report)})
    else:
        for finding in report.findings:
            click.echo(_text(finding))
        if not report.findings:
            click.echo(f"nothing is wrong with {' and '.join(report.checked)}")
    if not report.well:
        ctx.exit(1)


def _text(finding: "Finding") -> str:
    mark = "mended" if finding.repaired is not None else "WRONG" if finding.serious else "note"
    return f"{mark}: {finding.problem}\n  {finding.repaired or finding.mend}"
