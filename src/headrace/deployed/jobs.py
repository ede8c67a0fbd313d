"""Jobs: the schedules that start the state machine, and how its last runs ended."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.deployed import Deployed

_STATES = {
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "TIMED_OUT": "failed",
    "ABORTED": "cancelled",
    "PENDING_REDRIVE": "waiting",
}
_SCHEDULE, _MACHINE = "AWS::Scheduler::Schedule", "AWS::StepFunctions::StateMachine"
RUNS_MAX = 10


def listed(system: "Deployed") -> dict[str, Any]:
    """Return the jobs that schedules name, in their order: all of one run of the state machine share its state."""
    machine = system.output("JobsStateMachineArn", _MACHINE)
    runs = executions(system, machine)
    jobs: dict[str, dict[str, Any]] = {}
    for name in system.names(_SCHEDULE):
        client = system.client("scheduler")
        with system.errors():
            schedule = client.get_schedule(Name=name.rpartition("/")[2] or name, GroupName=_group(name))
        expression = schedule["ScheduleExpression"] + ("" if schedule.get("State") == "ENABLED" else " (disabled)")
        for job in _jobs(schedule.get("Target", {}).get("Input", "")):
            entry: dict[str, Any] = {"job": job, "schedules": [], "next": None, "last": runs[0] if runs else None}
            jobs.setdefault(job, entry)["schedules"].append(expression)
    return {"jobs": list(jobs.values()), "runs": runs}


def executions(system: "Deployed", machine: str) -> list[dict[str, Any]]:
    """Return the state machine's last runs, the newest first."""
    client = system.client("stepfunctions")
    with system.errors():
        found = client.list_executions(stateMachineArn=machine, maxResults=RUNS_MAX)["executions"]
    return [
        {
            "id": each["name"],
            "state": _STATES.get(each["status"], each["status"].lower()),
            "created_ms": _ms(each["startDate"]),
            "ended_ms": _ms(each["stopDate"]) if each.get("stopDate") else None,
        }
        for each in found
    ]


def _jobs(text: str) -> list[str]:
    """Return the jobs that a schedule's input names."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    if not isinstance(found, dict):
        return []
    several = found.get("jobs", [found])
    return [str(each["job"]) for each in several if isinstance(each, dict) and "job" in each]


def _group(name: str) -> str:
    group, sign, _ = name.rpartition("/")
    return group.rpartition("/")[2] if sign else "default"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
