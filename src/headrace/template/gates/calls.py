"""Gate `calls`: what a state machine calls exists, and gets the parameters that AWS's own models ask for.

`calls_of` yields the calls, for other gates too: the optimized integrations are told as the API calls that they make.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from headrace.template.document import did_you_mean
from headrace.template.gates import jsonata, states
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, Model, Resource

GATE = "calls"
_TARGET = re.compile(r"arn:aws[a-z-]*:states:::(aws-sdk:)?([a-z0-9-]+):([A-Za-z0-9]+)(\.[A-Za-z]+(?::2)?)?")
# Names of services in Step Functions that botocore has under others, dashes aside.
_SERVICES = {
    "cloudwatchlogs": "logs",
    "elasticmapreduce": "emr",
    "eventbridge": "events",
    "sfn": "stepfunctions",
    "states": "stepfunctions",
}
# Optimized integrations: action -> the API's operation, by service; a service that is not here calls what it names.
_OPTIMIZED = {
    "elasticmapreduce": {
        "createCluster": "RunJobFlow",
        "addStep": "AddJobFlowSteps",
        "terminateCluster": "TerminateJobFlows",
        "cancelStep": "CancelSteps",
        "setClusterTerminationProtection": "SetTerminationProtection",
    },
    "dynamodb": {name: name[0].upper() + name[1:] for name in ("getItem", "putItem", "deleteItem", "updateItem")},
    "lambda": {"invoke": "Invoke"},
    "sns": {"publish": "Publish"},
    "sqs": {"sendMessage": "SendMessage"},
    "states": {"startExecution": "StartExecution"},
    "events": {"putEvents": "PutEvents"},
    "glue": {"startJobRun": "StartJobRun"},
    "batch": {"submitJob": "SubmitJob"},
}
_SYNC = {"elasticmapreduce": ("createCluster", "addStep", "terminateCluster"), "states": ("startExecution",),
         "glue": ("startJobRun",), "batch": ("submitJob",)}  # fmt: skip
_CALLBACK = ("lambda", "sns", "sqs", "states", "events")


class Call(NamedTuple):
    """A call of a Task. `service` and `operation` are botocore's; `arguments` as they stand there."""

    scope: states.Scope
    state: str
    service: str
    operation: str
    action: str  # as Step Functions names it
    arguments: dict[str, Any]
    sync: bool
    optimized: bool
    live: bool = True  # whether it may be made, by this template with these parameters

    def finding(self, gate: str, problem: str, hint: str = "") -> Finding:
        """Return a finding at the call's state."""
        return self.scope.machine.finding(gate, f"{self.scope.place}{self.state}: {problem}", hint)


def gate(model: Model) -> Iterator[Finding]:
    """Check every Task."""
    for scope in states.scopes(model):
        for name, state in scope.states.items():
            if state.get("Type") != "Task":
                continue
            found = _call(scope, name, state)
            if isinstance(found, Call):
                yield from _arguments(model, found)
            elif found is not None:
                yield found
            elif not _is_function(model, state.get("Resource")):
                problem = f"Resource is {state.get('Resource')}, which is nothing that can be called."
                yield _finding(scope, name, problem, "Write arn:aws:states:::SERVICE:ACTION, or a function's ARN.")


def calls_of(model: Model, machine: Resource | None = None) -> Iterator[Call]:
    """Yield the calls that a state machine, or any, may make; what can't be understood is left to the gate."""
    for scope in states.scopes(model):
        if machine is None or scope.machine.logical_id == machine.logical_id:
            alive = states.live(scope)
            for name, state in scope.states.items():
                found = _call(scope, name, state) if state.get("Type") == "Task" else None
                if isinstance(found, Call):
                    yield found._replace(live=name in alive)


def _finding(scope: states.Scope, state: str, problem: str, hint: str) -> Finding:
    return scope.machine.finding(GATE, f"{scope.place}{state}: {problem}", hint)


def _is_function(model: Model, resource: object) -> bool:
    return model.at(str(resource).split(":$", 1)[0], *FUNCTIONS) is not None or jsonata.is_expression(resource)


def _call(scope: states.Scope, name: str, state: Mapping[str, Any]) -> Call | Finding | None:
    found = _TARGET.fullmatch(str(state.get("Resource")))
    if found is None:
        return None
    sdk, service, action, pattern = found.groups()
    models = services()
    known = _SERVICES.get(service, models.get(service.replace("-", "")))
    optimized = not sdk
    if known is None or (optimized and service not in _OPTIMIZED):
        names = list(_OPTIMIZED) if optimized else [*models, *_SERVICES]
        return _finding(scope, name, f"there is no service {service}.", did_you_mean(service, names))
    operations = _OPTIMIZED[service] if optimized else {each[0].lower() + each[1:]: each for each in _operations(known)}
    if action not in operations:
        return _finding(scope, name, f"{service} has no action {action}.", did_you_mean(action, list(operations)))
    allowed = [".sync"] if optimized and action in _SYNC.get(service, ()) else []
    if optimized and service == "states":
        allowed.append(".sync:2")
    if not optimized or service in _CALLBACK:
        allowed.append(".waitForTaskToken")
    if pattern and pattern not in allowed:
        return scope.finding(
            name, f"{service}:{action} has no {pattern}.", f"Write one of: {', '.join(allowed)}, or none."
        )
    arguments = state.get("Arguments" if scope.jsonata else "Parameters") or {}
    arguments = arguments if isinstance(arguments, dict) else {}
    return Call(scope, name, known, operations[action], action, arguments, pattern == ".sync", optimized)


