"""`headrace cost`: what a template costs a month on AWS, by component, and what would make it cheaper."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headrace.cli.options import endpoint_option, json_option
from headrace.cli.output import print_json, table
from headrace.cli.project import template_here, template_options
from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.cost.choices import Choice, Option
    from headrace.cost.design import Design
    from headrace.cost.model import Case

_RATE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?(?:/(\d+(?:\.\d*)?|\.\d+)?(s|min|h|d)?)?")
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
OBSERVED_LAST = "1h"


@click.command("cost")
@click.option("--devices", metavar="N", type=float, help="How many devices send (10,000).")
@click.option("--rate", metavar="R", help="Events of a device: 0.1 a second, or 1/min, 1/10s, 6/h (1/min).")
@click.option("--bytes", "size", metavar="B", type=float, help="Of an event's JSON (150).")
@click.option("--events-per-record", "per_record", metavar="N", type=float, help="Packed in a stream record (1).")
@click.option("--month", metavar="N", type=float, help="Whose bill: the N-th month since the start (12).")
@click.option("--observed", is_flag=True, help="Take rates, sizes and durations from what a running backend measured.")
@click.option("--last", metavar="T", default=OBSERVED_LAST, show_default=True, help="How far --observed looks back.")
@click.option("--times", metavar="X", type=float, default=1.0, help="With --observed: so many times that traffic (1).")
@click.option("--assume", "assumed", metavar="NAME=VALUE", multiple=True, help="Set an assumption; the output has all.")
@click.option("--prices", metavar="FILE", type=click.Path(path_type=Path), help="Another price file.")
@template_options
@json_option
@endpoint_option
def cost_command(
    devices: float | None,
    rate: str | None,
    size: float | None,
    per_record: float | None,
    month: float | None,
    observed: bool,
    last: str,
    times: float,
    assumed: tuple[str, ...],
    prices: Path | None,
    template_file: Path | None,
    parameters: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what the template costs a month on AWS, by component.

    With --devices, --rate or --observed the capacity is what `headrace deploy --devices --rate` would choose for that
    traffic, but for the parameters given; without, the template's own, which is on demand.
    Prices are dated and have sources; free tiers, discounts, taxes and traffic out of the region are left out.
    """
    from headrace.cost import choices, project
    from headrace.template import parse_parameters

    template, chosen = template_here(template_file, or_built_in=True), parse_parameters(parameters)
    found = project.read(template, chosen)
    given: dict[str, Any] = {"devices": devices, "size": size, "per_record": per_record}
    given["rate_s"] = None if rate is None else rate_s(rate)
    given = {name: value for name, value in given.items() if value is not None}
    values = assumptions_of(assumed, month)
    source = "as given"
    if observed:
        seen, source, measured = _observed(last, times, found.design.readings)
        seen["rate_s"] /= max(1.0, given.get("devices", 1.0))  # measured for all of them together
        given, values = seen | given, measured | values
    elif times != 1:
        raise UsageError("--times goes with --observed.", "Multiply --devices instead.")
    traffic = {"devices": 10_000.0, "rate_s": 1 / 60, "size": 150.0, "per_record": 1.0} | given
    case = case_of(found.design, traffic, values, prices)
    sized: dict[str, str] = {}
    if observed or devices is not None or rate is not None:
        sized = choices.capacity(case, found.parameters, chosen)
        case = msgspec.structs.replace(case, design=project.read(template, sized | chosen).design)
    shown = (to_json if as_json else render)(case, source, found.parameters, sized)
    print_json(shown) if as_json else click.echo(shown)


def rate_s(text: str) -> float:
    """Return events a second: `0.1`, `1/60`, `1/min`, `6/10s`; raises UsageError."""
    found = _RATE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"--rate {text}: this is no rate.", "Write 0.1 (a second), 1/60, 1/min, 1/10s or 6/h.")
    count, _, period = text.strip().lower().partition("/")
    length = float(found[2] or 1) * _UNITS_S.get(found[3] or "s", 1.0) if period else 1.0
    if length == 0:
        raise UsageError(f"--rate {text}: a period of nothing.", "Write 1/min, 1/10s or 6/h.")
    return float(count) / length


def assumptions_of(assumed: tuple[str, ...], month: float | None) -> dict[str, str]:
    """Return what `--assume` and `--month` set."""
    values = {}
    for text in assumed:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--assume {text}: this sets nothing.", "Write --assume NAME=VALUE.")
        values[name] = value
    if month is not None:
        values["month"] = str(month)
    return values


def case_of(design: "Design", traffic: dict[str, float], values: dict[str, str], prices: Path | None) -> "Case":
    """Return what is to be priced; raises UsageError with the option to mend."""
    from headrace.cost import assumptions, model
    from headrace.cost import prices as price_file

    made = assumptions.traffic(traffic["devices"], traffic["rate_s"], traffic["size"], traffic["per_record"])
    return model.Case(design, made, assumptions.assumptions(values), price_file.load(prices))


def _observed(last: str, times: float, readings: tuple[str, ...]) -> tuple[dict[str, float], str, dict[str, str]]:
    from headrace.cli.backend import Backend
    from headrace.cli.observed import observed
    from headrace.cli.options import endpoint

    if not 0 < times <= 1e9:
        raise UsageError(f"--times is {times:g}.", "It may be above 0 and up to 1e9.")
    return observed(Backend(endpoint()), last, times, readings)


