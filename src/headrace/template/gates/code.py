"""What a function's code does, by reading it: its API calls and on what, the variables it reads, its metrics."""

from functools import cached_property
from pathlib import Path

from headrace.template.gates import modules
from headrace.template.gates.flow import Flow
from headrace.template.gates.values import Use


class Code:
    """The code that a handler reaches: its own folder's, and headrace's."""

    def __init__(self, folder: Path, handler: str) -> None:
        self._flow = Flow(folder, handler)

    @property
    def found(self) -> bool:
        """Return whether the handler's module is there."""
        return self._flow.found

    @property
    def uses(self) -> set[Use]:
        """Return the API calls that the code makes on AWS."""
        return self._flow.uses

    @cached_property
    def variables(self) -> tuple[set[str], set[str]]:
        """Return the variables that the folder's own modules read, and those of them without which they fail."""
        found = {each for module in self._flow.own_modules() for each in modules.variables(module.tree)}
        return {name for name, _ in found}, {name for name, is_needed in found if is_needed}

    @cached_property
    def metrics(self) -> set[str]:
        """Return the names of the metrics that the folder's own modules print."""
        return {name for module in self._flow.own_modules() for name in modules.metrics(module.tree)}
