"""The template is the system: reads `template.yaml`, the file that CloudFormation deploys, into a frozen System.

What is wrong with it is a TemplateError with file, line and what to write instead; what one machine leaves out is
listed in `System.ignored`. None of AWS's or SAM's own code is imported: that would take seconds.

| file | what it knows |
|---|---|
| `document.py` | YAML and JSON, short tags, the line of everything |
| `resources.py` | which types there are; Globals |
| `references.py` | what may be referred to |
| `parameters.py`, `intrinsics.py` | values |
| `rules.py`, `properties.py` | which properties each type has, and AWS's limits |
| `handlers.py` | code folders and handlers |
| `parts.py`, `links.py`, `reader.py` | the System |
"""

from headrace.template.parameters import parse_parameters
from headrace.template.reader import read

__all__ = ["parse_parameters", "read"]
