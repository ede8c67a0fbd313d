"""`--stack`, `--region` and `--profile`: which deployed system a command is about."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def aws_options(command: Callable[P, R]) -> Callable[P, R]:
    """Accept `--stack`, `--region` and `--profile`."""
    command = click.option("--profile", metavar="NAME", help="The profile of AWS credentials (AWS_PROFILE).")(command)
    command = click.option("--region", metavar="NAME", help="The AWS region (AWS_REGION, else the profile's).")(command)
    return click.option(
        "--stack",
        metavar="NAME",
        envvar="HEADRACE_STACK",
        default="headrace",
        help="The stack (HEADRACE_STACK, else headrace).",
    )(command)
