"""Gate `reports`: the SQL of every report is one that both engines take."""

from collections.abc import Iterator
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.jobs import report
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import Model


def gate(model: Model) -> Iterator[Finding]:
    """Check the reports in the template's folder."""
    for path in report.files(Path(model.system.reports)).values():
        try:
            report.load(path)
        except HeadraceError as error:
            yield Finding("reports", "", 0, error.problem, error.hint)
