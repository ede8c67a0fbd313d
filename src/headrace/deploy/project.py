"""A project made ready for AWS: packages, the jobs' environment, the parameters, and the template that names them."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from headrace.deploy import environment, package, rewrite
from headrace.deploy.aws import STACK
from headrace.deploy.environment import Artifact
from headrace.deploy.package import Built
from headrace.errors import TemplateError, UsageError
from headrace.template.document import did_you_mean

PREFIX_MAX = 24
_BUCKET, _PREFIX, _NAMES = "ArtifactsBucket", "ArtifactsPrefix", "NamePrefix"


class Prepared(msgspec.Struct, frozen=True):
    """What is to be uploaded and deployed. `keys` are those of the functions' packages, by logical id."""

    template: Path
    packages: tuple[Built, ...]
    artifacts: tuple[Artifact, ...]
    keys: dict[str, str]
    jobs_prefix: str | None

    def text(self, bucket: str) -> str:
        """Return the template with its code in a bucket."""
        return rewrite.rewritten(self.template, bucket, self.keys)


def prepare(template: Path, parameters: Mapping[str, str]) -> Prepared:
    """Build everything that a template needs; raises HeadraceError."""
    with TemporaryDirectory(prefix="headrace-") as temporary:
        built = package.build_all(package.sources(template, parameters), Path(temporary))
        artifacts = [Artifact.of(f"functions/{each.path.name}", each.path.read_bytes()) for each in built]
    keys = {each.source.logical_id: f"functions/{each.path.name}" for each in built}
    prefix = None
    if _PREFIX in rewrite.parameters_of(template) and (entry := _entry()) is not None:
        prefix, objects = environment.jobs(template.resolve().parent / "reports", entry, _requirements())
        artifacts += objects
    return Prepared(template, tuple(built), tuple(artifacts), keys, prefix)


def _entry() -> Path | None:
    found = find_spec("headrace.emr.job") if find_spec("headrace.emr") else None
    return Path(found.origin) if found and found.origin else None


def _requirements() -> tuple[str, ...]:
    names: tuple[str, ...] = importlib.import_module("headrace.emr").REQUIREMENTS
    return tuple(name.replace("_", "-").lower() for name in names)


def parameters(
    prepared: Prepared, stack: str, bucket: str, given: Mapping[str, str], existing: Mapping[str, str]
) -> dict[str, str | None]:
    """Return every parameter to hand over: those given, those that deployment sets, and None for one to be kept.

    Raises TemplateError for one that the template does not declare.
    """
    declared = rewrite.parameters_of(prepared.template)
    for name in given:
        if name not in declared:
            raise TemplateError(
                str(prepared.template),
                0,
                f"--parameters {name}: there is no such parameter.",
                did_you_mean(name, declared),
            )
    own = {_BUCKET: bucket, _PREFIX: prepared.jobs_prefix or ""} if prepared.jobs_prefix else {}
    if stack != STACK and not existing:
        own[_NAMES] = _prefix(stack, given)  # two stacks of an account can't have functions of the same names
    kept: dict[str, str | None] = {name: None for name in declared if name in existing}
    return kept | {name: value for name, value in own.items() if name in declared} | dict(given)


def _prefix(stack: str, given: Mapping[str, str]) -> str:
    """Return what stands before the names of a stack's resources."""
    prefix = f"{stack.lower()}-"
    if len(prefix) > PREFIX_MAX and _NAMES not in given:
        raise UsageError(
            f"The stack's name {stack} is too long to stand before the names of its resources.",
            f"Say what does, in {PREFIX_MAX} characters: --parameters {_NAMES}=short-",
        )
    return prefix


def values(declared: Mapping[str, str | None], existing: Mapping[str, str]) -> dict[str, str]:
    """Return the values that parameters will have, those kept included."""
    return {name: existing[name] if value is None else value for name, value in declared.items()}
