"""`headrace jobs`: batch jobs over archive and tables, by hand and what became of those that schedules started."""

import contextlib
import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from headrace import clock
from headrace.cli.backend import Backend, path_segment
from headrace.cli.options import endpoint_option, json_option, with_backend, with_system
from headrace.cli.output import Progress, duration, print_json, printable, table
from headrace.deployed import Deployed
from headrace.errors import HeadraceError, Unavailable

POLL_S = 0.3
RESTART_S_MAX = 60.0  # of a backend that a run is waited for at
ENDED = ("succeeded", "failed", "cancelled")


@click.group("jobs")
@endpoint_option
def jobs_command() -> None:
    """Run jobs over archive and tables, and see what became of them."""


@jobs_command.command("list")
@json_option
@with_system
def list_command(backend: Backend | Deployed, as_json: bool) -> None:
    """List the jobs: what they do, when they run next, and how they ended last."""
    jobs = backend.get("jobs")["jobs"]
    if as_json:
        print_json(jobs)
        return
    rows = [[job["job"], ", ".join(job["schedules"]) or None, job["next"], *_last(job["last"])] for job in jobs]
    click.echo(table(("job", "schedule", "next", "last", "state"), rows))


@jobs_command.command("run")
@click.argument("job", metavar="NAME")
@click.option("--engine", type=click.Choice(["duckdb", "spark"]), help="What computes it (its schedule's, or duckdb).")
@click.option("--from", "start", metavar="DAY", help="Compute these days again, changed or not: the first one.")
@click.option("--to", "end", metavar="DAY", help="The day to stop before.")
@click.option("--parameter", "parameters", metavar="K=V", multiple=True, help="A parameter of the report.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit with 1 if it has not succeeded.")
@json_option
@with_backend
def run_command(
    backend: Backend,
    job: str,
    engine: str | None,
    start: str | None,
    end: str | None,
    parameters: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Run the job NAME now.

    A report computes the days that changed since its last run; --from and --to say others.
    """
    given = dict(map(_parameter, parameters))
    asked = {"engine": engine, "from": start, "to": end, "parameters": given or None}
    body = {name: value for name, value in asked.items() if value is not None}
    run = backend.post(f"jobs/{path_segment(job)}/run", body)
    if wait:
        run = wait_for(backend, run["id"])
    if as_json:
        print_json(run)
    else:
        click.echo(_story(run))
    if wait and run["state"] != "succeeded":
        raise failure(run)


@jobs_command.command("show")
@click.argument("name", metavar="RUN|NAME")
@click.option("--limit", metavar="N", type=click.IntRange(1, 1000), default=10, help="Of a job: how many runs (10).")
@json_option
@with_backend
def show_command(backend: Backend, name: str, limit: int, as_json: bool) -> None:
    """Show a run and its attempts, or the last runs of a job."""
    runs = backend.get("jobs/runs", [("job", name), ("limit", str(limit))])["runs"]
    if not runs:
        run = backend.get(f"jobs/runs/{path_segment(name)}")
        print_json(run) if as_json else click.echo(_story(run))
    elif as_json:
        print_json(runs)
    else:
        rows = [[run["id"], *_last(run), run["trigger"], run["settings"]["engine"], _took(run)] for run in runs]
        click.echo(table(("run", "created", "state", "by", "engine", "took"), rows))


@jobs_command.command("cancel")
@click.argument("name", metavar="RUN|NAME")
@json_option
@with_backend
def cancel_command(backend: Backend, name: str, as_json: bool) -> None:
    """End a run; what it has put in place already stays, all of it or nothing."""
    run = backend.post(f"jobs/runs/{path_segment(name)}/cancel", {})
    run = wait_for(backend, run["id"]) if run["state"] == "running" else run
    print_json(run) if as_json else click.echo(_story(run))


@jobs_command.command("logs")
@click.argument("name", metavar="RUN|NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended, or Ctrl-C.")
@json_option
@with_backend
def logs_command(backend: Backend, name: str, follow: bool, as_json: bool) -> None:
    """Show what a run wrote, or the last run of a job. With --json every part is an object of its own."""
    run = backend.get(f"jobs/runs/{path_segment(name)}")
    path, offset = f"jobs/runs/{path_segment(run['id'])}", 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            ended = run["state"] in ENDED  # looked at first: what it wrote before its end is then read below
            part = backend.get(f"{path}/log", [("offset", str(offset))])
            offset = part["offset"]
            if part["text"]:
                _print(run["id"], part["text"], as_json)
                continue
            if ended or not follow:
                return
            clock.sleep(POLL_S)
            run = backend.get(path)


def wait_for(backend: Backend, run_id: str) -> dict[str, Any]:
    """Return a run once it has ended; raises Unavailable where nothing answers for longer than a restart takes."""
    progress = Progress()
    began_s = answered_s = clock.monotonic_s()
    while True:
        try:
            run: dict[str, Any] = backend.get(f"jobs/runs/{path_segment(run_id)}")
        except Unavailable:
            if clock.monotonic_s() - answered_s > RESTART_S_MAX:
                raise
        else:
            answered_s = clock.monotonic_s()
            if run["state"] in ENDED:
                progress.clear()
                return run
            progress.show(f"{run_id}: {run['state']}, {answered_s - began_s:.0f} s")
        clock.sleep(POLL_S)


def failure(run: dict[str, Any], *, is_named: bool = True) -> HeadraceError:
    """Return the error for a run that did not succeed; where it `is_named`, it begins with the run's id."""
    problem, hint = _error(run)
    if is_named or not problem:
        problem = f"{run['id']} has {run['state']}. {problem}".strip()
    return HeadraceError(problem, hint)


def _error(run: dict[str, Any]) -> tuple[str, str]:
    for attempt in reversed(run["attempts"]):
        if attempt["error"]:
            return attempt["error"][0], attempt["error"][1]
    return "", ""


def _story(run: dict[str, Any]) -> str:
    lines = [f"{run['id']}  {run['state']}  on {run['settings']['engine']}, by {run['trigger']}"]
    if run["first"] or run["last"]:
        end = date.fromisoformat(run["last"]) + timedelta(days=1) if run["last"] else "now"
        lines.append(f"  days from {run['first'] or 'the first'} to {end}")
    for number, attempt in enumerate(run["attempts"], 1):
        took = duration(attempt["ended_ms"] - attempt["started_ms"]) if attempt["ended_ms"] else "so far"
        lines.append(f"  attempt {number}  {_time(attempt['started_ms'])}  {took}  {attempt['outcome'] or 'running'}")
        lines += [f"    {printable(line)}" for text in attempt["error"] or () for line in text.splitlines()]
    if run["state"] == "waiting":
        lines.append(f"  next attempt at {_time(run['due_ms'])}")
    if run["result"]:
        lines.append("  " + ", ".join(f"{name} {value:,}" for name, value in run["result"].items()))
        if run["result"].get("problems"):
            lines.append(f"  SOME WAS PASSED OVER: headrace jobs logs {run['id']}")
    return "\n".join(lines)


def _last(run: dict[str, Any] | None) -> list[str | None]:
    if run is None:
        return [None, None]
    passed_over = " (some was passed over)" if (run["result"] or {}).get("problems") else ""
    return [_time(run["created_ms"]), run["state"] + passed_over]


def _took(run: dict[str, Any]) -> str | None:
    ended = [attempt["ended_ms"] for attempt in run["attempts"] if attempt["ended_ms"]]
    return duration(ended[-1] - run["attempts"][0]["started_ms"]) if ended else None


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _parameter(text: str) -> tuple[str, int | float | str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.BadParameter(f"{text!r} is no parameter; write it like gap_s=900.")
    with contextlib.suppress(ValueError):
        return name, int(value)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(value)):
            return name, number
    return name, value


def _print(run_id: str, text: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"run": run_id, "text": text}, ensure_ascii=False))
        return
    for line in text.splitlines():
        click.echo(printable(line))
