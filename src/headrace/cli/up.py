"""`headrace up`: the template on this machine."""

import sys
from pathlib import Path

import click

from headrace.cli.options import ignored_endpoint_option


@click.command("up")
@click.option(
    "--template",
    "template_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The template to run (template.yaml in this folder).",
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    default=Path("data"),
    help="Where everything durable lives (HEADRACE_DATA, else ./data).",
)
@click.option(
    "--host",
    metavar="H",
    envvar="HEADRACE_HOST",
    default="127.0.0.1",
    help="The address to listen on (HEADRACE_HOST, else 127.0.0.1).",
)
@click.option(
    "--port",
    metavar="P",
    type=click.IntRange(0, 65535),
    envvar="HEADRACE_PORT",
    default=4566,
    help="The port to listen on (HEADRACE_PORT, else 4566; 0 for any free one).",
)
@click.option(
    "--parameters",
    metavar="K=V|FILE",
    multiple=True,
    help="A template parameter, or a file of them; may be given several times.",
)
@click.option(
    "--enforce-limits",
    is_flag=True,
    envvar="HEADRACE_ENFORCE_LIMITS",
    help="Throttle at AWS's limits instead of only metering.",
)
@click.option(
    "--cold-dir",
    "cold",
    metavar="DIR",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_COLD_DIR",
    help="Where objects in GLACIER and DEEP_ARCHIVE are (HEADRACE_COLD_DIR, else as before, else cold/ in --data).",
)
@click.option(
    "--restore-speed",
    metavar="N",
    type=click.FloatRange(1, 1_000_000),
    envvar="HEADRACE_RESTORE_SPEED",
    default=1.0,
    help="Restore cold objects N times as fast as AWS does, for trials (HEADRACE_RESTORE_SPEED, else 1).",
)
@click.option("--watch", is_flag=True, help="Call saved changes of the functions' code at once; for development.")
@click.option("--insecure", is_flag=True, help="Allow a --host that others can reach: there is no authentication yet.")
@ignored_endpoint_option
def up_command(
    template_file: Path | None,
    data: Path,
    host: str,
    port: int,
    parameters: tuple[str, ...],
    enforce_limits: bool,
    insecure: bool,
    watch: bool,
    cold: Path | None,
    restore_speed: float,
) -> None:
    """Run the template on this machine until Ctrl-C.

    Everything acknowledged is in the data directory and is there again at the next start.
    """
    from headrace.supervisor import supervise

    code = supervise.run(
        template_file=template_file,
        data=data,
        host=host,
        port=port,
        parameters=list(parameters),
        enforce_limits=enforce_limits,
        insecure=insecure,
        watch=watch,
        cold=cold,
        restore_speed=restore_speed,
    )
    sys.exit(code)
