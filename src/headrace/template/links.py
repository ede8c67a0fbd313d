"""The links between the System's parts: event source mappings, function URLs, asynchronous invokes."""

import re
import uuid
from typing import Any

import msgspec

from headrace.system import Mapping, function_arn, stream_arn
from headrace.template import properties
from headrace.template.document import Members, did_you_mean
from headrace.template.intrinsics import ABSENT
from headrace.template.parts import Parts, Resource
from headrace.template.rules import Site

_LEFT_OUT_EVENTS = {
    "Api": "use a function URL",
    "HttpApi": "use a function URL",
    "Schedule": "schedules are not run yet",
    "ScheduleV2": "schedules are not run yet",
    "SNS": "one machine has no topics",
    "SQS": "one machine has no queues",
}
_EVENT_TYPES = (
    *_LEFT_OUT_EVENTS,
    "AlexaSkill",
    "CloudWatchEvent",
    "CloudWatchLogs",
    "Cognito",
    "DocumentDB",
    "DynamoDB",
    "EventBridgeRule",
    "IoTRule",
    "Kinesis",
    "MQ",
    "MSK",
    "S3",
    "SelfManagedKafka",
)
_FUNCTION_REFERENCE = re.compile(r"(?:arn:[^:]*:lambda:[^:]*:)?(?:\d{12}:)?(?:function:)?([A-Za-z0-9_-]+)(?::[^:]+)?")
_STREAM_REFERENCE = re.compile(r"arn:[^:]*:kinesis:[^:]*:[^:]*:stream/([^/]+)(?:/consumer/.*)?")


