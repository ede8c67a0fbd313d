"""`headrace alarms`: the template's alarms and their states. Over CloudWatch's wire, so on AWS too."""

from typing import Any

import click

from headrace import clock
from headrace.cli.backend import Backend
from headrace.cli.options import json_option, with_system
from headrace.cli.output import print_json, table
from headrace.deployed import Deployed

_ORDER = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}


@click.command("alarms")
@json_option
@with_system
def alarms_command(backend: Backend | Deployed, as_json: bool) -> None:
    """Show the alarms: which are on, since when, and why.

    With HEADRACE_WEBHOOK=URL set for `headrace up`, each change is posted there.
    """
    client = backend.client("cloudwatch")
    with backend.errors():
        pages = client.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"])
        alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
        found = [_row(alarm) for alarm in alarms if backend.owns("AWS::CloudWatch::Alarm", alarm["AlarmName"])]
    found.sort(key=lambda row: (_ORDER.get(row["state"], 3), row["name"]))
    if as_json:
        print_json(found)
    elif found:
        click.echo(table(("alarm", "state", "since"), [[row["name"], row["state"], row["since"]] for row in found]))
        for row in found:
            click.echo(f"\n{row['name']}: {row['description'] or 'no description'}\n  {row['reason']}")
    else:
        click.echo("no alarms: declare AWS::CloudWatch::Alarm in the template")


def _row(alarm: dict[str, Any]) -> dict[str, Any]:
    since = alarm.get("StateTransitionedTimestamp") or alarm.get("StateUpdatedTimestamp")
    return {
        "name": alarm["AlarmName"],
        "state": alarm["StateValue"],
        "since": clock.rfc3339_ms(round(since.timestamp() * 1000)) if since is not None else None,
        "reason": alarm.get("StateReason", ""),
        "description": alarm.get("AlarmDescription"),
    }
