"""The command tree. A command's module is imported when it is used (or listed), and imports what is heavy itself."""

import errno
import importlib
import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from headrace.cli.options import endpoint_option
from headrace.errors import HeadraceError, UsageError

# In the order that help lists them: name -> (the module in headrace.cli that holds it, the first line of its help).
# The line stands here too so that listing the commands imports none of them.
COMMANDS = {
    "up": ("up", "Run the template on this machine until Ctrl-C."),
    "init": ("init", "Make the folder NAME with a project to edit."),
    "env": ("env", "Print the exports that point AWS SDKs at this backend."),
    "send": ("send", "Send the rows of FILE (CSV or NDJSON, also as .gz, or Parquet)."),
    "simulate": ("simulate", "Send the events of a made-up fleet at a given rate."),
    "status": ("status", "Show what was accepted and what became of it."),
    "latest": ("devices", "Show the newest event of DEVICE, by its own time."),
    "history": ("devices", "Show the events of DEVICE in a range of time."),
    "aggregates": ("devices", "Show what jobs have computed of DEVICE's readings, by hour or day."),
    "config": ("devices", "Show or write the configuration of DEVICE."),
    "devices": ("registry", "The registry of devices: list, label, import, retire, erase them."),
    "invoke": ("invoke", "Call FUNCTION and print its answer, which is JSON."),
    "logs": ("logs", "Show the log of FUNCTION, or of a process."),
    "failures": ("failures", "Show and replay what functions failed on."),
    "archive": ("archive", "List the objects of the long-term archive, and restore cold ones."),
    "lifecycle": ("lifecycle", "Show what lifecycle rules will do and have done, or run them now."),
    "export": ("export", "Export the archive's events, each once."),
    "sql": ("sql", "Ask the warehouse, or the archive itself, in SQL."),
    "jobs": ("jobs", "Run jobs over archive and tables, and see what became of them."),
    "bills": ("bills", "See usage and bills, and close a month."),
    "streams": ("streams", "List the streams; with NAME, the shards of that one."),
    "metrics": ("metrics", "Show what is measured; with NAME, plot that metric."),
    "alarms": ("alarms", "Show the alarms: which are on, since when, and why."),
    "cost": ("cost", "Show what the template costs a month on AWS, by component."),
    "package": ("package", "Make the zips of functions that Lambda takes."),
    "deploy": ("deploy", "Put the project on AWS: its plan and monthly cost are shown first."),
    "destroy": ("destroy", "Take the system on AWS down, and keep its data."),
    "upload": ("upload", "Move this machine's data to the same system on AWS."),
    "backup": ("backup", "Copy the data directory to the new folder DIR, at work or not."),
    "restore": ("backup", "Copy the backup DIR to a new data directory."),
    "doctor": ("doctor", "Say what is wrong with this installation or data, and the mend."),
    "trace": ("trace", "Tell what became of one record, function by function."),
    "completion": ("completion", "Print the script that has a shell complete headrace's commands."),
}

ON_AWS = ("deploy", "destroy", "cost", "package", "upload")  # about AWS by themselves


class Problem(click.ClickException):
    """A HeadraceError as the command line shows it: what is wrong, then what to do next."""

    def __init__(self, error: HeadraceError) -> None:
        super().__init__(error.problem)
        self.hint = error.hint
        self.exit_code = error.exit_code  # type: ignore[misc] # click declares it on the class

    def show(self, file: Any = None) -> None:
        """Print the problem and its hint on standard error."""
        click.echo(f"headrace: {self.message}", file=file, err=True)
        for line in self.hint.splitlines():
            click.echo(f"  {line}", file=file, err=True)


def refuse_aws(command: click.Command, path: str) -> None:
    """Have a command that knows no `--aws`, or those in it, say that it is of one machine."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            refuse_aws(each, f"{path} {name}")
        return
    if any("--aws" in each.opts for each in command.params) or path in ON_AWS:
        return

    def refuse(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            raise UsageError(
                f"headrace {path} works on one machine only.",
                "With --aws go: status, latest, history, config get, failures list and show, logs, metrics, alarms, "
                "streams, archive list, jobs list, sql and bills.",
            )

    command.params.append(
        click.Option(["--aws"], is_flag=True, is_eager=True, hidden=True, expose_value=False, callback=refuse)
    )


class Tree(click.Group):
    """A group whose commands are loaded lazily and whose expected errors are shown without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"headrace.cli.{module}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        refuse_aws(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first line of its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin with what was typed; importing none of them."""
        if incomplete and not incomplete[0].isalnum():
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a HeadraceError becomes its message and exit code."""
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            raise Problem(error) from error


@click.command(cls=Tree, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="headrace", message="%(prog)s %(version)s")
@endpoint_option
def headrace() -> None:
    """An IoT backend: one SAM template, one set of functions, the same APIs, on one machine or on AWS.

    Start with `headrace init NAME`, then `headrace up` in that folder. Exit codes: 0 done, 1 failed, 2 wrong usage.
    """


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        headrace.main(prog_name="headrace")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at exit Python writes what it still has
        click.echo(f"headrace: What is printed can't be written: {error.strerror}.", err=True)
        click.echo("  Make room where standard output goes, or print elsewhere.", err=True)
        sys.exit(1)
