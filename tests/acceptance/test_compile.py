"""Extensions are compiled where there is a C compiler; where there is none, the package is built without them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.backend import ROOT

UV = ROOT / ".uv" / "bin" / "uv"
PROJECT = """
[project]
name = "small"
version = "1"

[tool.hatch.build.targets.wheel]
packages = ["src/small"]

[tool.hatch.build.targets.wheel.hooks.custom]
"""

pytestmark = [
    pytest.mark.skipif(not UV.exists() and not os.environ.get("CI"), reason="needs uv, which `make test` installs"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with one extension, which is built as Headrace is."""
    shutil.copyfile(ROOT / "hatch_build.py", tmp_path / "hatch_build.py")
    how = (ROOT / "pyproject.toml").read_text().partition("[project]")[0]
    (tmp_path / "pyproject.toml").write_text(how + PROJECT)
    (tmp_path / ".gitignore").write_text("*.so\n")
    package = tmp_path / "src" / "small"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "native.pyx").write_text("def twice(int number):\n    return 2 * number\n")
    return tmp_path


def uv(project: Path, compiler: str, *arguments: str) -> None:
    # Offline: what builds Headrace itself is in the cache.
    environment = os.environ | {"CC": compiler, "UV_OFFLINE": "1"}
    subprocess.run([UV, *arguments], cwd=project, env=environment, check=True, capture_output=True)


def twice(folder: Path) -> str:
    code = "from small.native import twice; print(twice(21))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(folder)})
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_a_wheel(project: Path) -> None:
    uv(project, "cc", "build", "--wheel", "--python", sys.executable)
    uv(project, "false", "build", "--wheel", "--python", sys.executable)
    pure, compiled = sorted((project / "dist").glob("*.whl"), key=lambda each: each.name != "small-1-py3-none-any.whl")
    with zipfile.ZipFile(pure) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".c"))]
    with zipfile.ZipFile(compiled) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".so")]) == 1
        assert not [name for name in archive.namelist() if name.endswith(".c")]
        archive.extractall(project / "installed")
    assert twice(project / "installed") == "42"
    assert {path.name for path in (project / "src" / "small").iterdir()} == {"__init__.py", "native.pyx"}


def test_an_editable_install(project: Path) -> None:
    install = ("pip", "install", "--reinstall", "--no-deps", "--python", sys.executable, "--target", "t", "-e", ".")
    uv(project, "cc", *install)
    assert twice(project / "src") == "42"
    uv(project, "false", *install)
    assert "No module named 'small.native'" in twice(project / "src")  # nothing stale is left
