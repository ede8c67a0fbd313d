"""`headrace upload`: this machine's system, moved to AWS."""

from pathlib import Path
from typing import Any

import click

from headrace import clock
from headrace.cli.backup import DATA
from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import Progress, note, print_json, size, table


@click.command("upload")
@DATA
@click.option(
    "--stack", metavar="NAME", envvar="HEADRACE_STACK", default="headrace", help="The stack to move to (headrace)."
)
@click.option("--events-table", metavar="NAME", help="The table of events, instead of the stack's.")
@click.option("--devices-table", metavar="NAME", help="The table of devices, instead of the stack's.")
@click.option("--archive-bucket", metavar="NAME", help="The archive's bucket, instead of the stack's.")
@click.option("--failures-bucket", metavar="NAME", help="The bucket of failures, instead of the stack's.")
@click.option("--dry-run", is_flag=True, help="Only say how much there is, and about what moving it costs.")
@click.option("--restart", is_flag=True, help="Look at everything again, instead of going on where it was.")
@json_option
@ignored_endpoint_option
def upload_command(data: Path, stack: str, dry_run: bool, restart: bool, as_json: bool, **named: str | None) -> None:
    """Move this machine's data to the same system on AWS.

    Tables, the archive with its catalogue, and failures. The backend is at work meanwhile, and devices may send to
    either place: identities make it safe to run this again, and nothing newer on AWS is replaced. Run it once more when
    the last device has been switched over. An interrupted upload goes on where it was. What was put is read back, or
    its digest compared. Region and credentials are those of AWS_REGION and AWS_PROFILE, as with AWS's own tools.
    """
    from headrace.operations.upload import run, target
    from headrace.settings import Layout

    layout = Layout(data.resolve())
    source = run.Source(layout)
    try:
        if dry_run:
            _show_estimate(run.estimated(source), as_json)
            return
        found = target.find(stack, {name: value for name, value in named.items() if value})
        target.check(found)
        _upload(source, layout, found, restart, as_json)
    finally:
        source.close()


def _upload(source: Any, layout: Any, found: Any, restart: bool, as_json: bool) -> None:
    from headrace import disk
    from headrace.errors import HeadraceError
    from headrace.operations.upload import run
    from headrace.operations.upload.journal import Journal

    disk.make_folder(layout.uploads)
    with disk.locked(layout.uploads / "lock", "headrace upload"):
        journal = Journal(layout.uploads, found, restart)
        if journal.resumed:
            note(
                f"going on with the upload that was interrupted, at {journal.state.step} (--restart looks at all again)"
            )
        progress, began_s = Progress(), clock.monotonic_s()
        before = sum(counts.seen for counts in journal.state.counts.values())

        def told(step: str, counts: Any) -> None:
            done = sum(counts.seen for counts in journal.state.counts.values()) - before
            rate = done / max(clock.monotonic_s() - began_s, 0.001)
            progress.show(f"{step}: {counts.seen:,} looked at, {counts.put:,} put  {rate:,.0f}/s")

        try:
            run.Upload(source, found, journal, told).run()
        except KeyboardInterrupt:
            raise HeadraceError("Interrupted.", "Run the command again: it goes on where it was.") from None
        except HeadraceError:
            progress.clear()
            note(f"stopped at {journal.state.step}; run again, it goes on from there")
            raise
        finally:
            progress.clear()
        _report(journal.state, clock.monotonic_s() - began_s, as_json)


def _report(state: Any, seconds: float, as_json: bool) -> None:
    import msgspec

    if as_json:
        summary: dict[str, Any] = msgspec.to_builtins(state)
        kept = {name: summary[name] for name in ("target", "counts", "digests")}
        print_json(kept | {"seconds": round(seconds, 3)})
        return
    heads = ("", "looked at", "put", "there before", "newer on AWS", "bytes")
    rows = [
        [step, f"{counts.seen:,}", f"{counts.put:,}", f"{counts.there:,}", f"{counts.kept:,}", size(counts.bytes)]
        for step, counts in state.counts.items()
    ]
    click.echo(table(heads, rows))
    click.echo(f"\nverified, in {seconds:.1f} s. Run it again when the last device sends to AWS.")


def _show_estimate(parts: Any, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json(msgspec.to_builtins(parts))
        return
    rows = [
        [name, f"{part.count:,}", size(part.bytes), f"{part.usd:,.2f}", f"{part.usd_month:,.2f}"]
        for name, part in parts.items()
    ]
    click.echo(table(("", "count", "bytes", "$ once", "$ a month"), rows))
    click.echo(f"\nabout ${sum(part.usd for part in parts.values()):,.2f} to move all of it, if AWS has none of it yet")
