"""Gate `states`: a state machine's definition is one that Step Functions takes, and that can end.

Amazon States Language, in JSONata or JSONPath: fields of each type of state, transitions, reachability, error handling,
and, in JSONata, that every variable is assigned on each way to where it is used.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headrace.template.document import did_you_mean
from headrace.template.gates import jsonata
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import Model, Resource

GATE = "states"
_ANY = "Comment QueryLanguage Type"
_JSONPATH = "InputPath OutputPath"
_FIELDS = {  # by type: fields of both languages, of JSONata alone, of JSONPath alone
    "Task": (
        "Resource TimeoutSeconds HeartbeatSeconds Credentials Retry Catch Next End Assign",
        "Arguments Output",
        f"Parameters ResultSelector ResultPath TimeoutSecondsPath HeartbeatSecondsPath {_JSONPATH}",
    ),
    "Choice": ("Choices Default Assign", "Output", _JSONPATH),
    "Fail": ("Error Cause", "", "ErrorPath CausePath"),
    "Succeed": ("", "Output", _JSONPATH),
    "Pass": ("Next End Assign", "Output", f"Parameters Result ResultPath {_JSONPATH}"),
    "Wait": ("Seconds Timestamp Next End Assign", "Output", f"SecondsPath TimestampPath {_JSONPATH}"),
    "Map": (
        "ItemProcessor Iterator MaxConcurrency ToleratedFailureCount ToleratedFailurePercentage Label ItemReader "
        "ItemBatcher ItemSelector ResultWriter Retry Catch Next End Assign",
        "Items Output",
        f"ItemsPath Parameters ResultSelector ResultPath {_JSONPATH}",
    ),
    "Parallel": (
        "Branches Retry Catch Next End Assign",
        "Arguments Output",
        f"Parameters ResultSelector ResultPath {_JSONPATH}",
    ),
}
_NEEDED = {"Task": "Resource", "Choice": "Choices", "Map": "ItemProcessor", "Parallel": "Branches"}
_ENDS = ("Fail", "Succeed")
_NAME_MAX = 80


class Scope(NamedTuple):
    """The states of a machine, or of what a Map or a Parallel runs, and where they stand."""

    machine: Resource
    place: str
    start: object
    states: dict[str, Any]
    jsonata: bool
    assigned: frozenset[str]  # variables from around it
    is_live: bool  # whether it can come to be

    def finding(self, state: str, problem: str, hint: str = "") -> Finding:
        """Return a finding at a state."""
        return self.machine.finding(GATE, f"{self.place}{state}: {problem}" if state else problem, hint)


def gate(model: Model) -> Iterator[Finding]:
    """Check every state machine."""
    for machine in model.of("AWS::Serverless::StateMachine", "AWS::StepFunctions::StateMachine"):
        if machine.properties.get("Type") == "EXPRESS":
            yield machine.finding(GATE, "an EXPRESS machine ends after five minutes.", "Write STANDARD.")
        is_read = any(each.logical_id == machine.logical_id for each, _ in model.definitions())
        if not is_read and not {"DefinitionUri", "DefinitionS3Location"} & machine.properties.keys():
            yield machine.finding(GATE, "its Definition can't be read.", "Write a mapping, or JSON that is valid.")
    found = list(scopes(model))
    for scope in found:
        yield from _scope(scope)
        for name, state in scope.states.items():
            for variable in set().union(*(step.assigns for step in steps(state))):
                if not any(jsonata.reads(each.states, variable) for each in found):
                    yield scope.finding(name, f"nobody reads the variable {variable}.", "Take it out, or use it.")


def scopes(model: Model) -> Iterator[Scope]:
    """Yield every set of states, those inside of others after them."""
    for machine, definition in model.definitions():
        yield from _inside(machine, "", definition, definition.get("QueryLanguage") == "JSONata", frozenset())


def live(scope: Scope) -> set[str]:
    """Return the states that can come to be, by this template with these parameters."""
    return reachable(scope, scope.start, live=True) if scope.is_live else set()


def _inside(
    machine: Resource, place: str, definition: Any, in_jsonata: bool, assigned: frozenset[str], is_live: bool = True
) -> Iterator[Scope]:
    states = definition.get("States") if isinstance(definition, dict) else None
    states = {name: each for name, each in states.items() if isinstance(each, dict)} if isinstance(states, dict) else {}
    start = definition.get("StartAt") if isinstance(definition, dict) else None
    scope = Scope(machine, place, start, states, in_jsonata, assigned, is_live)
    yield scope
    alive = live(scope)
    known = definitely_assigned(scope)
    for name, state in states.items():
        own = state.get("QueryLanguage", "JSONata" if in_jsonata else "JSONPath") == "JSONata"
        inner = [state.get("ItemProcessor") or state.get("Iterator")] if state.get("Type") == "Map" else []
        inner += state.get("Branches") or [] if state.get("Type") == "Parallel" else []
        for each in inner:
            yield from _inside(machine, f"{place}{name}.", each, own, known.get(name, frozenset()), name in alive)


class Step(NamedTuple):
    """A way from a state to another: the target, the variables that it assigns, and whether it is for an error."""

    to: object
    assigns: frozenset[str]
    on_error: bool = False


def steps(state: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the ways out of a state."""
    own = frozenset(state.get("Assign") or ())
    if "Next" in state:
        yield Step(state["Next"], own)
    for choice in _dicts(state.get("Choices")):
        yield Step(choice.get("Next"), frozenset(choice.get("Assign") or ()))
    if "Default" in state:
        yield Step(state["Default"], own)
    for catch in _dicts(state.get("Catch")):
        yield Step(catch.get("Next"), frozenset(catch.get("Assign") or ()), on_error=True)