def _arguments(model: Model, call: Call) -> Iterator[Finding]:
    from botocore.validate import ParamValidator

    shape = service_model(call.service).operation_model(call.operation).input_shape
    given, problems = _as_the_api(call), list[tuple[str, str]]()
    converted = _converted(given, shape, "", problems, call.scope.jsonata)
    for problem, hint in problems:
        yield call.finding(GATE, problem, hint)
    if shape is not None and not problems:
        report = ParamValidator().validate(converted, shape).generate_report()
        for line in filter(None, report.splitlines()):
            yield call.finding(GATE, f"{call.operation}: {line}")


def _as_the_api(call: Call) -> dict[str, Any]:
    """Return the arguments as the API takes them, where an optimized integration has its own."""
    given = dict(call.arguments)
    if call.operation == "AddJobFlowSteps" and call.optimized:
        given["JobFlowId"] = given.pop("ClusterId", None)
        given["Steps"] = [given.pop("Step", {})]
    elif call.operation == "TerminateJobFlows" and call.optimized:
        given = {"JobFlowIds": [given.pop("ClusterId")] if "ClusterId" in given else [], **given}
    elif call.operation == "Invoke" and call.optimized and not isinstance(given.get("Payload", ""), str):
        given["Payload"] = "{}"
    return {name: value for name, value in given.items() if value is not None}


def _converted(value: Any, shape: Any, place: str, problems: list[tuple[str, str]], in_jsonata: bool) -> Any:
    """Return a value with the members' names of the model, and of the type it asks for where it is an expression."""
    if jsonata.is_expression(value):
        known = jsonata.literal(value)
        return _sample(shape) if known is None else known
    if shape.type_name == "structure" and isinstance(value, dict):
        return _structure(value, shape, place, problems, in_jsonata)
    if shape.type_name == "list" and isinstance(value, list):
        return [_converted(each, shape.member, place, problems, in_jsonata) for each in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: _converted(each, shape.value, place, problems, in_jsonata) for key, each in value.items()}
    if shape.type_name == "string" and isinstance(value, str):
        allowed = getattr(shape, "enum", None)
        if allowed and value not in allowed:
            problems.append((f"{place[:-1]} is {value}.", did_you_mean(value, allowed)))
        if len(value) > shape.metadata.get("max", len(value)):
            problems.append((f"{place[:-1]} is longer than {shape.metadata['max']} characters.", "Shorten it."))
    if shape.type_name in ("integer", "long") and isinstance(value, int) and value > shape.metadata.get("max", value):
        problems.append((f"{place[:-1]} is {value}.", f"Write at most {shape.metadata['max']}."))
    return value


def _structure(
    value: dict[str, Any], shape: Any, place: str, problems: list[tuple[str, str]], in_jsonata: bool
) -> dict[str, Any]:
    members = {name[0].upper() + name[1:]: name for name in shape.members}
    found: dict[str, Any] = {}
    for name, each in value.items():
        is_path = name.endswith(".$") and not in_jsonata  # JSONPath: the value is looked up
        key = name.removesuffix(".$") if is_path else name
        if key not in members:
            problems.append((f"there is no parameter {place}{name}.", did_you_mean(key, list(members))))
            continue
        inner = shape.members[members[key]]
        found[members[key]] = (
            _sample(inner) if is_path else _converted(each, inner, f"{place}{key}.", problems, in_jsonata)
        )
    return found


def _sample(shape: Any) -> Any:
    """Return some value of a shape: what an expression will be is not known here."""
    kind = shape.type_name
    if kind == "structure":
        return {name: _sample(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [_sample(shape.member)] * max(1, shape.metadata.get("min", 1))
    if kind == "string":
        return (getattr(shape, "enum", None) or ["x" * max(1, shape.metadata.get("min", 1))])[0]
    if kind in ("integer", "long"):
        return max(1, shape.metadata.get("min", 1))
    return {"map": {}, "boolean": True, "float": 1.0, "double": 1.0, "timestamp": 0, "blob": b""}.get(kind)


@cache
def services() -> dict[str, str]:
    """Return botocore's services by their names without dashes."""
    from botocore.loaders import Loader

    return {name.replace("-", ""): name for name in Loader().list_available_services("service-2")}


@cache
def service_model(service: str) -> Any:
    """Return botocore's model of a service."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _operations(service: str) -> tuple[str, ...]:
    return tuple(service_model(service).operation_names)