def to_json(case: "Case", source: str, declared: frozenset[str], sized: dict[str, str]) -> dict[str, Any]:
    """Return an estimate as `--json` prints it; money in dollars a month, nothing rounded."""
    from headrace.cost import choices, model

    best, _ = choices.recommended(case)
    lines = model.lines(case)
    components: dict[str, float] = {}
    for line in lines:
        components[line.component] = components.get(line.component, 0.0) + line.amount
    prices = case.prices
    return {
        "monthly": choices.total(case),
        "currency": prices.currency,
        "components": components,
        "lines": [msgspec.to_builtins(line) for line in lines],
        "naive": choices.naive(case),
        "ways": [{**msgspec.to_builtins(way), "naive_times": times} for way, times in _compared(case)],
        "sized": sized,
        "recommended": {"monthly": choices.total(best), "parameters": choices.capacity(case, declared, ())},
        "choices": [msgspec.to_builtins(choice) for choice in choices.choices(case)],
        "warnings": warnings(case),
        "traffic": {**msgspec.to_builtins(case.traffic), "source": source, "events_month": case.traffic.events},
        "design": msgspec.to_builtins(case.design),
        "assumptions": msgspec.to_builtins(case.assumed),
        "prices": {
            "date": prices.date,
            "region": prices.region,
            "sources": prices.sources,
            "unsourced": unsourced(case),
        },
    }


def unsourced(case: "Case") -> list[str]:
    """Return the names of the prices without a source."""
    from headrace.cost.prices import UNSOURCED

    return [name for name, price in case.prices.prices.items() if price.source == UNSOURCED]


def warnings(case: "Case") -> list[str]:
    """Return where the template's capacity does not carry the traffic."""
    from headrace.cost.model import shards_needed, write_units_needed, write_units_s

    design, found = case.design, []
    if not design.on_demand_stream and (needed := shards_needed(case.traffic, case.assumed)) > design.shards:
        found.append(f"the stream has {design.shards:g} shards; this traffic needs {needed:,}: ShardCount={needed}")
    mean = write_units_s(case.traffic, case.assumed)
    if design.write_units is not None and not design.utilisation and design.write_units < mean:
        needed = write_units_needed(case.traffic, case.assumed)
        found.append(
            f"the table has {design.write_units:,.0f} write units; items take {mean:,.0f} a second: "
            f"EventsTableWriteUnits={needed}"
        )
    return found


def render(case: "Case", source: str, declared: frozenset[str], sized: dict[str, str]) -> str:
    """Return an estimate as text for people."""
    from headrace.cost import choices, model

    traffic, lines = case.traffic, model.lines(case)
    rows = [
        [
            line.component,
            line.item,
            quantity(line.quantity),
            line.unit,
            f"{line.price:.4g}",
            f"{line.amount:,.2f}{'' if line.sourced else '*'}",
        ]
        for line in lines
    ]
    total = choices.total(case)
    parts = [
        f"{traffic.devices:,.0f} devices, {traffic.events_s:,.6g} events/s of {traffic.bytes:,.0f} bytes, "
        f"{traffic.per_record:g} a record ({source}): {traffic.events:,.0f} events a month",
        table(("component", "what", "quantity", "of", "$ each", "$ a month"), rows),
        f"total ${total:,.2f} in month {case.assumed.month:g}"
        + (f", as `deploy` sizes it for this: {_settings(sized)}" if sized else ""),
        table(
            ("way", "$ a month", "naive is"),
            [[way.name, f"{way.total:,.2f}", f"{times:.2f} times that"] for way, times in _compared(case)],
        ),
        *(f"WARNING: {text}" for text in warnings(case)),
        _advice(case, total, declared),
        _assumed(case),
        f"prices of {case.prices.region}, {case.prices.date}; * marks a price without a source, which are: "
        + ", ".join(unsourced(case)),
    ]
    return "\n\n".join(part for part in parts if part)


def quantity(value: float) -> str:
    """Return a quantity with as many digits as it needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.4g}"


def _advice(case: "Case", total: float, declared: frozenset[str]) -> str:
    from headrace.cost import choices

    rows = [_choice(choice) for choice in choices.choices(case)]
    best, _ = choices.recommended(case)
    known = choices.capacity(case, declared, ())
    saved = total - choices.total(best)
    text = table(("choice", "$ a month", "instead of", "$ a month", "saves", ""), rows)
    if saved > 0.005 and known:
        text += f"\n\nrecommended: ${choices.total(best):,.2f} (saves ${saved:,.2f}): {_settings(known)}"
    return text


def _compared(case: "Case") -> "list[tuple[Option, float]]":
    """Return the ways that there are, and how many times its cost the naive one is."""
    from headrace.cost import choices

    ways = choices.ways(case)
    return [(way, ways[0].total / way.total) for way in ways]


def _settings(values: dict[str, str]) -> str:
    return " ".join(f"--parameters {name}={value}" for name, value in values.items())


def _choice(choice: "Choice") -> list[str]:
    cheaper, dearer = sorted(choice.options, key=lambda option: option.name != choice.cheaper)
    mark = "" if choice.cheaper == choice.chosen else f" (the template: {choice.chosen})"
    return [
        f"{choice.subject}: {cheaper.name}{mark}",
        f"{cheaper.total:,.2f}",
        dearer.name,
        f"{dearer.total:,.2f}",
        f"{choice.saves:,.2f}",
        choice.note,
    ]


def _assumed(case: "Case") -> str:
    from headrace.cost.assumptions import MEANING

    rows = [[name, quantity(getattr(case.assumed, name)), meaning] for name, meaning in MEANING.items()]
    return table(("assumed (--assume NAME=VALUE)", "value", "what it is"), rows)
