"""The guide names the functions that are let through, and no others."""

import re

from headrace.warehouse.redshift.calls import ALLOWED
from support.backend import ROOT

GUIDE = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")


def test_the_guide_lists_every_function_once() -> None:
    table = GUIDE.partition("**Functions**")[2].partition("**System views**")[0]
    listed = [name.lower() for names in re.findall(r"`([A-Z0-9_ ]+)`", table) for name in names.split()]
    assert sorted(listed) == sorted(ALLOWED)
