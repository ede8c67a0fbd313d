"""`headrace invoke`: call a function as a device or another program would."""

import click

from headrace.cli import completion
from headrace.cli.backend import Backend
from headrace.cli.functions import function_error, invoke, names
from headrace.cli.options import with_backend
from headrace.cli.output import note, print_raw
from headrace.cli.payload import json_text
from headrace.errors import NotFound


@click.command("invoke")
@click.argument("function", shell_complete=completion.functions)
@click.option(
    "--payload", metavar="JSON", default="{}", help="The event: JSON, @FILE, or - for standard input ({} if not given)."
)
@click.option("--event", is_flag=True, help="Do not wait: the call is journalled and tried again if it fails.")
@click.option("--log", is_flag=True, help="Show the end of the call's log, on standard error.")
@click.option("--json", is_flag=True, hidden=True, expose_value=False)  # the answer is JSON as it is
@with_backend
def invoke_command(backend: Backend, function: str, payload: str, event: bool, log: bool) -> None:
    """Call FUNCTION and print its answer, which is JSON."""
    kind = "Event" if event else "RequestResponse"
    try:
        answer = invoke(backend, function, json_text(payload), kind=kind, log=log and not event)
    except NotFound as error:
        raise NotFound(error.problem, f"Functions there are: {', '.join(names(backend)) or 'none'}.") from error
    if answer.log:
        click.echo(answer.log.rstrip("\n"), err=True)
    if event:
        note(f"accepted; request id {answer.request_id}")
        return
    print_raw(answer.payload)
    if answer.error:
        raise function_error(function, answer.payload)
