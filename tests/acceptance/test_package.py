"""Packages as Lambda gets them: small, for the template's processor, the same every time, and they run unpacked."""

import json
import subprocess
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from headrace.deploy import environment, package
from headrace.deploy.wheels import Target
from support.command_line import run

ROOT = Path(__file__).resolve().parents[2]
MB_MAX = {"store": 10, "device_api": 10, "archive": 15}
_AARCH64 = 183  # e_machine of ELF


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, package.Built]:
    folder = tmp_path_factory.mktemp("packages")
    return {each.source.name: each for each in package.build_all(package.sources(ROOT / "template.yaml", {}), folder)}


def test_packages_are_small_and_for_the_templates_processor(built: dict[str, package.Built]) -> None:
    assert {name: each.zip_bytes < MB_MAX[name] * 1e6 for name, each in built.items()} == dict.fromkeys(MB_MAX, True)
    for name, each in built.items():
        tops = {place.partition("/")[0] for place in each.files}
        assert {"headrace", "msgspec", f"{name}.py"} <= tops
        assert not tops & {"boto3", "botocore", "s3transfer", "duckdb", "rocksdict", "nicegui", "click"}
        with zipfile.ZipFile(each.path) as archive:
            libraries = [place for place in each.files if place.endswith(".so")]
            assert libraries
            for place in libraries:
                assert int.from_bytes(archive.read(place)[18:20], "little") == _AARCH64, place
    assert "zstandard 0" in " ".join(built["archive"].distributions)
    assert "zstandard" not in " ".join(built["store"].distributions)


def test_the_same_code_makes_the_same_bytes(built: dict[str, package.Built], tmp_path: Path) -> None:
    again = package.build(built["store"].source, tmp_path)
    assert (again.path.name, again.path.read_bytes()) == (built["store"].path.name, built["store"].path.read_bytes())


def test_a_package_for_here_runs_unpacked_without_anything_else(tmp_path: Path) -> None:
    result = run(
        "package", "archive", "--here", "--template", str(ROOT / "template.yaml"), "--to", str(tmp_path), "--json"
    )
    made = json.loads(result.stdout)[0]
    assert made["python"] == Target.here().python
    with zipfile.ZipFile(made["path"]) as archive:
        archive.extractall(tmp_path / "task")
    code = (
        "import archive\nfrom headrace import connect\n"
        "class Bucket:\n    def __getattr__(self, name): return lambda *a: print(name, a[0])\n"
        "connect.use(buckets={'archive': Bucket()})\n"
        "record = {'kinesis': {'partitionKey': 'd', 'sequenceNumber': '1', 'data': 'e30=',"
        " 'approximateArrivalTimestamp': 1700000000.5}, 'eventID': 'shardId-000000000000:1',"
        " 'eventSourceARN': 'arn:aws:kinesis:us-east-1:000000000000:stream/events'}\n"
        "archive.handler({'Records': [record]}, None)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path / "task"), "ARCHIVE_BUCKET": "archive"}
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("put raw/dt=2023-11-14/hour=22/events-shardId-000000000000-1-1-1-"), done.stderr


def test_wheels_that_can_not_be_had_are_an_error_that_says_why(tmp_path: Path) -> None:
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    result = run("package", "store", "--template", str(ROOT / "template.yaml"), "--to", str(tmp_path), env=offline)
    assert result.exit_code == 1
    assert "can't be had" in result.stderr and "package index" in result.stderr


def test_the_environment_of_jobs_is_the_same_every_time_and_has_headrace_in_it(tmp_path: Path) -> None:
    entry = tmp_path / "job.py"
    entry.write_text("print(1)\n")
    made = [environment.jobs(ROOT / "reports", entry, ("msgspec",)) for _ in range(2)]
    prefix = made[0][0]
    assert made[1][0] == prefix
    keys, again = ({each.key.removeprefix(f"{prefix}/"): each.read() for each in some} for _, some in made)
    assert keys == again
    assert keys["emr/job.py"] == b"print(1)\n"
    assert {f"reports/{path.name}" for path in (ROOT / "reports").glob("*.sql")} <= set(keys)
    with tarfile.open(fileobj=BytesIO(keys["emr/environment.tar.gz"])) as archive:
        names = set(archive.getnames())
        library = next(name for name in names if name.startswith("msgspec/") and name.endswith(".so"))
        found = archive.extractfile(library)
        assert found is not None and int.from_bytes(found.read(20)[18:20], "little") == _AARCH64
    assert {"headrace/__init__.py", "headrace/archive/compaction.py"} <= names
    assert "cpython-311" in library and not [name for name in names if "__pycache__" in name]
    assert not [name for name in names if name.startswith("headrace/") and name.endswith((".so", ".pyx"))]
    entry.write_text("print(2)\n")
    assert environment.jobs(ROOT / "reports", entry, ("msgspec",))[0] != prefix


def test_a_function_that_there_is_not_is_named(tmp_path: Path) -> None:
    result = run("package", "nothing", "--template", str(ROOT / "template.yaml"), "--to", str(tmp_path))
    assert result.exit_code == 2 and "store, archive, device_api" in result.output
