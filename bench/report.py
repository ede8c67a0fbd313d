"""Writes what the benchmarks found to `docs/benchmarks.md`, with its plots, and the main figures to the README."""

import ast
from collections.abc import Iterable
from pathlib import Path

import plots
from results import BUSY_PERCENT, DURABILITY, HEADRACE, ROOT, WORK, Figure, Result, load, show

SECTIONS = {
    "ingest": "Ingest",
    "end_to_end": "The whole path",
    "reads": "Reading, and how soon",
    "invoke": "Invokes",
    "footprint": "Start and memory",
    "compaction": "The archive",
    "warehouse": "The warehouse",
    "durability": "What an acknowledgement means",
}

README = ROOT / "README.md"
MARKS = "<!-- written by `make bench` -->", "<!-- end -->"
MAIN = (
    "batches of 500, 1 under way",
    "batches of 500, 8 under way",
    "single puts on 32 connections",
    "events through both functions",
    "accepted to readable, beside 27,000 events/s, p99",
    "point read, idle, p99",
    "point read, beside 27,000 events/s, p50",
    "point read, beside 27,000 events/s, p99",
    "synchronous invokes, 4 connections",
    "start until ready",
    "idle memory, fresh",
    "peak memory of all processes",
)


def write(*, quick: bool) -> None:
    """Write the results there are; those of quick runs stay out of the documentation."""
    folder = WORK / "quick" if quick else ROOT / "docs"
    results = {section: found for section in SECTIONS if (found := load(section, quick=quick))}
    images = folder / "benchmarks"
    images.mkdir(parents=True, exist_ok=True)
    drawn = {section: plots.draw(found, images / f"{section}.svg") for section, found in results.items()}
    parts = [_head(results.values()), _aims(results)]
    parts += [_section(section, found, plot=drawn[section]) for section, found in results.items()]
    page = folder / "benchmarks.md"
    page.write_text("\n\n".join(parts) + "\n")
    print(f"written: {page.relative_to(ROOT)}", flush=True)
    if not quick:
        _write_main(results)


def _write_main(results: dict[str, Result]) -> None:
    """Write the main figures into the README, between its marks; what is not verified stays out."""
    figures = [figure for found in results.values() if found.verified for figure in found.figures]
    main = [figure for name in MAIN for figure in figures if figure.name == name]
    rows = [
        [figure.name, f"{show(figure.value)} {figure.unit}", "; ".join(map(figure.against, figure.beside))]
        for figure in main
    ]
    table = _table(("", HEADRACE, "in the same run"), rows)
    commits = ", ".join(sorted({found.commit for found in results.values()}))
    machines = "; ".join(sorted({found.machine for found in results.values()}))
    before, _, rest = README.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    README.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n({machines}; commit {commits})\n\n{MARKS[1]}{after}")


def _head(results: Iterable[Result]) -> str:
    measured = sorted({(found.commit, found.machine, "" if found.code else ", changed since") for found in results})
    lines = "\n".join(f"- commit {commit}{changed}; {machine}" for commit, machine, changed in measured)
    return f"""# Benchmarks

Written by `make bench`, which runs every command below and draws the plots. Absolute figures belong to the machine;
what each is compared with was measured in the same run, in turns. Medians over rounds. Beside each name stands what of
an acknowledged write is durable.

{lines}"""


def _aims(results: dict[str, Result]) -> str:
    rows = [
        (
            f"{SECTIONS[section]}: {figure.name}",
            f"{show(figure.value)} {figure.unit}",
            figure.aims(),
            _reached(found, figure),
        )
        for section, found in results.items()
        for figure in found.figures
        if figure.aims()
    ]
    return "## What it should reach\n\n" + _table(("", "measured", "aim", "reached"), rows)


def _reached(found: Result, figure: Figure) -> str:
    if not found.verified:
        return "not verified"
    missed = figure.misses()
    return f"no: {', '.join(missed)}" if missed else "yes"


def _section(section: str, found: Result, *, plot: bool) -> str:
    others = list(dict.fromkeys(name for figure in found.figures for name in figure.beside))
    header = ["", *(_label(name) for name in (HEADRACE, *others))]
    rows = [
        [
            figure.name,
            f"{show(figure.value)} {figure.unit}",
            *(figure.against(name).removeprefix(f"{name} ") if name in figure.beside else "" for name in others),
        ]
        for figure in found.figures
    ]
    parts = [
        f"## {SECTIONS[section]}",
        f"`bench/{section}.py`, {found.at}, {'verified' if found.verified else '**not verified**'}{_busy(found)}.",
        _docstring(section),
        _table(header, rows),
    ]
    if plot:
        parts.append(f"![{SECTIONS[section]}](benchmarks/{section}.svg)")
    if found.notes:
        parts.append("\n".join(f"- {note}" for note in found.notes))
    return "\n\n".join(parts)


def _busy(found: Result) -> str:
    """Return a warning where other work may have slowed the run."""
    busy = f"; **the machine was busy**: other work had {found.busy:.0f} % of the processors before the start"
    return busy if found.busy > BUSY_PERCENT else ""


def _docstring(section: str) -> str:
    """Return how a section measures: what its command says of itself."""
    return ast.get_docstring(ast.parse(Path(__file__).with_name(f"{section}.py").read_text())) or ""


def _label(name: str) -> str:
    return f"{name} ({DURABILITY[name]})" if name in DURABILITY else name


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] + ["--:"] * (len(lines[0]) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    write(quick=False)
