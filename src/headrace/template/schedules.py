"""The schedules of jobs: ScheduleV2 events of the state machine that runs them on AWS. Here the jobs run themselves.

The event's Input names the job and may set how it runs (`JobSettings`): {"job": "aggregate_hourly", "retries": 3}.
"""

from pathlib import Path

import msgspec

from headrace import schedule
from headrace.errors import TemplateError
from headrace.system import COMPACT, JobSettings, Schedule
from headrace.template import properties
from headrace.template.document import Members, did_you_mean
from headrace.template.intrinsics import ABSENT
from headrace.template.parts import Parts, Resource
from headrace.template.rules import Site

_TYPE = "AWS::Serverless::StateMachine"
_NO_JOBS = "state machines are not run; of their events, schedules whose Input names a job are"
_INPUT = '{"job": "aggregate_hourly"}'


class Schedules:
    """Collects the schedules. `reports` is the folder of the reports, each of which is a job."""

    def __init__(self, parts: Parts, reports: Path) -> None:
        self.found: list[Schedule] = []
        self._parts = parts
        self._resolver = parts.resolver
        # Without that folder a job of any name may be meant; its run then says that there is no such report.
        jobs = (COMPACT, *sorted(path.stem for path in reports.glob("*.sql")))
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
            self.found.append(self._schedule(f"{resource.logical_id}{name}", found, lines))

    def _schedule(self, logical_id: str, found: dict[str, str], lines: dict[str, Site]) -> Schedule:
        expression = found["ScheduleExpression"]
        at = lines["ScheduleExpression"]
        try:
            schedule.parse(expression)
        except ValueError as error:
            raise at.error(f"the schedule {expression} can't be read: {error}.", _hint(expression)) from None
        job, settings = self._input(found["Input"], lines["Input"])
        return Schedule(
            logical_id=logical_id,
            job=job,
            expression=expression,
            enabled=found.get("State", "ENABLED") == "ENABLED",
            settings=settings,
        )

    def _input(self, text: str, at: Site) -> tuple[str, JobSettings]:
        try:
            members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            job = msgspec.json.decode(members.pop("job", msgspec.Raw(b"null")), type=str)
            settings = msgspec.json.decode(msgspec.json.encode(members), type=JobSettings)
        except msgspec.DecodeError as error:
            raise self._wrong(at, f"Input is {text}: {error}") from None
        if self._jobs is not None and job not in self._jobs:
            raise at.error(f"there is no job {job}.", did_you_mean(job, self._jobs))
        return job, settings

    def _wrong(self, at: Site, problem: str) -> TemplateError:
        names = ", ".join(JobSettings.__struct_fields__)
        return at.error(f"{problem}.", f"Write {_INPUT}, and of these what is to differ: {names}.")


def _hint(expression: str) -> str:
    if expression.startswith("cron"):
        return "Write minutes, hours, day-of-month, month, day-of-week and year, as in cron(10 0 * * ? *)."
    return "Write rate(15 minutes), or cron(10 0 * * ? *)."
