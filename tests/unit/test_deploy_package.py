"""What goes into a package: modules by their imports, distributions by the lock, bytes by the content alone."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from headrace.deploy import bundle, lock, package
from headrace.deploy.closure import closure
from headrace.deploy.wheels import Target
from headrace.errors import HeadraceError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    write(
        tmp_path,
        main="import json, zeta\nfrom pack import inner, NAME\ndef f():\n    from pack.lazy import x; import boto3\n",
        pack__inner="from . import sibling\nfrom .deep.leaf import y\n",
        pack__sibling="",
        pack__lazy="x = 1",
        pack__deep__leaf="y = 1",
        pack__unused="import nothing",
    )
    (tmp_path / "pack" / "__init__.py").write_text("NAME = 1")
    (tmp_path / "pack" / "deep" / "__init__.py").write_text("")
    found = closure(["main"], tmp_path)
    assert set(found.files) == {
        *("main.py", "pack/__init__.py", "pack/inner.py", "pack/sibling.py", "pack/lazy.py"),
        *("pack/deep/__init__.py", "pack/deep/leaf.py"),
    }
    assert found.outside == {"zeta", "boto3"}


def test_what_is_for_type_checkers_or_one_machine_alone_is_left_out() -> None:
    found = closure(["headrace.connect"], ROOT / "src")
    assert "headrace/table/base.py" in found.files
    assert "headrace/table/local.py" not in found.files and "headrace/archive/local.py" not in found.files
    assert not found.outside & {"rocksdict", "httptools", "duckdb", "uvloop"}


def test_of_site_packages_headrace_alone_is_followed_and_nothing_compiled_is_taken(tmp_path: Path) -> None:
    installed = write(tmp_path / "site-packages", other="import numpy")
    write(installed / "headrace", connect="import other\nfrom headrace import native")
    for name in ("__init__.py", "native.pyx", "native.so"):
        (installed / "headrace" / name).touch()
    found = closure(["main"], write(tmp_path / "code", main="from headrace import connect\nimport other"), installed)
    assert set(found.files) == {"main.py", "headrace/__init__.py", "headrace/connect.py"}
    assert found.outside == {"other"}


def test_type_checking_blocks_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path, main="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n")
    assert closure(["main"], tmp_path).outside == {"b"}


def test_code_that_is_no_python_is_named(tmp_path: Path) -> None:
    write(tmp_path, main="import broken", broken="def f(:\n")
    with pytest.raises(HeadraceError, match=r"broken\.py is no Python"):
        closure(["main"], tmp_path)
    with pytest.raises(HeadraceError, match="no module nowhere"):
        closure(["nowhere"], tmp_path)


def test_the_lock_is_the_lock_files() -> None:
    assert lock.load() == lock.extract((ROOT / "uv.lock").read_text()), "run: python -m headrace.deploy.lock uv.lock"


def test_distributions_of_modules() -> None:
    assert lock.of_modules(["aws_kinesis_agg", "msgspec"]) == ("aws-kinesis-agg", "msgspec", "protobuf")
    with pytest.raises(HeadraceError, match="numpy"):
        lock.of_modules(["numpy"])
    assert {"boto3", *lock.with_requirements(["boto3"])} == lock.IN_RUNTIME


def test_archives_depend_on_content_alone(tmp_path: Path) -> None:
    made = []
    for at, names in enumerate((("a.py", "b.so"), ("b.so", "a.py"))):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name * 100)
            (folder / name).chmod(0o600 + at)
        files = {name: folder / name for name in names}
        made.append((bundle.digest(files), bundle.zipped(files), bundle.tarred(files)))
    assert made[0] == made[1]
    with zipfile.ZipFile(BytesIO(made[0][1])) as archive:
        assert [oct(info.external_attr >> 16) for info in archive.infolist()] == ["0o100644", "0o100755"]
    (tmp_path / "1" / "a.py").write_text("other")
    assert bundle.digest({name: tmp_path / "1" / name for name in ("a.py", "b.so")}) != made[0][0]


def test_sources_are_the_templates_functions() -> None:
    found = {each.logical_id: each for each in package.sources(ROOT / "template.yaml", {})}
    assert set(found) == {"Store", "ArchiveFunction", "DeviceApi"}
    assert found["Store"].handler == "store.handler" and found["Store"].code == ROOT / "functions"
    assert found["Store"].target.processor == "arm64"
    assert found["Store"].others == {"archive", "device_api"}


def test_a_function_carries_its_folder_but_not_other_functions() -> None:
    store = next(each for each in package.sources(ROOT / "template.yaml", {}) if each.logical_id == "Store")
    assert set(package._own(store)) == {"store.py"}


@pytest.mark.parametrize(
    ("runtime", "processor"), [("nodejs22.x", "arm64"), ("python2.7", "arm64"), ("python3.13", "mips")]
)
def test_targets_that_there_are_not(runtime: str, processor: str) -> None:
    with pytest.raises(UsageError):
        Target.of(runtime, processor)


def test_a_package_beyond_lambdas_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, main="def handler(event, context): ...")
    (tmp_path / "data.bin").write_bytes(bytes(10_000))
    source = package.Source("Main", "main", tmp_path, "main.handler", Target("3.13", "arm64"))
    assert package.build(source, tmp_path / "out").files == ("data.bin", "main.py")
    monkeypatch.setattr(package, "UNZIPPED_BYTES_MAX", 5_000)
    with pytest.raises(HeadraceError, match=r"10,\d+ bytes unpacked; Lambda takes 5,000"):
        package.build(source, tmp_path / "again")
