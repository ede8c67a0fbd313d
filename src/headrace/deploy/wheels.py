"""Fetching wheels for the machine that a package will run on, through uv or pip: from their cache, or the index.

Versions and hashes are the lock's; nothing is built, so what has no wheel for that machine is an error.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from headrace.deploy import lock
from headrace.errors import HeadraceError, UsageError

_PROCESSORS = {"arm64": "aarch64", "x86_64": "x86_64"}
_FETCH_S_MAX = 300
# What installers leave beside the files, and nothing needs at work.
_DROPPED_NAMES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
_DROPPED_SUFFIXES = (".pyc", ".pyi", ".c", ".h", ".pyx", ".pxd")
_DROPPED_FOLDERS = ("bin", "__pycache__", "sboms")
# The second backend of zstandard, for interpreters that can't load the first: half of its weight.
_DROPPED_FILES = ("zstandard/_cffi",)


class Target(msgspec.Struct, frozen=True):
    """The machine that code will run on: `python` like 3.14, `processor` arm64 or x86_64, glibc of at least `glibc`."""

    python: str
    processor: str
    glibc: str = "2_28"

    @classmethod
    def of(cls, runtime: str, processor: str) -> "Target":
        """Return the target of a Lambda runtime; raises UsageError for one that is not Python's."""
        if not runtime.startswith("python3."):
            raise UsageError(
                f"The runtime {runtime!r} is not Python's.", "Packages are built for python3.11 and newer."
            )
        if processor not in _PROCESSORS:
            raise UsageError(f"There is no processor {processor!r}.", "Architectures may be [arm64] or [x86_64].")
        version = runtime.removeprefix("python")
        # Amazon Linux 2023, from python3.12 on, has glibc 2.34; before it there was 2.26.
        return cls(version, processor, "2_28" if int(version.partition(".")[2]) >= 12 else "2_17")

    @classmethod
    def here(cls) -> "Target":
        """Return this interpreter on this machine: for trying packages without AWS."""
        machine = os.uname().machine
        return cls(f"{sys.version_info[0]}.{sys.version_info[1]}", "arm64" if machine == "aarch64" else machine)

    @property
    def machine(self) -> str:
        """Return the processor as wheels name it."""
        return _PROCESSORS[self.processor]


def fetch(target: Target, names: Iterable[str], folder: Path, own: Path | None = None) -> None:
    """Put the files of distributions of the lock, and of a requirements file of the user's, into a folder.

    Raises HeadraceError: nothing to fetch with, nothing to be had offline, no wheel for the target.
    """
    known = lock.load()
    lines = [known[name].requirement(name) for name in names]
    with TemporaryDirectory(prefix="headrace-") as temporary:
        if lines:
            locked = Path(temporary) / "requirements.txt"
            locked.write_text("\n".join(lines) + "\n")
            _install(target, folder, ["--no-deps", "--require-hashes", "-r", str(locked)])
        if own is not None:
            _install(target, folder, ["-r", str(own)])
    _clean(folder)


def _install(target: Target, folder: Path, arguments: list[str]) -> None:
    command = [*_installer(target), "--quiet", "--target", str(folder), "--only-binary", ":all:", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_REQUIRE", "PYTHON"))}
    try:
        done = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=_FETCH_S_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise HeadraceError("The wheels did not come in time.", "Look at the network, then try again.") from error
    if done.returncode:
        reason = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise HeadraceError(
            f"The wheels for Python {target.python} on {target.machine} can't be had:\n{reason}",
            "They come from the package index, once: look at the network, or at what is said above. "
            "A distribution without such a wheel can't be packed.",
        )


def _installer(target: Target) -> list[str]:
    """Return the command that installs for the target, from uv where there is one, else pip."""
    beside = Path(sys.prefix).parent / ".uv" / "bin" / "uv"
    uv = os.environ.get("UV") or shutil.which("uv") or (str(beside) if beside.is_file() else None)
    if uv:
        platform = f"{target.machine}-manylinux_{target.glibc}"
        return [uv, "pip", "install", "--python", sys.executable, "--python-version", target.python,
                "--python-platform", platform, "--link-mode", "copy"]  # fmt: skip
    if subprocess.run([sys.executable, "-m", "pip", "--version"], check=False, capture_output=True).returncode:
        raise HeadraceError("There is neither uv nor pip to fetch wheels with.", "Install one: pip install uv.")
    platforms = [f"manylinux_{glibc}_{target.machine}" for glibc in dict.fromkeys((target.glibc, "2_17", "2_5"))]
    platforms.append(f"manylinux2014_{target.machine}")
    return [sys.executable, "-m", "pip", "install", "--implementation", "cp", "--python-version", target.python,
            "--no-compile", "--disable-pip-version-check",
            *(each for platform in platforms for each in ("--platform", platform))]  # fmt: skip


def _clean(folder: Path) -> None:
    """Remove what is not needed at work, or differs from one installation to the next."""
    for path in sorted(folder.rglob("*"), reverse=True):
        place = path.relative_to(folder).as_posix()
        if path.is_dir():
            if path.name in _DROPPED_FOLDERS and (path.parent == folder or path.name != "bin"):
                shutil.rmtree(path)
        elif (
            path.suffix in _DROPPED_SUFFIXES
            or place.startswith(_DROPPED_FILES)
            or path.name.startswith(".")
            or (path.parent.name.endswith(".dist-info") and path.name in _DROPPED_NAMES)
        ):
            path.unlink()
