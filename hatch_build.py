"""Compile the extensions, `src/**/*.pyx`, into the wheel; for an editable install, beside their sources.

They are optional: where there is no C compiler, or none of Python's headers, the wheel is pure Python, and slower.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

SOURCES = Path("src")  # a build's working directory is the project's


class CompileHook(BuildHookInterface[BuilderConfig]):
    """Compiles in a temporary folder, so that no C is left behind, and a wheel's build leaves `src` as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add to the build data what became of it; raises Cython's CompileError for wrong Cython."""
        self._folder = TemporaryDirectory(prefix="headrace-")  # the wheel is made after this returns
        compiled = _compile(Path(self._folder.name))
        if version == "editable":
            for old in SOURCES.rglob("*.so"):
                old.unlink()
            for place, path in compiled.items():
                shutil.copyfile(path, SOURCES / place)
        else:
            build_data["force_include"] |= {str(path): place for place, path in compiled.items()}
        if compiled:
            build_data |= {"pure_python": False, "infer_tag": True}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()


def _compile(folder: Path) -> dict[str, Path]:
    """Return the extensions that could be compiled, by their place below `src`; says which could not."""
    extensions = [
        Extension(
            ".".join(path.relative_to(SOURCES).with_suffix("").parts),
            [str(path)],
            extra_compile_args=["-O3", "-g0"],
        )
        for path in sorted(SOURCES.rglob("*.pyx"))
    ]
    made = cythonize(extensions, build_dir=folder, language_level=3, quiet=True)
    for extension in made:
        extension.optional = True  # what can't be compiled is warned of, and left out
    command = build_ext(Distribution({"ext_modules": made}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder)
    command.ensure_finalized()
    command.run()
    outputs = [Path(each) for each in command.get_outputs()]
    return {path.relative_to(folder / "lib").as_posix(): path for path in outputs if path.exists()}
