"""Runs the command line inside the test's process."""

from collections.abc import Mapping

from click.testing import CliRunner, Result

from headrace.cli.main import headrace


def run(*arguments: object, env: Mapping[str, str | None] | None = None, stdin: bytes = b"") -> Result:
    """Run `headrace` with arguments; the result has exit_code, stdout and stderr. An unexpected exception is raised."""
    clean = {
        "HEADRACE_ENDPOINT": None,
        "HEADRACE_PORT": None,
        "HEADRACE_DATA": None,
        "AWS_ACCESS_KEY_ID": None,
        "AWS_PROFILE": None,
    }
    result = CliRunner().invoke(headrace, [str(a) for a in arguments], input=stdin, env={**clean, **(env or {})})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
