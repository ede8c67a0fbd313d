"""`headrace deploy`: the project on AWS, through a change set that is shown before it acts."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from headrace.cli.aws import aws_options
from headrace.cli.cost import quantity, rate_s
from headrace.cli.options import ignored_endpoint_option, json_option
from headrace.cli.output import note, print_json, size, table
from headrace.cli.project import template_here, template_options
from headrace.errors import HeadraceError, UsageError

if TYPE_CHECKING:
    from headrace.cost.model import Case
    from headrace.deploy.aws import Aws
    from headrace.deploy.package import Built
    from headrace.deploy.project import Prepared
    from headrace.deploy.stack import Plan, Stack

_DEVICES, _RATE_S, _BYTES = 10_000.0, 1 / 60, 150.0
_PLACEHOLDER = "headrace-artifacts-to-be-made"


@click.command("deploy")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and its monthly cost; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--devices", metavar="N", type=float, help="Size the capacity for so many devices, and price it.")
@click.option("--rate", metavar="R", help="Events of a device: 0.1 a second, or 1/min, 1/10s (with --devices: 1/min).")
@click.option("--bytes", "size_", metavar="B", type=float, help="Of an event's JSON (150).")
@click.option(
    "--artifacts-bucket", metavar="NAME", help="A bucket of yours for code (else one is made, once a region)."
)
@aws_options
@template_options
@json_option
@ignored_endpoint_option
def deploy_command(
    only_plan: bool,
    yes: bool,
    devices: float | None,
    rate: str | None,
    size_: float | None,
    artifacts_bucket: str | None,
    stack: str,
    region: str | None,
    profile: str | None,
    template_file: Path | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Put the project on AWS: its plan and monthly cost are shown first.

    Parameters that are not given keep what they have. With --devices or --rate, those of capacity that are not given
    are set to what is cheapest for that fleet.
    """
    from headrace.deploy import project
    from headrace.deploy.aws import Aws
    from headrace.deploy.stack import Stack
    from headrace.template import parse_parameters

    template = template_here(template_file)
    given = parse_parameters(parameters)
    aws = Aws(profile, region)
    account = aws.account()
    target = Stack(aws, stack)
    existing = target.parameters()
    sizes = {"devices": devices, "rate_s": None if rate is None else rate_s(rate), "size": size_}
    fleet = {name: value for name, value in sizes.items() if value is not None}
    if devices is not None or rate is not None:
        given = _capacity(template, {**existing, **given}, fleet, given) | given
    note(f"account {account}, {aws.region}, stack {stack}")
    prepared = project.prepare(template, {**existing, **given})
    _say_packages(prepared.packages)
    bucket = _bucket(aws, artifacts_bucket, only_plan=only_plan, yes=yes)
    wanted = project.parameters(prepared, stack, bucket or _PLACEHOLDER, given, existing)
    source = _source(aws, prepared, bucket, only_plan=only_plan)
    plan = target.plan(source, wanted)
    values = project.values(wanted, existing)
    case, findings = _case(template, values, fleet), _findings(template, values)
    if only_plan:
        target.discard(plan) if plan.changes else None
        _show(plan, case, stack, findings, as_json=as_json)
        return
    _show(plan, case, stack, findings, as_json=False, err=as_json)
    if plan.changes and not yes and not click.confirm("Deploy this?", err=True):
        target.discard(plan)
        raise HeadraceError("Nothing was deployed.", "Run it again when you are sure.")
    if plan.changes:
        _execute(target, plan)
    outputs = target.outputs()
    print_json(outputs) if as_json else click.echo(_welcome(outputs, stack, region, profile))


def _capacity(
    template: Path, parameters: dict[str, str], fleet: dict[str, float], given: dict[str, str]
) -> dict[str, str]:
    """Return the parameters of capacity that are cheapest for a fleet, without those given."""
    from headrace.cost import choices
    from headrace.deploy import rewrite

    return choices.capacity(_case(template, parameters, fleet), rewrite.parameters_of(template), given)


def _case(template: Path, parameters: dict[str, str], fleet: dict[str, float]) -> "Case":
    from headrace.cli.cost import case_of
    from headrace.cost import project

    traffic = {"devices": _DEVICES, "rate_s": _RATE_S, "size": _BYTES, "per_record": 1.0} | fleet
    return case_of(project.read(template, parameters).design, traffic, {}, None)


def _findings(template: Path, values: dict[str, str]) -> list[str]:
    """Return what the gates find: what AWS would refuse, or what would go wrong there."""
    from headrace.template import gates

    return list(map(str, gates.check(template, values)))


def _say_packages(built: "Iterable[Built]") -> None:
    for each in built:
        note(f"package {each.source.name}: {size(each.zip_bytes)} zipped, {size(each.unzipped_bytes)} unpacked")


