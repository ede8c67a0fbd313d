"""The schedules of jobs: ScheduleV2 events of the state machine that runs them on AWS. Here the jobs run themselves.

The event's Input names the job and may set how it runs (`JobSettings`): {"job": "aggregate_hourly", "retries": 3}. Or
it lists such jobs under `jobs`, which on AWS share one cluster, in their order: there a cluster costs money each time.
Here a job is a process, and may have a `local_schedule` of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from headrace import schedule
from headrace.errors import TemplateError
from headrace.system import BUILT_IN_JOBS, JobSettings, Schedule
from headrace.template import properties
from headrace.template.document import Members, did_you_mean
from headrace.template.intrinsics import ABSENT
from headrace.template.parts import Parts, Resource
from headrace.template.rules import Site

_TYPE = "AWS::Serverless::StateMachine"
_NO_JOBS = "state machines are not run; of their events, schedules whose Input names a job are"
_INPUT = '{"job": "aggregate_hourly"}'


class _Job(msgspec.Struct):
    """What Input says of one job; `settings` is whatever else stands there."""

    job: str
    expression: str
    settings: JobSettings


class Schedules:
    """Collects the schedules. `reports` is the folder of the reports, each of which is a job."""

    def __init__(self, parts: Parts, reports: Path) -> None:
        self.found: list[Schedule] = []
        self._parts = parts
        self._resolver = parts.resolver
        # Without that folder a job of any name may be meant; its run then says that there is no such report.
        jobs = (*BUILT_IN_JOBS, *sorted(path.stem for path in reports.glob("*.sql")))
        self._jobs = jobs if reports.is_dir() else None

    def add(self, resource: Resource) -> None:
        """Add the schedules that a state machine declares. Raises TemplateError."""
        if resource.type != _TYPE:
            return
        self._parts.checked(resource, properties.STATE_MACHINE)
        line = resource.properties.lines.get("Events", resource.line)
        events, line = self._resolver.shallow(resource.properties.get("Events", ABSENT), line)
        if not isinstance(events, Members):
            self._parts.leave_out(resource.logical_id, resource.type, _NO_JOBS)
            return
        for name, event in events.items():
            site = Site(self._resolver, f"{resource.logical_id}.{name}", name, events.lines[name])
            if not isinstance(event, Members) or event.get("Type") != "ScheduleV2":
                kind = str(event.get("Type")) if isinstance(event, Members) else "event"
                self._parts.leave_out(f"{resource.logical_id}{name}", kind, _NO_JOBS)
                continue
            body, line = self._resolver.shallow(event.get("Properties", Members(site.line)), site.line)
            found = properties.SCHEDULE_EVENT(body, site._replace(name="Properties", line=line))
            lines = {each: site._replace(name=each, line=body.lines.get(each, line)) for each in body}
            self.found += self._schedules(f"{resource.logical_id}{name}", found, lines)

    def _schedules(self, logical_id: str, found: dict[str, str], lines: dict[str, Site]) -> Iterator[Schedule]:
        """Yield the schedules of an event: one, or one for each job that its Input lists."""
        expression = found["ScheduleExpression"]
        _check(expression, lines["ScheduleExpression"])
        members = _members(found["Input"], lines["Input"])
        several = "jobs" in members
        jobs = [self._job(each, expression, lines["Input"]) for each in (members["jobs"] if several else [members])]
        for place, each in enumerate(jobs):
            if each.job in [other.job for other in jobs[:place]]:
                raise lines["Input"].error(f"the job {each.job} is listed twice.", "Take one of the two out.")
            yield Schedule(
                logical_id=f"{logical_id}.{each.job}" if several else logical_id,
                job=each.job,
                expression=each.expression,
                enabled=found.get("State", "ENABLED") == "ENABLED",
                settings=each.settings,
            )

    def _job(self, members: dict[str, Any], expression: str, at: Site) -> _Job:
        own = dict(members)
        try:
            job = msgspec.convert(own.pop("job", None), str)
            expression = msgspec.convert(own.pop("local_schedule", expression), str)
            settings = msgspec.convert(own, JobSettings)
        except msgspec.ValidationError as error:
            raise _wrong(at, f"Input is {msgspec.json.encode(members).decode()}: {error}") from None
        _check(expression, at)
        if self._jobs is not None and job not in self._jobs:
            raise at.error(f"there is no job {job}.", did_you_mean(job, self._jobs))
        return _Job(job, expression, settings)


def _members(text: str, at: Site) -> dict[str, Any]:
    """Return what Input says: a job, or `jobs` with a list of them and nothing beside it."""
    try:
        members = msgspec.json.decode(text, type=dict[str, Any])
        if "jobs" in members:
            msgspec.convert(
                members, type=dict[Literal["jobs"], Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]]
            )
    except msgspec.DecodeError as error:
        raise _wrong(at, f"Input is {text}: {error}") from None
    return members


def _check(expression: str, at: Site) -> None:
    try:
        schedule.parse(expression)
    except ValueError as error:
        raise at.error(f"the schedule {expression} can't be read: {error}.", _hint(expression)) from None


def _wrong(at: Site, problem: str) -> TemplateError:
    names = ", ".join(("local_schedule", *JobSettings.__struct_fields__))
    return at.error(
        f"{problem}.", f'Write {_INPUT}, or {{"jobs": [{_INPUT}]}}, and of these what is to differ: {names}.'
    )


def _hint(expression: str) -> str:
    if expression.startswith("cron"):
        return "Write minutes, hours, day-of-month, month, day-of-week and year, as in cron(10 0 * * ? *)."
    return "Write rate(15 minutes), or cron(10 0 * * ? *)."
