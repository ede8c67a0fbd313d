"""The gates pass on the shipped template, whatever its parameters; each seeded defect is found by its gate.

More defects are seeded by `tests/acceptance/test_template_defects.py`.
"""

from pathlib import Path
from typing import Any

import pytest

import archive
import store
from headrace import connect
from headrace.template import gates
from headrace.template.gates import policies
from headrace.template.gates.model import Model
from support.backend import TEMPLATE
from support.defects import VARIANTS, Defect, listed
from support.memory import Context, MemoryBucket, MemoryTable, lambda_record

TWENTY = listed("twenty")


@pytest.mark.parametrize("given", VARIANTS.values(), ids=VARIANTS)
def test_the_shipped_template_passes_every_gate(given: dict[str, str]) -> None:
    assert list(map(str, gates.check(TEMPLATE, given))) == []


@pytest.mark.parametrize("defect", TWENTY, ids=lambda defect: defect.name)
def test_a_seeded_defect_is_found(defect: Defect, tmp_path: Path) -> None:
    path = defect.seed(tmp_path / "project")
    assert any(each.gate == defect.gate for given in VARIANTS.values() for each in gates.check(path, given))


def test_twenty_defects_are_of_different_kinds() -> None:
    assert len(TWENTY) == 20
    assert len({defect.gate for defect in TWENTY}) >= 12


def test_functions_may_write_the_keys_that_they_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are made by code and allowed by prefix: what handlers really write is compared, not what they say."""
    model = Model(TEMPLATE, {})
    written: dict[str, list[str]] = {}
    for logical_id, handler in (("Store", store.handler), ("ArchiveFunction", archive.handler)):
        function = next(each for each in model.system.functions if each.logical_id == logical_id)
        buckets = {bucket.name: MemoryBucket() for bucket in model.system.buckets}
        connect.use(tables={table.name: MemoryTable() for table in model.system.tables}, buckets=dict(buckets))
        for name, value in function.environment.items():
            monkeypatch.setenv(name, value)
        context: Any = Context(function.name)
        handler({"Records": [lambda_record("{}"), lambda_record("no event", number=1)]}, context)
        connect.reset()
        allowed, _ = policies.of_function(model, model.resources[logical_id])
        for bucket, found in buckets.items():
            for key in found.objects:
                written.setdefault(logical_id, []).append(key.split("/")[0])
                arn = f"arn:aws:s3:::{bucket}/{key}"
                assert any(each.allows("s3:PutObject", arn) for each in allowed), arn
    assert written == {"Store": ["rejected"], "ArchiveFunction": ["raw"]}
