"""What a gate finds."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that AWS would refuse, or that would go wrong there: in which gate, at which resource and line."""

    gate: str
    resource: str
    line: int
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.resource} (line {self.line})" if self.line else self.resource
        return f"{self.gate}: {where}: {self.problem}" + (f"\n  {self.hint}" if self.hint else "")
