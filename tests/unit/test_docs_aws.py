"""The guide to AWS and the decisions quote what `headrace cost` computes today."""

import json
import re

import pytest

from headrace.cost import prices
from support.backend import ROOT, TEMPLATE
from support.command_line import run

GUIDE = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
DECISION = (ROOT / "docs" / "adr" / "0017-template-on-aws.md").read_text(encoding="utf-8")


def ways(devices: int, rate: str) -> dict[str, float]:
    done = run("cost", "--json", "--devices", devices, "--rate", rate, "--template", TEMPLATE)
    return {way["name"]: way["total"] for way in json.loads(done.stdout)["ways"]}


def test_the_table_of_costs_is_what_is_computed() -> None:
    small, large = ways(10_000, "1/min"), ways(100_000, "1/10s")
    rows = [f"| {name} | {small[name]:,.0f} | {large[name]:,.0f} |" for name in small]
    assert "\n".join(rows) in GUIDE
    assert "\n".join(f"| {name} | {total:,.0f} |" for name, total in large.items()) in DECISION


def test_the_figures_beside_it_are_those_of_the_price_file() -> None:
    found = prices.load()
    assert f"prices of {found.date}" in GUIDE
    assert "four fifths of the storage" in GUIDE
    assert found.of("table_recovery_gb") / found.of("table_gb") == pytest.approx(4 / 5)


def test_no_other_dollars_are_quoted() -> None:
    costs = GUIDE.partition("## Costs")[2].partition("## Limits")[0]
    assert re.findall(r"\$[\d,.]+", GUIDE) == []
    assert len(re.findall(r"\| [\d,]+ \|", costs)) == 3
