"""Further defects, of the same kinds as those that `make check` seeds: the gates find them too."""

from pathlib import Path

import pytest

from headrace.template import gates
from support.defects import VARIANTS, Defect, listed


@pytest.mark.parametrize("defect", listed("further"), ids=lambda defect: defect.name)
def test_a_further_defect_is_found(defect: Defect, tmp_path: Path) -> None:
    path = defect.seed(tmp_path / "project")
    assert any(each.gate == defect.gate for given in VARIANTS.values() for each in gates.check(path, given))
