"""The design of a template file, and what it would be with provisioned capacity."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.cost.design import Design, design
from headrace.template import on_aws

_WRITE_UNITS = "EventsTableWriteUnits"


class Project(msgspec.Struct, frozen=True):
    """A design, and the names of the parameters that its template declares."""

    design: Design
    parameters: frozenset[str]


def read(template: Path, given: Mapping[str, str]) -> Project:
    """Return what a template decides with these parameters; raises TemplateError.

    Where the table is on demand its template still tells how far autoscaling would let provisioned units be used.
    """
    declared = on_aws.read_deployed(template, given)
    found = design(declared)
    if found.write_units is None and _WRITE_UNITS in declared.parameters:
        scaled = design(on_aws.read_deployed(template, {**given, _WRITE_UNITS: "1"}))
        found = msgspec.structs.replace(found, utilisation=scaled.utilisation)
    return Project(found, frozenset(declared.parameters))