def _bucket(aws: "Aws", named: str | None, *, only_plan: bool, yes: bool) -> str | None:
    """Return the bucket of artifacts, made if there is none; None where only a plan is wanted and there is none."""
    from headrace.deploy import artifacts

    if named is not None:
        artifacts.check_bucket(aws, named)
        return named
    found = artifacts.bucket(aws)
    if found is not None or only_plan:
        return found
    question = f"There is no bucket for code in {aws.region} yet. Make one (the stack {artifacts.BOOTSTRAP})?"
    if not yes and not click.confirm(question, err=True):
        raise HeadraceError("Nothing was deployed.", "Name a bucket of yours: --artifacts-bucket NAME.")
    note(f"making the stack {artifacts.BOOTSTRAP}")
    return artifacts.make_bucket(aws)


def _source(aws: "Aws", prepared: "Prepared", bucket: str | None, *, only_plan: bool) -> dict[str, str]:
    """Return where CloudFormation finds the template: in the bucket, or sent along where it is small enough."""
    from headrace.deploy import artifacts, rewrite

    text = prepared.text(bucket or _PLACEHOLDER)
    if bucket is None:
        if len(text.encode()) > rewrite.BODY_BYTES_MAX:
            raise UsageError(
                f"The template has {len(text.encode()):,} bytes; to be planned it has to go through a bucket, "
                "and there is none yet.",
                "Run `headrace deploy`: it makes one and asks before it deploys; or name one: --artifacts-bucket NAME.",
            )
        return {"TemplateBody": text}
    template = artifacts.template_artifact(text)
    uploaded = [template] if only_plan else [*prepared.artifacts, template]
    artifacts.upload(aws, bucket, uploaded, note)
    endpoint = aws.client("s3").meta.endpoint_url
    return {"TemplateURL": f"{endpoint}/{bucket}/{template.key}"}


def _execute(target: "Stack", plan: "Plan") -> None:
    from headrace.deploy.stack import event_line

    try:
        for event in target.execute(plan):
            note(event_line(event))
    except KeyboardInterrupt:
        raise HeadraceError(
            "CloudFormation goes on by itself.", f"See how it ends: headrace status --aws --stack {target.name}"
        ) from None


def _show(plan: "Plan", case: "Case", stack: str, findings: list[str], *, as_json: bool, err: bool = False) -> None:
    from headrace.cost import choices
    from headrace.deploy.changes import render

    total = choices.total(case)
    if as_json:
        warnings = [text for each in plan.changes if (text := each.warning())]
        print_json(
            {
                "stack": stack,
                "changes": msgspec.to_builtins(plan.changes),
                "warnings": warnings,
                "findings": findings,
                "monthly": total,
            }
        )
        return
    verb = {"CREATE": "created", "UPDATE": "updated"}[plan.kind]
    head = f"The stack {stack} will be {verb}:" if plan.changes else f"The stack {stack} is as it should be."
    click.echo(f"\n{head}\n{render(plan.changes) if plan.changes else ''}\n", err=err)
    if findings:
        click.echo("On AWS this may not work, or not safely:\n" + "\n".join(findings) + "\n", err=err)
    click.echo(_cost_text(case, total), err=err)


def _cost_text(case: "Case", total: float) -> str:
    from headrace.cost import choices, model

    traffic = case.traffic
    components: dict[str, float] = {}
    for line in model.lines(case):
        components[line.component] = components.get(line.component, 0.0) + line.amount
    parts = ", ".join(f"{name} {amount:,.0f}" for name, amount in components.items())
    sized = choices.total(choices.recommended(case)[0])
    hint = "" if sized > 0.99 * total else f"With --devices and --rate of your fleet it is sized: here ${sized:,.0f}.\n"
    return (
        f"About ${total:,.0f} a month ({parts})\nfor {traffic.devices:,.0f} devices, {quantity(traffic.events_s)} "
        f"events/s of {traffic.bytes:,.0f} bytes, prices of {case.prices.date}: `headrace cost` says how.\n{hint}"
    )


def _welcome(outputs: dict[str, str], stack: str, region: str | None, profile: str | None) -> str:
    of = "".join(
        f" --{name} {value}" for name, value in (("stack", stack), ("region", region), ("profile", profile)) if value
    ).replace(" --stack headrace", "")
    put = of.replace(f" --stack {stack}", "")
    stream = outputs.get("StreamName", "events")
    first = (
        f"aws kinesis put-record --stream-name {stream} --partition-key d1 --cli-binary-format raw-in-base64-out"
        f""" --data '{{"device_id": "d1", "temperature_f": 70.5}}'{put}"""
    )
    return "\n".join(
        (
            table(("output", "value"), sorted(outputs.items())),
            "",
            "Try it:",
            f"  {first}",
            f"  headrace latest d1 --aws{of}",
        )
    )
