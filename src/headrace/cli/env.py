"""`headrace env`: what an AWS SDK or tool needs to know to use this backend."""

import os
import shlex

import click

from headrace.cli.backend import DUMMY_KEY, Backend
from headrace.cli.options import json_option, with_backend
from headrace.cli.output import print_json
from headrace.system import REGION


@click.command("env")
@json_option
@with_backend
def env_command(backend: Backend, as_json: bool) -> None:
    """Print the exports that point AWS SDKs at this backend.

    In a shell: eval "$(headrace env)". Keys are exported only where none are set: any credentials do.
    """
    variables = exports(backend.url, has_credentials=any(map(os.environ.get, ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))))
    if as_json:
        print_json(variables)
    else:
        click.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))


def exports(url: str, *, has_credentials: bool) -> dict[str, str]:
    """Return the variables; any credentials do, so keys are set only where there are none."""
    keys = {} if has_credentials else {"AWS_ACCESS_KEY_ID": DUMMY_KEY, "AWS_SECRET_ACCESS_KEY": DUMMY_KEY}
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        **keys,
        "HEADRACE_ENDPOINT": url,
    }
