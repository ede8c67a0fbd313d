"""The system that a template declares, frozen. `template.py` reads it; every process is handed the same one."""

from typing import Any

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen part of the system."""


class Stream(Struct, frozen=True):
    """A Kinesis stream. `shards` is its number at creation (4 for on-demand, as on AWS)."""

    logical_id: str
    name: str
    shards: int
    mode: str = "PROVISIONED"
    retention_hours: int = 24


class AsyncInvoke(Struct, frozen=True):
    """What happens to Event invokes: tries after the first, age limit, and the bucket for those given up."""

    retries: int = 2
    age_s_max: int = 21_600
    failures_bucket: str | None = None


class Function(Struct, frozen=True):
    """A Lambda function. `code` is the absolute folder of its handler (`module.attribute`)."""

    logical_id: str
    name: str
    handler: str
    code: str
    runtime: str = "python3.11"
    timeout_s: int = 3
    memory_mb: int = 128
    environment: dict[str, str] = {}
    reserved_concurrency: int | None = None
    url: bool = False
    url_auth: str = "NONE"
    asynchronous: AsyncInvoke = AsyncInvoke()


class Mapping(Struct, frozen=True):
    """An event source mapping: `function` and `stream` are names. −1 retries or age: no limit. `uuid` is derived."""

    logical_id: str
    uuid: str
    function: str
    stream: str
    enabled: bool = True
    starting_position: str = "TRIM_HORIZON"
    starting_timestamp_ms: int | None = None
    batch_size: int = 100
    window_s: int = 0
    retries: int = -1
    record_age_s_max: int = -1
    bisect: bool = False
    report_item_failures: bool = False
    failures_bucket: str | None = None


class Table(Struct, frozen=True):
    """A DynamoDB table. Units are None where it is on demand."""

    logical_id: str
    name: str
    partition_key: str
    sort_key: str | None = None
    ttl_attribute: str | None = None
    read_units: int | None = None
    write_units: int | None = None


class Bucket(Struct, frozen=True):
    """An S3 bucket; `lifecycle` holds its rules as the template writes them, intrinsics resolved.

    `transition_minimum` is its TransitionDefaultMinimumObjectSize.
    """

    logical_id: str
    name: str
    lifecycle: tuple[dict[str, Any], ...] = ()
    transition_minimum: str = "all_storage_classes_128K"


class Alarm(Struct, frozen=True):
    """A CloudWatch alarm; `properties` as the template writes them, intrinsics resolved."""

    logical_id: str
    name: str
    properties: dict[str, object]


class JobSettings(Struct, frozen=True):
    """How a job runs. `parameters` go to a report's view of that name; a write unit is an item of up to 1 KB."""

    engine: str = "duckdb"
    timeout_s: int = 3600
    retries: int = 2
    memory_mb: int = 1024
    spill_mb: int = 10_240
    writes_per_s: int = 500
    parameters: dict[str, int | float | str] = {}


class Schedule(Struct, frozen=True):
    """When a job runs by itself: `expression` as `schedule.py` reads it."""

    logical_id: str
    job: str
    expression: str
    enabled: bool = True
    settings: JobSettings = JobSettings()

    @property
    def name(self) -> str:
        """Return what tells it apart."""
        return self.logical_id


class Ignored(Struct, frozen=True):
    """A resource that one machine leaves out, and why."""

    logical_id: str
    type: str
    reason: str


class System(Struct, frozen=True):
    """Everything `headrace up` realises."""

    template: str
    parameters: dict[str, str]
    streams: tuple[Stream, ...] = ()
    functions: tuple[Function, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    tables: tuple[Table, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    reports: str = ""  # the absolute folder of report files
    ignored: tuple[Ignored, ...] = ()

    def function(self, name: str) -> Function | None:
        """Return the function of that name, or None."""
        return next((function for function in self.functions if function.name == name), None)

    def job_settings(self, job: str) -> JobSettings:
        """Return the settings that a job's first schedule gives it, else the defaults."""
        return next((each.settings for each in self.schedules if each.job == job), JobSettings())

    def stream(self, name: str) -> Stream | None:
        """Return the stream of that name, or None."""
        return next((stream for stream in self.streams if stream.name == name), None)

    @property
    def archive_bucket(self) -> str:
        """Return the bucket of the long-term archive."""
        archive = self.function("archive")
        return archive.environment.get("ARCHIVE_BUCKET", ARCHIVE) if archive else ARCHIVE

    @property
    def readings(self) -> tuple[str, ...]:
        """Return the readings that are metrics and typed columns (the template's parameter `Readings`)."""
        return tuple(dict.fromkeys(filter(None, map(str.strip, self.parameters.get("Readings", "").split(",")))))

    @property
    def failures_buckets(self) -> tuple[str, ...]:
        """Return every bucket that what is given up or rejected may be in, declared or not; `failures` first."""
        named = [mapping.failures_bucket for mapping in self.mappings]
        for function in self.functions:
            named += [function.asynchronous.failures_bucket, function.environment.get("FAILURES_BUCKET")]
        return tuple(dict.fromkeys(name for name in (FAILURES, *named) if name))


ARCHIVE = "archive"
FAILURES = "failures"  # where what is given up goes if the template names no other bucket
COMPACT, LOAD, BILLS = BUILT_IN_JOBS = ("compact", "load", "bills")  # jobs that are no reports
REGION = "us-east-1"
ACCOUNT = "000000000000"
STACK = "headrace"


def stream_arn(name: str) -> str:
    """Return a stream's ARN on one machine."""
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"


def function_arn(name: str) -> str:
    """Return a function's ARN on one machine."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
