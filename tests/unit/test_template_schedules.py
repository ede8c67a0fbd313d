"""The template's schedules of jobs: read, and refused with their line."""

from pathlib import Path

import pytest

from headrace import template
from headrace.errors import TemplateError
from headrace.system import BILLS, BUILT_IN_JOBS, JobSettings, Schedule, System
from support.backend import TEMPLATE

HEAD = "Transform: AWS::Serverless-2016-10-31\nResources:\n  Jobs:\n    Type: AWS::Serverless::StateMachine\n"
EVENTS = (
    HEAD
    + """\
    Properties:
      Events:
        Hourly:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(10 * * * ? *)
            Input: '{"job": "hourly", "engine": "spark", "parameters": {"gap_s": 60}}'
        Off:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: rate(1 day)
            State: DISABLED
            Input: '{"job": "compact"}'
"""
)


def read(folder: Path, text: str) -> System:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "reports" / "hourly.sql").write_text("SELECT 1 AS one")
    (folder / "template.yaml").write_text(text)
    return template.read(folder / "template.yaml", {})


def test_schedules_name_jobs_and_their_settings(tmp_path: Path) -> None:
    system = read(tmp_path, EVENTS)
    assert system.schedules == (
        Schedule(
            logical_id="JobsHourly",
            job="hourly",
            expression="cron(10 * * * ? *)",
            settings=JobSettings(engine="spark", parameters={"gap_s": 60}),
        ),
        Schedule(logical_id="JobsOff", job="compact", expression="rate(1 day)", enabled=False),
    )
    assert system.reports == str(tmp_path / "reports") and not system.ignored
    assert system.job_settings("hourly").engine == "spark" and system.job_settings("other") == JobSettings()


LISTED = """\
    Properties:
      Events:
        Nightly:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(20 0 * * ? *)
            Input: |
              {"jobs": [{"job": "compact", "local_schedule": "rate(15 minutes)"}, {"job": "hourly", "retries": 1}]}
"""


def test_one_schedule_may_list_several_jobs(tmp_path: Path) -> None:
    assert read(tmp_path, HEAD + LISTED).schedules == (
        Schedule(logical_id="JobsNightly.compact", job="compact", expression="rate(15 minutes)"),
        Schedule(
            logical_id="JobsNightly.hourly",
            job="hourly",
            expression="cron(20 0 * * ? *)",
            settings=JobSettings(retries=1),
        ),
    )


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"jobs": [', '"every": 1, "jobs": [', "Input is"),
        ('{"job": "hourly", "retries": 1}', '{"job": "compact"}', "compact is listed twice"),
        ('{"job": "hourly", "retries": 1}', '"hourly"', "Input is"),
        (
            '{"jobs": [{"job": "compact", "local_schedule": "rate(15 minutes)"}, {"job": "hourly", "retries": 1}]}',
            '{"jobs": []}',
            "Input is",
        ),
        ("rate(15 minutes)", "rate(15 minute)", "the schedule rate(15 minute)"),
        ('"hourly"', '"hurly"', "Did you mean hourly"),
        ('"retries"', '"tries"', "retries"),
        ('"retries": 1', '"retries": "one"', "Expected `int`"),
    ],
)
def test_what_is_wrong_in_a_list_of_jobs_is_told(tmp_path: Path, was: str, becomes: str, says: str) -> None:
    assert was in LISTED
    with pytest.raises(TemplateError) as raised:
        read(tmp_path, HEAD + LISTED.replace(was, becomes))
    assert raised.value.line == 11 and says in str(raised.value)


def test_a_state_machine_without_jobs_is_left_out(tmp_path: Path) -> None:
    (ignored,) = read(tmp_path, HEAD).ignored
    assert ignored.logical_id == "Jobs" and "Input names a job" in ignored.reason


@pytest.mark.parametrize(
    ("was", "becomes", "line", "says"),
    [
        ("cron(10 * * * ? *)", "cron(10 * * * *)", 10, "5 fields, not six"),
        ("rate(1 day)", "rate(1 days)", 15, "for 1"),
        ('"job": "hourly"', '"job": "hurly"', 11, "Did you mean hourly"),
        ('"job": "hourly", ', "", 11, "aggregate_hourly"),
        ('"engine"', '"machine"', 11, "timeout_s"),
        ('Input: \'{"job": "compact"}\'', "Inputs: none", 17, "Did you mean Input"),
        ("State: DISABLED", "ScheduleExpressionTimezone: Europe/Rome", 16, "UTC"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, was: str, becomes: str, line: int, says: str) -> None:
    with pytest.raises(TemplateError) as raised:
        read(tmp_path, EVENTS.replace(was, becomes))
    assert raised.value.line == line and says in str(raised.value)


def test_the_shipped_schedules_name_shipped_reports() -> None:
    jobs = {schedule.job for schedule in template.read(TEMPLATE, {}).schedules}
    reports = {path.stem for path in (TEMPLATE.parent / "reports").glob("*.sql")}
    assert jobs == {*reports, *BUILT_IN_JOBS} - {BILLS}, "what bills do by schedule are its two reports"
