"""Every benchmark, one after the other, and what they found written to `docs/benchmarks.md`.

Each is a command of its own and keeps its result under `.bench/`: interrupted or repeated, only those run that have no
verified result of the code as it is, from a machine that had nothing else to do. `--quick` runs them briefly, to see
that they work, and writes to `.bench/quick/`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

import report
from results import BUSY, BUSY_PERCENT, WORK, code, load


def measured(section: str, *, quick: bool) -> bool:
    """Return whether there is a verified result of the code as it is, from a machine that was idle."""
    found, now = load(section, quick=quick), code()
    return found is not None and found.verified and found.code == now != "" and found.busy <= BUSY_PERCENT


def main() -> int:
    """Run what has to be run; return 1 if something could not be verified."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"those to run: {' '.join(report.SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="short runs, to see that they work")
    parser.add_argument("--again", action="store_true", help="run those too that have a result")
    arguments = parser.parse_args()
    for left in WORK.glob("data-*"):  # of runs that were killed
        shutil.rmtree(left, ignore_errors=True)
    failed = []
    for section in arguments.sections or report.SECTIONS:
        if not arguments.again and measured(section, quick=arguments.quick):
            print(f"== {section}: measured already on this code", flush=True)
            continue
        busy = psutil.cpu_percent(2)
        print(f"== {section} (other work has {busy:.0f} % of the processors)", flush=True)
        began = time.monotonic()
        command = [sys.executable, str(Path(__file__).with_name(f"{section}.py"))]
        environment = {**os.environ, BUSY: str(busy)}
        if subprocess.run(command + ["--quick"] * arguments.quick, check=False, env=environment).returncode != 0:
            failed.append(section)
        print(f"== {section}: {time.monotonic() - began:.0f} s", flush=True)
    report.write(quick=arguments.quick)
    if failed:
        print(f"not verified: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
