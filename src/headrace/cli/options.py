"""What commands have in common: `--endpoint`, `--json`, and the backend that a command is pointed at."""

import re
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from headrace.cli.backend import Backend
    from headrace.deployed import Deployed

_KEY = "headrace.endpoint"
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
P = ParamSpec("P")
R = TypeVar("R")


def _remember(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[_KEY] = value  # shared with the contexts of subcommands: the innermost flag is set last


def endpoint_option(command: Callable[P, R]) -> Callable[P, R]:
    """Accept `--endpoint URL`; `with_backend` and `endpoint()` use it."""
    return click.option(
        "--endpoint",
        metavar="URL",
        expose_value=False,
        callback=_remember,
        help="The backend's address (HEADRACE_ENDPOINT, else http://127.0.0.1: and HEADRACE_PORT, or 4566).",
    )(command)


def ignored_endpoint_option(command: Callable[P, R]) -> Callable[P, R]:
    """Accept `--endpoint` where no backend is needed, so that a script may give it to every command."""
    return click.option("--endpoint", metavar="URL", expose_value=False, hidden=True)(command)


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Accept `--json` as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def endpoint() -> str:
    """Return the URL of the backend that the running command is pointed at."""
    return endpoint_of(click.get_current_context())


def endpoint_of(ctx: click.Context) -> str:
    """Return the URL of the backend that a context's command is pointed at."""
    from headrace import settings

    return settings.endpoint(ctx.meta.get(_KEY))


def with_backend(command: "Callable[Concatenate[Backend, P], R]") -> Callable[P, R]:
    """Accept `--endpoint` and hand the command its backend as the first argument."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from headrace.cli.backend import Backend

        return command(Backend(endpoint()), *args, **kwargs)

    return endpoint_option(update_wrapper(call, command))


def with_system(command: "Callable[Concatenate[Backend | Deployed, P], R]") -> Callable[P, R]:
    """Accept `--endpoint`, and `--aws` with `--stack`, `--region`, `--profile`; hand the command what they point at."""

    def call(*args: Any, **given: Any) -> R:
        aws, stack, region, profile = (given.pop(name) for name in ("aws", "stack", "region", "profile"))
        if aws:
            from headrace.deploy.aws import STACK, Aws
            from headrace.deployed import Deployed

            return command(Deployed(Aws(profile, region), stack or STACK), *args, **given)
        if lone := [f"--{name}" for name, value in (("region", region), ("profile", profile)) if value]:
            raise click.UsageError(f"{' and '.join(lone)} go with --aws.")
        from headrace.cli.backend import Backend

        return command(Backend(endpoint()), *args, **given)

    wrapped: Callable[..., R] = update_wrapper(call, command)
    wrapped = click.option("--profile", metavar="NAME", help="With --aws: the profile of credentials.")(wrapped)
    wrapped = click.option("--region", metavar="NAME", help="With --aws: the region.")(wrapped)
    wrapped = click.option(
        "--stack", metavar="NAME", envvar="HEADRACE_STACK", help="With --aws: the stack (headrace)."
    )(wrapped)
    wrapped = click.option("--aws", is_flag=True, help="Ask the system that `headrace deploy` put on AWS.")(wrapped)
    return endpoint_option(wrapped)


def time_option(name: str, parameter: str, text: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add an option that takes a time; a day (2026-01-31) stands for its midnight in UTC."""

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        return f"{value}T00:00:00Z" if value is not None and _DAY.fullmatch(value) else value

    return click.option(name, parameter, metavar="T", callback=convert, help=text)


def range_options(noun: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add --from and --to, which become `start` and `end`; `noun` is what they are compared with."""
    first = f"The first {noun}: a day, RFC 3339 or epoch, inclusive."
    last = f"The {noun} to stop before: a day, RFC 3339 or epoch, exclusive."

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        return time_option("--from", "start", first)(time_option("--to", "end", last)(command))

    return decorate
