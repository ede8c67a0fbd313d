"""A function's package: its folder, the modules of Headrace that it reaches, and the wheels that these need.

    for source in package.sources(template, parameters):
        built = package.build(source, folder)

The same code and lock make the same zip, byte for byte (with the same zlib). A folder's `requirements.txt` adds
distributions of the user's own. boto3 is the runtime's, and is never packed.
"""

import shutil
import zipfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from headrace.deploy import bundle, lock, wheels
from headrace.deploy.closure import closure
from headrace.deploy.wheels import Target
from headrace.errors import HeadraceError, UsageError
from headrace.template import on_aws

UNZIPPED_BYTES_MAX = 262_144_000  # Lambda's limit for a function with its layers
REQUIREMENTS = "requirements.txt"
_NOT_CODE = ("__pycache__", REQUIREMENTS, "Makefile", "README.md")
_TYPES = ("AWS::Serverless::Function", "AWS::Lambda::Function")


class Source(msgspec.Struct, frozen=True):
    """What a package is made from. `others` are the handler modules of the template's other functions in `code`."""

    logical_id: str
    name: str
    code: Path
    handler: str
    target: Target
    others: frozenset[str] = frozenset()


class Built(msgspec.Struct, frozen=True):
    """A package. `digest` tells its content; `files` are the paths in it; `distributions` with their versions."""

    source: Source
    path: Path
    digest: str
    zip_bytes: int
    unzipped_bytes: int
    files: tuple[str, ...]
    distributions: tuple[str, ...]


def sources(template: Path, parameters: Mapping[str, str]) -> list[Source]:
    """Return the functions of a template whose code is a folder beside it; raises TemplateError or UsageError."""
    declared = on_aws.read_deployed(template, parameters)
    found = []
    for logical_id, resource in declared.resources.items():
        code = resource.properties.get("CodeUri", resource.properties.get("Code"))
        if resource.type in _TYPES and isinstance(code, str) and "://" not in code:
            found.append(_source(logical_id, resource.properties, template.resolve().parent / code))
    handlers = {(source.code, _module(source.handler)) for source in found}
    return [
        msgspec.structs.replace(
            source, others=frozenset(m for c, m in handlers if c == source.code) - {_module(source.handler)}
        )
        for source in found
    ]


def _source(logical_id: str, properties: Mapping[str, Any], code: Path) -> Source:
    processor = str((properties.get("Architectures") or ["x86_64"])[0])
    target = Target.of(str(properties.get("Runtime", "")), processor)
    name = str(properties.get("FunctionName", logical_id))
    return Source(logical_id, name, code.resolve(), str(properties.get("Handler", "")), target)


def _module(handler: str) -> str:
    return handler.rpartition(".")[0]


def build(source: Source, folder: Path) -> Built:
    """Write `<folder>/<function>-<digest>.zip`; raises HeadraceError where it can't be, or would be too large."""
    if not source.code.is_dir():
        raise UsageError(f"{source.logical_id}: there is no folder {source.code}.", "Mend its CodeUri.")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="headrace-") as temporary:
        found, distributions = _content(source, Path(temporary))
        digest = bundle.digest(found)
        unzipped = sum(path.stat().st_size for path in found.values())
        _check_size(source, unzipped, found)
        data = bundle.zipped(found)
    path = folder / f"{source.name}-{digest}.zip"
    path.write_bytes(data)
    return Built(source, path, digest, len(data), unzipped, tuple(sorted(found)), distributions)


def unpack(built: Built, folder: Path) -> None:
    """Unpack a package, as Lambda does."""
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(folder)


def lay_out(source: Source, folder: Path) -> None:
    """Put a package's content into a folder, as it is: for builders that zip by themselves."""
    with TemporaryDirectory(prefix="headrace-") as temporary:
        found, _ = _content(source, Path(temporary))
        for place, path in found.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / place)


def _content(source: Source, temporary: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the files by their path in the package; wheels are unpacked in the temporary folder."""
    own = _own(source)
    installed = Path(str(files("headrace"))).parent
    modules = [
        place.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for place in own if _is_code(place)
    ]
    reached = closure(modules, source.code, installed)
    requirements = source.code / REQUIREMENTS
    theirs = requirements if requirements.is_file() else None
    outside = reached.outside - {"headrace"}
    if theirs is not None:  # then what is not ours is the requirements' business
        known = lock.load()
        outside = frozenset(each for each in outside if each.replace("_", "-") in known or each in ("google", "yaml"))
    names = [name for name in lock.of_modules(outside) if name not in lock.IN_RUNTIME]
    wheels.fetch(source.target, names, temporary, theirs)
    fetched = {path.relative_to(temporary).as_posix(): path for path in temporary.rglob("*") if path.is_file()}
    ours = {place: path for place, path in reached.files.items() if place.startswith("headrace/")}
    known = lock.load()
    return {**fetched, **ours, **own}, tuple(f"{name} {known[name].version}" for name in names)


def _own(source: Source) -> dict[str, Path]:
    """Return the files of the function's folder, without other functions' handlers that it does not reach."""
    needed = closure([_module(source.handler)], source.code).files
    found: dict[str, Path] = {}
    for path in sorted(source.code.rglob("*")):
        place = path.relative_to(source.code)
        if not path.is_file() or any(part.startswith(".") or part in _NOT_CODE for part in place.parts):
            continue
        module = place.with_suffix("").as_posix().replace("/", ".")
        if path.suffix == ".pyc" or (module in source.others and place.as_posix() not in needed):
            continue
        found[place.as_posix()] = path
    return found


def _is_code(place: str) -> bool:
    return place.endswith(".py") and all(part.isidentifier() for part in place.removesuffix(".py").split("/"))


def _check_size(source: Source, unzipped: int, found: Mapping[str, Path]) -> None:
    if unzipped <= UNZIPPED_BYTES_MAX:
        return
    weights: dict[str, int] = {}
    for place, path in found.items():
        top = place.partition("/")[0]
        weights[top] = weights.get(top, 0) + path.stat().st_size
    heaviest = sorted(weights.items(), key=lambda each: -each[1])[:5]
    raise HeadraceError(
        f"The package of {source.name} has {unzipped:,} bytes unpacked; Lambda takes {UNZIPPED_BYTES_MAX:,}.",
        "Its heaviest parts: " + ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in heaviest) + ".",
    )


def build_all(found: Iterable[Source], folder: Path) -> list[Built]:
    """Build several packages."""
    return [build(source, folder) for source in found]
