"""`headrace completion`: the script that makes a shell complete commands, options and the names of functions."""

import click

from headrace.cli.options import endpoint_of, ignored_endpoint_option

ANSWER_S_MAX = 0.5  # a backend that takes longer completes nothing
_HOW = {
    "bash": 'eval "$(headrace completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(headrace completion zsh)" in ~/.zshrc, after compinit',
    "fish": "headrace completion fish > ~/.config/fish/completions/headrace.fish",
}


@click.command("completion", epilog="\b\n" + "\n".join(_HOW.values()))
@click.argument("shell", type=click.Choice(list(_HOW)))
@ignored_endpoint_option
def completion_command(shell: str) -> None:
    """Print the script that has a shell complete headrace's commands.

    Names of functions come from the running backend, if it answers at once.
    """
    from click.shell_completion import get_completion_class

    from headrace.cli.main import headrace

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(headrace, {}, "headrace", "_HEADRACE_COMPLETE").source())


def functions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the functions that begin with what was typed."""
    return _names(ctx, incomplete, ("functions",))


def logs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the functions and processes with a log that begin with what was typed."""
    return _names(ctx, incomplete, ("functions", "processes"))


def _names(ctx: click.Context, incomplete: str, kinds: tuple[str, ...]) -> list[str]:
    from headrace.cli.backend import Backend
    from headrace.errors import HeadraceError

    try:
        answer = Backend(endpoint_of(ctx)).get("logs", timeout_s=ANSWER_S_MAX)
        return [name for kind in kinds for name in answer[kind] if name.startswith(incomplete)]
    except (HeadraceError, ValueError, KeyError):
        return []
