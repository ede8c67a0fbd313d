"""Gates: what AWS would refuse, or what would go wrong there, found in a template without AWS.

    for finding in gates.check(Path("template.yaml"), {"Size": "dev"}):
        print(finding)

Each gate is a function of a `Model`, named by what it looks at. None imports a function's code, none calls anybody;
only botocore's models are read. cfn-lint and a security scanner look at the same template in `make check`.

| gate | what it finds |
|---|---|
| `template` | what `headrace up` refuses: names, limits, references, lifecycle rules |
| `references` | what is declared and not used |
| `states`, `calls` | state machines: their states, and what they call with which arguments |
| `cluster`, `ends` | clusters that are not of Spot instances with a fallback, or not always terminated |
| `permissions`, `trust` | what a role allows against what is done in its name; who may take it |
| `handlers`, `environment`, `mappings` | functions: what they read and are given, their events |
| `schedules` | when jobs run |
| `metrics` | alarms and dashboards that look at nothing |
| `retention`, `security`, `names` | data that would be lost; what is open or unencrypted; names that two stacks share |
| `scaling`, `devices`, `warehouse` | capacity, what lets devices in, Redshift |
| `tables`, `archive`, `network` | what code relies on: keys, TTL, which folders may expire; what a cluster reaches |
| `reports` | SQL that not every engine takes |
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from headrace.errors import TemplateError
from headrace.template.gates import (
    calls,
    cluster,
    functions,
    metrics,
    network,
    permissions,
    references,
    reports,
    resources,
    states,
    storage,
)
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import Model

__all__ = ["GATES", "Finding", "check"]

PREFIX, ANOTHER = "NamePrefix", "another-"
GATES: dict[str, Callable[[Model], Iterator[Finding]]] = {
    "references": references.gate,
    "states": states.gate,
    "calls": calls.gate,
    "cluster": cluster.gate,
    "ends": cluster.ends,
    "permissions": permissions.gate,
    "trust": resources.trust,
    "handlers": functions.handlers,
    "environment": functions.environment,
    "mappings": functions.mappings,
    "schedules": functions.schedules,
    "metrics": metrics.gate,
    "retention": resources.retention,
    "security": resources.security,
    "scaling": resources.scaling,
    "devices": resources.devices,
    "warehouse": resources.warehouse,
    "tables": storage.tables,
    "archive": storage.archive,
    "network": network.gate,
    "reports": reports.gate,
}


def check(path: Path, given: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what is found in a template with these parameters given; nothing means that every gate passes."""
    parameters = dict(given or {})
    try:
        model = Model(path, parameters)
        prefixed = Model(path, {**parameters, PREFIX: ANOTHER}, model) if PREFIX in model.parameters else model
    except TemplateError as error:
        return [Finding("template", "", error.line, error.problem, error.hint)]
    found = dict.fromkeys(each for name, gate in GATES.items() for each in _looked(name, gate, model))
    if prefixed is not model:
        found |= dict.fromkeys(resources.names(model, prefixed))
        found |= dict.fromkeys(_prefixed(prefixed, {(each.gate, each.resource) for each in found}))
    return list(found)


def _prefixed(model: Model, known: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield what is found only where names have a prefix: a name that was written without it leads nowhere."""
    for name, gate in GATES.items():
        for each in _looked(name, gate, model):
            if (each.gate, each.resource) not in known:
                yield each._replace(problem=f"with {PREFIX}={ANOTHER}: {each.problem}")


def _looked(name: str, gate: Callable[[Model], Iterator[Finding]], model: Model) -> Iterator[Finding]:
    """Yield what a gate finds; where something has not the shape that it has on AWS, it looks no further."""
    try:
        yield from gate(model)
    except SyntaxError as error:
        problem = f"{error.filename} is no Python: {error.msg}."
        yield Finding(name, "", error.lineno or 0, problem, "Mend it: on AWS it can't be imported either.")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        problem = f"something has not the shape that AWS takes: {type(error).__name__}: {error}."
        yield Finding(name, "", 0, problem, "cfn-lint names the place.")
