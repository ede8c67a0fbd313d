"""Gates of functions: `handlers` (Lambda runs it), `environment` (it gets what it reads) and `mappings` (its events).

What the reader checks already, as every limit of a property, is not checked here again.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace import schedule
from headrace.template.gates import jsonata, states
from headrace.template.gates.finding import Finding
from headrace.template.gates.model import FUNCTIONS, Model, Resource
from headrace.template.gates.needs import code_of

# The runtimes that Lambda has for arm64, newest last; and the oldest that headrace's own code runs on.
RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
_OURS = ("AWS_", "HEADRACE_", "LAMBDA_", "_")
_WAITS_S = 60  # how long an SDK waits for an answer


def handlers(model: Model) -> Iterator[Finding]:
    """Check that Lambda can run each function."""
    for function in model.of(*FUNCTIONS):
        properties = function.properties
        if properties.get("Runtime") not in RUNTIMES:
            yield function.finding("handlers", f"Runtime is {properties.get('Runtime')}.", f"Write one of {RUNTIMES}.")
        if properties.get("Architectures") != ["arm64"]:
            yield function.finding("handlers", "it does not run on arm64, which costs a fifth less.", "Write [arm64].")
        if "MemorySize" not in properties:
            yield function.finding("handlers", "it gets 128 MB, the least there is.", "Write MemorySize.")
        if properties.get("ReservedConcurrentExecutions") == 0:
            yield function.finding("handlers", "it is never called: it may run 0 times at once.", "Take that out.")
        if not code_of(model, function).found:
            yield function.finding("handlers", f"there is no module for {properties.get('Handler')}.")
        if int(properties.get("Timeout", 3)) > 900 or int(properties.get("MemorySize", 128)) > 10_240:
            yield function.finding("handlers", "Lambda ends a function after 900 s, and gives it 10,240 MB at most.")
        if (
            properties.get("FunctionUrlConfig") and int(properties.get("Timeout", 3)) > _WAITS_S
        ) or "Timeout" not in properties:
            problem = f"devices wait {_WAITS_S} s for an answer at most, and 3 s is the default."
            yield function.finding("handlers", f"Timeout is {properties.get('Timeout')}: {problem}", "Write a Timeout.")
        group = (properties.get("LoggingConfig") or {}).get("LogGroup")
        logs = model.named(group, "AWS::Logs::LogGroup")
        if logs is None:
            yield function.finding(
                "handlers", "its logs are kept for ever.", "Declare a log group with RetentionInDays."
            )
        elif model.name(logs.logical_id) != f"/aws/lambda/{model.name(function.logical_id)}":
            yield logs.finding("handlers", "its name is not the function's.", "Write /aws/lambda/ and the name.")
    for group in model.of("AWS::Logs::LogGroup"):
        if "RetentionInDays" not in group.properties:
            yield group.finding("handlers", "its logs are kept for ever.", "Write RetentionInDays.")


def environment(model: Model) -> Iterator[Finding]:
    """Check that each function is given the variables that it reads, and no others."""
    for function in model.of(*FUNCTIONS):
        given = set((function.properties.get("Environment") or {}).get("Variables") or {})
        read, needed = code_of(model, function).variables
        for name in sorted(needed - given):
            if not name.startswith(_OURS):
                yield function.finding("environment", f"the variable {name} is read, but not set.", "Set it.")
        for name in sorted(given - read):
            yield function.finding("environment", f"nothing reads the variable {name}.", "Take it out.")
        for name in sorted(read - needed - given):
            if not name.startswith(_OURS):
                yield function.finding(
                    "environment", f"the variable {name} is read, but not set.", "Set it, if to nothing."
                )


def mappings(model: Model) -> Iterator[Finding]:
    """Check where functions get events from, and where those go that are given up."""
    for mapping in model.system.mappings:
        function = next(each for each in model.of(*FUNCTIONS) if model.name(each.logical_id) == mapping.function)
        stream = model.system.stream(mapping.stream)
        if stream is None or model.named(mapping.stream, "AWS::Kinesis::Stream") is None:
            yield function.finding("mappings", f"{mapping.logical_id}: there is no stream {mapping.stream}.")
            continue
        kept_s = stream.retention_hours * 3_600
        timeout_s = int(function.properties.get("Timeout", 3))
        if not timeout_s < mapping.record_age_s_max < kept_s:
            problem = (
                f"a call may last {timeout_s} s, and the stream keeps records {kept_s} s, but they are given up after"
            )
            hint = "Write a MaximumRecordAgeInSeconds between the two."
            yield function.finding("mappings", f"{mapping.logical_id}: {problem} {mapping.record_age_s_max} s.", hint)
        if mapping.starting_position != "TRIM_HORIZON":
            problem = f"it starts at {mapping.starting_position}: what came before is never read."
            yield function.finding("mappings", f"{mapping.logical_id}: {problem}", "Write TRIM_HORIZON.")
        if not mapping.enabled:
            yield function.finding("mappings", f"{mapping.logical_id} is not enabled.", "Take Enabled out.")
        if not mapping.report_item_failures:
            hint = "Write FunctionResponseTypes: [ReportBatchItemFailures]."
            yield function.finding("mappings", f"{mapping.logical_id}: one bad record repeats the whole batch.", hint)
        if mapping.failures_bucket is None or model.named(mapping.failures_bucket, "AWS::S3::Bucket") is None:
            yield function.finding("mappings", f"{mapping.logical_id}: what is given up is lost.", "Name a bucket.")
        event = (function.properties.get("Events") or {}).get(
            mapping.logical_id.removeprefix(function.logical_id)
        ) or {}
        given_up = (event.get("Properties") or {}).get("DestinationConfig") or {}
        if event and not (given_up.get("OnFailure") or {}).get("Destination"):
            yield function.finding(
                "mappings", f"{mapping.logical_id}: what is given up is lost.", "Add DestinationConfig."
            )
        yield from _kind_of_destination(function, given_up.get("OnFailure"))
        if mapping.retries >= 0:
            problem = f"it gives up after {mapping.retries} retries: an hour without its table loses events."
            yield function.finding("mappings", f"{mapping.logical_id}: {problem}", "Write MaximumRetryAttempts: -1.")
    mapped = {mapping.function for mapping in model.system.mappings}
    for function in model.of(*FUNCTIONS):
        if model.name(function.logical_id) not in mapped and not function.properties.get("FunctionUrlConfig"):
            yield function.finding("mappings", "nothing calls it: it has neither events nor a URL.", "Add one.")
        yield from _asynchronous(model, function)


_DESTINATIONS = {"SQS": "sqs", "SNS": "sns", "S3": "s3", "S3Bucket": "s3", "Lambda": "lambda", "EventBridge": "events"}


def _kind_of_destination(function: Resource, destination: Any) -> Iterator[Finding]:
    """Check that a destination is of the type that is said of it."""
    kind, arn = (destination or {}).get("Type"), str((destination or {}).get("Destination"))
    if kind and arn.startswith("arn:") and arn.split(":")[2] != _DESTINATIONS.get(kind):
        yield function.finding(
            "mappings", f"{arn} is no destination of the type {kind}.", "Write the type that it has."
        )


def _asynchronous(model: Model, function: Resource) -> Iterator[Finding]:
    given_up = (function.properties.get("EventInvokeConfig") or {}).get("DestinationConfig") or {}
    arn = (given_up.get("OnFailure") or {}).get("Destination")
    yield from _kind_of_destination(function, given_up.get("OnFailure"))
    if arn is None:
        yield function.finding("mappings", "events that it is invoked with are lost where it fails.", "Add OnFailure.")
    elif str(arn).startswith("arn:aws:s3:::") and model.at(arn, "AWS::S3::Bucket") is None:
        yield function.finding("mappings", f"OnFailure is {arn}, no bucket of the template.", "Write !GetAtt Name.Arn.")


def _order(model: Model, properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Check that each report stands behind those that it uses: a cluster computes them in the order of the list."""
    try:
        listed = [each["job"] for each in json.loads(properties.get("Input", "")).get("jobs", ())]
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    for place, job in enumerate(listed):
        path = Path(model.system.reports) / f"{job}.sql"
        header = re.search(r"^-- uses: *(.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
        for used in re.findall(r"\w+", header[1]) if header else ():
            if (path.parent / f"{used}.sql").is_file() and used not in listed[:place]:
                yield f"{job} uses {used}, which is not computed before it.", f"List {used} before {job}."


def schedules(model: Model) -> Iterator[Finding]:
    """Check when jobs run: EventBridge's rules, enabled, and time for a run before the next."""
    for machine in model.of("AWS::Serverless::StateMachine"):
        steps = [state for scope in states.scopes(model) if scope.machine.logical_id == machine.logical_id
                 for state in scope.states.values() if state.get("Type") == "Task"]  # fmt: skip
        events = machine.properties.get("Events") or {}
        if not any(event.get("Type") == "ScheduleV2" for event in events.values()):
            yield machine.finding("schedules", "nothing starts it.", "Add an event of the type ScheduleV2.")
        for name, event in events.items():
            properties = event.get("Properties") or {}
            expression = str(properties.get("ScheduleExpression") or properties.get("Schedule"))
            try:
                found = schedule.parse(expression)
            except ValueError as error:
                yield machine.finding("schedules", f"{name}: {error}.", "Write cron(10 0 * * ? *) or rate(1 day).")
                continue
            yield from (
                machine.finding("schedules", f"{name}: {problem}", hint) for problem, hint in _order(model, properties)
            )
            if properties.get("State", "ENABLED") != "ENABLED":
                yield machine.finding("schedules", f"{name} is not enabled.", "Take State out.")
            first = schedule.following(found, 1_800_000_000_000, 1_800_000_000_000)
            then = schedule.following(found, first, 1_800_000_000_000) if first else None
            longest = max(
                (
                    each.get("TimeoutSeconds", 0)
                    for each in steps
                    if not jsonata.is_expression(each.get("TimeoutSeconds"))
                ),
                default=0,
            )
            if first is None:
                yield machine.finding("schedules", f"{name} is never due.", "Write a year to come, or *.")
            elif then is not None and longest * 1000 > then - first:
                problem = f"{name} is due again before a run's time is up ({longest} s)."
                yield machine.finding("schedules", problem, "Shorten TimeoutSeconds, or run it less often.")