class Links:
    """Adds the links to parts that are complete."""

    def __init__(self, parts: Parts) -> None:
        self.mappings: dict[tuple[str, str], Mapping] = {}
        self._parts = parts
        self._resolver = parts.resolver
        self._types = {
            "AWS::Lambda::EventInvokeConfig": self._event_invoke_config,
            "AWS::Lambda::EventSourceMapping": self._event_source_mapping,
            "AWS::Lambda::Url": self._url,
            "AWS::Serverless::Function": self._events,
        }

    def add(self, resource: Resource) -> None:
        """Add the links that a resource declares. Raises TemplateError."""
        if resource.type in self._types:
            self._types[resource.type](resource)

    def _events(self, resource: Resource) -> None:
        line = resource.properties.lines.get("Events", resource.line)
        events, line = self._resolver.shallow(resource.properties.get("Events", ABSENT), line)
        if events is ABSENT:
            return
        site = Site(self._resolver, resource.logical_id, "Events", line)
        if not isinstance(events, Members):
            raise site.wrong(events, "a mapping of event names")
        for name, event in events.items():
            here = site._replace(owner=f"{resource.logical_id}.{name}", line=events.lines[name])
            kind = self._event_type(here, event)
            if kind == "Kinesis":
                self._kinesis_event(resource, name, event, here)
            else:
                reason = _LEFT_OUT_EVENTS.get(kind, f"one machine has no {kind} events")
                self._parts.leave_out(f"{resource.logical_id}{name}", kind, reason)

    def _event_type(self, site: Site, event: object) -> str:
        if not isinstance(event, Members) or not isinstance(event.get("Type"), str):
            raise site.error("Type is missing.", "Write Type: Kinesis, and Properties.")
        for name in event:
            if name not in ("Type", "Properties"):
                raise site._replace(line=event.lines[name]).error(
                    f"an event has no attribute {name}.", did_you_mean(name, ("Type", "Properties"))
                )
        kind = str(event["Type"])
        if kind not in _EVENT_TYPES:
            raise site._replace(line=event.lines["Type"]).error(
                f"there is no event type {kind}.", did_you_mean(kind, _EVENT_TYPES)
            )
        return kind

    def _kinesis_event(self, resource: Resource, name: str, event: Members, site: Site) -> None:
        body, line = self._resolver.shallow(event.get("Properties", Members(site.line)), site.line)
        found = properties.KINESIS_EVENT(body, site._replace(name="Properties", line=line))
        function = self._resolver.name(resource.logical_id, resource.line)
        at = site._replace(name="Stream", line=body.lines["Stream"])
        self._add_mapping(f"{resource.logical_id}{name}", function, found["Stream"], found, at)

    def _event_source_mapping(self, resource: Resource) -> None:
        source, line = self._resolver.shallow(
            resource.properties.get("EventSourceArn", ABSENT), resource.properties.lines.get("EventSourceArn", 0)
        )
        service = source.split(":")[2] if isinstance(source, str) and source.count(":") > 4 else ""
        if "SelfManagedEventSource" in resource.properties or service not in ("", "kinesis"):
            reason = f"one machine reads Kinesis streams only, no {service or 'Kafka'}"
            self._parts.leave_out(resource.logical_id, resource.type, reason)
            return
        found, site = self._parts.checked(resource, properties.EVENT_SOURCE_MAPPING)
        function = self._owner(resource, found, "FunctionName", site)
        at = site._replace(name="EventSourceArn", line=line)
        self._add_mapping(resource.logical_id, function, found["EventSourceArn"], found, at)

    def _add_mapping(self, logical_id: str, function: str, source: str, found: dict[str, Any], site: Site) -> None:
        stream = self._source(source, site)
        if (function, stream) in self.mappings:
            raise site.error(f"{function} already reads the stream {stream}.", "Keep one of the two mappings.")
        timestamp = found.get("StartingPositionTimestamp")
        self.mappings[function, stream] = Mapping(
            logical_id=logical_id,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{function_arn(function)} {stream_arn(stream)}")),
            function=function,
            stream=stream,
            enabled=found.get("Enabled", True),
            starting_position=found["StartingPosition"],
            starting_timestamp_ms=None if timestamp is None else round(timestamp * 1000),
            batch_size=found.get("BatchSize", 100),
            window_s=found.get("MaximumBatchingWindowInSeconds", 0),
            retries=found.get("MaximumRetryAttempts", -1),
            record_age_s_max=found.get("MaximumRecordAgeInSeconds", -1),
            bisect=found.get("BisectBatchOnFunctionError", False),
            report_item_failures=bool(found.get("FunctionResponseTypes")),
            failures_bucket=self._parts.failures_bucket(logical_id, found),
        )

    def _source(self, arn: str, site: Site) -> str:
        """Return the name of the template's stream with this ARN."""
        match = _STREAM_REFERENCE.fullmatch(arn)
        if match and match[1] in self._parts.streams:
            return match[1]
        if arn in self._parts.streams:
            raise site.error(
                f"{site.name} is {arn!r}, not an ARN.", f"Write !GetAtt {self._parts.streams[arn].logical_id}.Arn"
            )
        raise site.error(
            f"no stream of this template is {match[1] if match else arn}.",
            did_you_mean(match[1] if match else arn, self._parts.streams),
        )

    def _url(self, resource: Resource) -> None:
        found, site = self._parts.checked(resource, properties.URL)
        name = self._owner(resource, found, "TargetFunctionArn", site)
        self._parts.functions[name] = msgspec.structs.replace(
            self._parts.functions[name], url=True, url_auth=found["AuthType"]
        )

    def _event_invoke_config(self, resource: Resource) -> None:
        found, site = self._parts.checked(resource, properties.EVENT_INVOKE_CONFIG)
        name = self._owner(resource, found, "FunctionName", site)
        self._parts.functions[name] = msgspec.structs.replace(
            self._parts.functions[name], asynchronous=self._parts.asynchronous(resource.logical_id, found)
        )

    def _owner(self, resource: Resource, found: dict[str, Any], name: str, site: Site) -> str:
        """Return the name of the template's function that a property names."""
        match = _FUNCTION_REFERENCE.fullmatch(found[name])
        if match and match[1] in self._parts.functions:
            return match[1]
        raise resource.at(site, name).error(
            f"no function of this template is {found[name]}.", did_you_mean(found[name], self._parts.functions)
        )
