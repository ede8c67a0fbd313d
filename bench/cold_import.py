"""How long a function takes from a cold start on, by its package: imports, then clients, in new processes.

The package is made for this machine and unpacked as Lambda does: its code is there without compiled files, and nothing
may write any. boto3 and what it needs lie beside it compiled, as in Lambda's runtime. Printed: medians of time and of
processor time (which tells more where the machine is busy), and beside them a bare Python that imports boto3.

    python bench/cold_import.py [--runs 10] [--python /path/to/python3.13]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import msgspec

from headrace.deploy import lock, package
from headrace.deploy.wheels import Target

ROOT = Path(__file__).resolve().parents[1]
MS_MAX = 300
FUNCTIONS = ("store", "device_api", "archive")
BEGIN = """
import json, time
began, began_cpu, marks = time.perf_counter(), time.process_time(), {}
def mark(name):
    marks[name], marks[name + " cpu"] = time.perf_counter() - began, time.process_time() - began_cpu
import boto3
mark("boto3")
"""
FUNCTION = """
import FUNCTION
mark("imports")
from headrace import connect
connect.table("events"), connect.bucket("failures")
mark("clients")
"""
END = "print(json.dumps(marks))"
STEPS = ("boto3", "imports", "clients")
ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}


def main() -> int:
    """Measure and print; return 1 if `store` or `device_api` takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--python", default=sys.executable, help="the interpreter (this one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runtime = runtime_packages(folder / "runtime", arguments.python)
        print(f"ms (of processor time), medians of {arguments.runs}; each column includes those before it")
        print(f"{'':<12}" + "".join(f"{step:>16}" for step in STEPS))
        show("bare Python", measured(arguments.python, BEGIN + END, [runtime], arguments.runs))
        late = False
        for name in FUNCTIONS:
            task = unpacked(name, arguments.python, folder)
            code = BEGIN + FUNCTION.replace("FUNCTION", name) + END
            found = measured(arguments.python, code, [task, runtime], arguments.runs)
            show(name, found)
            late |= name != "archive" and found["imports"] > MS_MAX
    return int(late)


def show(name: str, found: dict[str, float]) -> None:
    """Print a row."""
    cells = [f"{found[step]:.0f} ({found[step + ' cpu']:.0f})" if step in found else "" for step in STEPS]
    print(f"{name:<12}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def runtime_packages(folder: Path, python: str) -> Path:
    """Put boto3 and what it needs into a folder, compiled."""
    site = Path(sysconfig.get_paths()["purelib"])
    for name in lock.IN_RUNTIME:
        module = {"python-dateutil": "dateutil"}.get(name, name)
        if (site / module).is_dir():
            shutil.copytree(site / module, folder / module, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(site / f"{module}.py", folder)
    subprocess.run([python, "-m", "compileall", "-q", str(folder)], check=True)
    return folder


def unpacked(name: str, python: str, folder: Path) -> Path:
    """Make a function's package for an interpreter on this machine and unpack it."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True, text=True
    ).stdout.strip()
    source = next(each for each in package.sources(ROOT / "template.yaml", {}) if each.handler.startswith(f"{name}."))
    here = Target.here()
    source = msgspec.structs.replace(source, target=Target(version, here.processor, here.glibc))
    built = package.build(source, folder / "zips")
    package.unpack(built, folder / name)
    return folder / name


def measured(python: str, code: str, path: list[Path], runs: int) -> dict[str, float]:
    """Return the medians of what a program prints, in milliseconds; the first run warms the disk and is left out."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, path)), **ENVIRONMENT}
    found = []
    for _ in range(runs + 1):
        done = subprocess.run([python, "-B", "-c", code], env=environment, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    return {key: statistics.median(each[key] for each in found[1:]) * 1000 for key in found[0]}


if __name__ == "__main__":
    raise SystemExit(main())
