"""`headrace destroy`: a deployed system taken down; its data stays unless its deletion is asked for by name."""

from typing import TYPE_CHECKING

import click

from headrace.cli.aws import aws_options
from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import note, print_json, table
from headrace.errors import Conflict, HeadraceError

if TYPE_CHECKING:
    from headrace.deploy.destroy import Left


@click.command("destroy")
@click.option("--yes", is_flag=True, help="Do not ask (with --delete-data the stack's name is asked for all the same).")
@click.option(
    "--delete-data", is_flag=True, help="Delete tables, streams and buckets as well, with all that is in them."
)
@click.option(
    "--confirm", "confirmed", metavar="STACK", help="With --delete-data: the stack's name, instead of typing it."
)
@aws_options
@json_option
@ignored_endpoint_option
def destroy_command(
    yes: bool,
    delete_data: bool,
    confirmed: str | None,
    stack: str,
    region: str | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Take the system on AWS down, and keep its data.

    What stays is listed: tables, buckets and what else the template retains. A later `headrace deploy` makes new ones
    unless those are imported. With --delete-data they are deleted too, for ever.
    """
    from headrace.deploy import destroy
    from headrace.deploy.aws import Aws
    from headrace.deploy.stack import Stack, event_line

    aws = Aws(profile, region)
    account = aws.account()
    target = Stack(aws, stack)
    described = target.must()
    if described["StackStatus"].endswith("_IN_PROGRESS"):
        raise Conflict(f"The stack {stack} is in {described['StackStatus']}.", "Wait until that has ended.")
    left = destroy.left(target)
    note(f"account {account}, {aws.region}, stack {stack} ({described['StackStatus']})")
    click.echo(_intention(left, delete_data), err=True)
    _ask(stack, yes=yes, delete_data=delete_data, confirmed=confirmed)
    if described.get("EnableTerminationProtection"):
        if not delete_data and not yes and not click.confirm("The stack is protected. Lift that?", err=True):
            raise HeadraceError("Nothing was removed.", "The stack's termination protection is on.")
        target.protect(False)
    for event in target.delete():
        note(event_line(event))
    unknown = destroy.delete_data(aws, left, note) if delete_data else left
    if as_json:
        kept = [{"logical_id": each.logical_id, "type": each.type, "name": each.name} for each in unknown]
        print_json({"stack": stack, "left": kept})
    elif unknown:
        click.echo(f"The stack {stack} is gone. What stays, and costs as before:\n\n{_table(unknown)}")
    else:
        click.echo(f"The stack {stack} is gone, and nothing of it stays.")


def _ask(stack: str, *, yes: bool, delete_data: bool, confirmed: str | None) -> None:
    if delete_data:
        typed = (
            confirmed if confirmed is not None else click.prompt(f"Type the stack's name ({stack}) to go on", err=True)
        )
        if typed != stack:
            raise HeadraceError("Nothing was removed.", f"That is not the stack's name: {stack}.")
    elif not yes and not click.confirm("Take it down?", err=True):
        raise HeadraceError("Nothing was removed.", "Run it again when you are sure.")


def _intention(left: "list[Left]", delete_data: bool) -> str:
    if not left:
        return "Everything of the stack will be removed; its template retains nothing."
    head = (
        "These will be DELETED, with all that is in them:" if delete_data else "These stay, with all that is in them:"
    )
    return f"{head}\n\n{_table(left)}\n"


def _table(left: "list[Left]") -> str:
    rows = [[each.logical_id, each.type.removeprefix("AWS::"), each.name, each.holds] for each in left]
    return table(("resource", "type", "name", "holds"), rows)
