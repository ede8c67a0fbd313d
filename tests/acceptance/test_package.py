"""Packages as Lambda gets them: small, for the template's processor, the same every time, and they run unpacked."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from headrace.deploy import package
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


def test_a_function_that_there_is_not_is_named(tmp_path: Path) -> None:
    result = run("package", "nothing", "--template", str(ROOT / "template.yaml"), "--to", str(tmp_path))
    assert result.exit_code == 2 and "store, archive, device_api" in result.output