def reachable(scope: Scope, start: object, live: bool = False) -> set[str]:
    """Return the states that can be reached from one, itself included; `live`: not by a condition that is false."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if isinstance(name, str) and name in scope.states and name not in found:
            found.add(name)
            state = scope.states[name]
            choices = [each for each in _dicts(state.get("Choices")) if not (live and _is_false(each))]
            waiting += [step.to for step in steps({**state, "Choices": choices})]
    return found


def _is_false(choice: Mapping[str, Any]) -> bool:
    condition = choice.get("Condition")
    return jsonata.is_expression(condition) and jsonata.literal(str(condition)) is False


def definitely_assigned(scope: Scope) -> dict[str, frozenset[str]]:
    """Return the variables that are assigned on every way to each state, when it begins."""
    if not isinstance(scope.start, str):
        return {}
    known: dict[str, frozenset[str]] = {scope.start: scope.assigned}
    waiting = [scope.start]
    while waiting:
        name = waiting.pop()
        for step in steps(scope.states.get(name, {})):
            if not isinstance(step.to, str):
                continue
            after = known[name] | step.assigns
            before = known.get(step.to)
            after = after if before is None else after & before
            if after != before:
                known[step.to] = after
                waiting.append(step.to)
    return known


def _scope(scope: Scope) -> Iterator[Finding]:
    if not scope.states:
        yield scope.finding("", f"{scope.place or 'the definition '}has no States.", "Write at least one state.")
        return
    if scope.start not in scope.states:
        hint = did_you_mean(str(scope.start), scope.states)
        yield scope.finding("", f"{scope.place}StartAt is {scope.start}, which is no state.", hint)
        return
    found = reachable(scope, scope.start)
    for name in scope.states:
        if name not in found:
            yield scope.finding(name, "no way leads to this state.", "Take it out, or name it as a Next.")
    if not any(_is_end(scope.states[name]) for name in found):
        yield scope.finding("", f"{scope.place}: no state ends it.", "Write End: true, Succeed or Fail.")
    known = definitely_assigned(scope)
    for name, state in scope.states.items():
        yield from _state(scope, name, state)
        if scope.jsonata:
            yield from _expressions(scope, name, state, known.get(name, scope.assigned))


def _is_end(state: Mapping[str, Any]) -> bool:
    return state.get("Type") in _ENDS or state.get("End") is True


def _state(scope: Scope, name: str, state: dict[str, Any]) -> Iterator[Finding]:
    kind = state.get("Type")
    if kind not in _FIELDS:
        yield scope.finding(name, f"there is no type of state {kind}.", did_you_mean(str(kind), _FIELDS))
        return
    if len(name) > _NAME_MAX:
        yield scope.finding(name, f"the name is longer than {_NAME_MAX} characters.", "Shorten it.")
    both, in_jsonata, in_jsonpath = (fields.split() for fields in _FIELDS[kind])
    fields = [*_ANY.split(), *both, *(in_jsonata if scope.jsonata else in_jsonpath)]
    for field in state:
        if field not in fields:
            language = "JSONata" if scope.jsonata else "JSONPath"
            yield scope.finding(name, f"a {kind} has no field {field} in {language}.", did_you_mean(field, fields))
    if kind in _NEEDED and not state.get(_NEEDED[kind]) and not (kind == "Map" and "Iterator" in state):
        yield scope.finding(name, f"{_NEEDED[kind]} is missing.", f"Add {_NEEDED[kind]}.")
    if "Next" in fields and ("Next" in state) == (state.get("End") is True):
        yield scope.finding(name, "a state has either Next or End.", "Write one of the two.")
    if kind == "Choice" and "Default" not in state:
        yield scope.finding(name, "it fails if no choice applies.", "Add Default.")
    for choice in _dicts(state.get("Choices")):
        if scope.jsonata and not ("Condition" in choice and choice.keys() <= {"Condition", "Next", "Assign", "Output"}):
            yield scope.finding(name, "a choice is a Condition and a Next.", "Write both, and nothing else.")
    for step in steps(state):
        if step.to not in scope.states:
            problem = f"it leads to {step.to}, which is no state{' beside it' if scope.place else ''}."
            yield scope.finding(name, problem, did_you_mean(str(step.to), scope.states))
    mode = ((state.get("ItemProcessor") or {}).get("ProcessorConfig") or {}).get("Mode", "INLINE")
    if mode not in ("INLINE", "DISTRIBUTED"):
        yield scope.finding(name, f"there is no mode {mode}.", "Write INLINE.")
    yield from _errors(scope, name, state)
    yield from _times(scope, name, state)


def _errors(scope: Scope, name: str, state: dict[str, Any]) -> Iterator[Finding]:
    for field, own in (("Retry", "IntervalSeconds MaxAttempts BackoffRate MaxDelaySeconds JitterStrategy"),
                       ("Catch", "Next Assign Output ResultPath")):  # fmt: skip
        handlers = _dicts(state.get(field))
        if field in state and not handlers:
            yield scope.finding(name, f"{field} is no list of handlers.", "Write a list with ErrorEquals in each item.")
        for place, handler in enumerate(handlers):
            errors = handler.get("ErrorEquals")
            if not isinstance(errors, list) or not errors:
                yield scope.finding(name, f"{field} has no ErrorEquals.", "Write ErrorEquals: [States.ALL].")
                continue
            if "States.ALL" in errors and (len(errors) > 1 or place < len(handlers) - 1):
                yield scope.finding(name, f"States.ALL stands alone, in the last item of {field}.", "Move it there.")
            for error in errors:
                if str(error).startswith("States.") and error not in _ERRORS:
                    yield scope.finding(name, f"there is no error {error}.", did_you_mean(str(error), _ERRORS))
            for key in handler.keys() - {"ErrorEquals", "Comment", *own.split()}:
                yield scope.finding(name, f"{field} has no {key}.", did_you_mean(key, own.split()))
            if field == "Retry" and not (
                _number(handler, "IntervalSeconds", 1, 99_999_999)
                and _number(handler, "MaxAttempts", 0, 99_999_999)
                and _number(handler, "BackoffRate", 1, 1_000)
            ):
                yield scope.finding(
                    name, "Retry has a number out of range.", "IntervalSeconds and BackoffRate: from 1."
                )


_ERRORS = tuple(
    f"States.{name}"
    for name in (
        *("ALL", "Timeout", "TaskFailed", "Permissions", "Runtime", "DataLimitExceeded", "HeartbeatTimeout"),
        *("QueryEvaluationError", "ResultPathMatchFailure", "ParameterPathFailure", "IntrinsicFailure", "Http.Socket"),
        *(
            "BranchFailed",
            "NoChoiceMatched",
            "ExceedToleratedFailureThreshold",
            "ItemReaderFailed",
            "ResultWriterFailed",
        ),
    )
)


def _times(scope: Scope, name: str, state: dict[str, Any]) -> Iterator[Finding]:
    for field in ("TimeoutSeconds", "HeartbeatSeconds", "Seconds"):
        if not _number(state, field, 0 if field == "Seconds" else 1, 99_999_999):
            yield scope.finding(name, f"{field} is {state[field]!r}.", "Write seconds, as a whole number.")
    heartbeat, timeout = state.get("HeartbeatSeconds"), state.get("TimeoutSeconds")
    if isinstance(heartbeat, int) and isinstance(timeout, int) and heartbeat >= timeout:
        yield scope.finding(name, "HeartbeatSeconds is not less than TimeoutSeconds.", "Shorten the heartbeat.")
    if state.get("Type") == "Wait":
        given = [field for field in ("Seconds", "Timestamp", "SecondsPath", "TimestampPath") if field in state]
        if len(given) != 1:
            yield scope.finding(name, "a Wait has one of Seconds and Timestamp.", "Write Seconds.")


def _number(members: Mapping[str, Any], field: str, low: float, high: float) -> bool:
    value = members.get(field, low)
    if isinstance(value, str):
        return jsonata.is_expression(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _expressions(scope: Scope, name: str, state: dict[str, Any], known: frozenset[str]) -> Iterator[Finding]:
    handlers = ("Catch", "ItemProcessor", "Iterator", "Branches")
    own = {field: value for field, value in state.items() if field not in handlers}
    for text in jsonata.texts(own):
        results = bool({"Task", "Map", "Parallel"} & {str(state.get("Type"))})
        yield from (scope.finding(name, *each) for each in jsonata.faults(text, known, result=results))
    for catch in _dicts(state.get("Catch")):
        for text in jsonata.texts(catch):
            yield from (scope.finding(name, *each) for each in jsonata.faults(text, known, error=True))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
