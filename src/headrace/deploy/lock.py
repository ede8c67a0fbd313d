"""The distributions that packages may be made of: versions and hashes of the lock file, as they come with Headrace.

python -m headrace.deploy.lock uv.lock      writes lock.json again after the lock file has changed
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import HeadraceError

FILE = "lock.json"
ROOTS = ("aws-kinesis-agg", "boto3", "duckdb", "msgspec", "pybase64", "pyyaml", "zstandard")
# What Lambda's Python runtime has: packages leave it out.
IN_RUNTIME = frozenset({"boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"})
# Top-level modules whose distribution has another name.
_MODULES = {"google": "protobuf", "aws_kinesis_agg": "aws-kinesis-agg", "dateutil": "python-dateutil", "yaml": "pyyaml"}
_LINUX = ("manylinux", "none-any")
_PROCESSORS = ("aarch64", "x86_64", "any.whl")
_OLD = ("cp38", "cp39", "cp310", "pp3", "cp36", "cp37", "cp31-", "graalpy", "cp313t", "cp314t", "cp315t")


class Locked(msgspec.Struct, frozen=True):
    """A distribution: what it requires, by name, and the SHA-256 of its wheels for Linux."""

    version: str
    requires: tuple[str, ...]
    sha256: tuple[str, ...]

    def requirement(self, name: str) -> str:
        """Return the line of a requirements file that takes exactly this."""
        return " ".join([f"{name}=={self.version}", *(f"--hash=sha256:{each}" for each in self.sha256)])


def load() -> dict[str, Locked]:
    """Return the distributions by name."""
    return msgspec.json.decode(files("headrace.deploy").joinpath(FILE).read_bytes(), type=dict[str, Locked])


def of_modules(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the distributions that top-level modules are of; raises HeadraceError for one that is in no package."""
    known = load()
    found = set()
    for module in modules:
        name = _MODULES.get(module, module.replace("_", "-"))
        if name not in known:
            raise HeadraceError(
                f"The module {module} is of no distribution that packages are made of.",
                "Name its distribution in a requirements.txt beside your function.",
            )
        found.add(name)
    return with_requirements(found)


def with_requirements(names: Iterable[str]) -> tuple[str, ...]:
    """Return distributions with all that they require, sorted."""
    known, found, waiting = load(), set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += known[name].requires
    return tuple(sorted(found))


def extract(text: str) -> dict[str, Locked]:
    """Return the distributions that a lock file (uv.lock) holds for packages."""
    packages: dict[str, dict[str, Any]] = {each["name"]: each for each in tomllib.loads(text)["package"]}
    found: dict[str, Locked] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        package = packages[name]
        requires = [each["name"] for each in package.get("dependencies", []) if "marker" not in each]
        wheels = [each for each in package.get("wheels", []) if _is_wanted(each["url"].rpartition("/")[2])]
        hashes = sorted(each["hash"].removeprefix("sha256:") for each in wheels)
        found[name] = Locked(package["version"], tuple(sorted(requires)), tuple(hashes))
        waiting += requires
    return dict(sorted(found.items()))


def _is_wanted(wheel: str) -> bool:
    if "-abi3-" not in wheel and any(f"-{old}" in wheel for old in _OLD):
        return False
    return any(system in wheel for system in _LINUX) and any(each in wheel for each in _PROCESSORS)


def main(arguments: list[str]) -> None:
    """Write the lock file's distributions beside this file."""
    found = extract(Path(arguments[0]).read_text(encoding="utf-8"))
    text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n"
    Path(__file__).with_name(FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
