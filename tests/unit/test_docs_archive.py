"""What `docs/archive.md` says of engines, run as it stands there, for those that the tests have."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from support.archive import Archive

TEXT = (Path(__file__).parents[2] / "docs" / "archive.md").read_text()
SNIPPETS = dict(re.findall(r"```python\n# (\w+)[^\n]*\n(.*?)```", TEXT, re.DOTALL))


def test_every_engine_has_a_snippet() -> None:
    assert SNIPPETS.keys() == {"DuckDB", "Polars", "pandas", "Spark"}


@pytest.mark.parametrize("engine", ["DuckDB", "Polars"])
def test_the_snippet_reads_the_folder(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    sent = [
        {"device_id": "pump-1", "time": f"2014-02-20T{hour:02d}:00:00Z", "temperature_f": hour} for hour in range(24)
    ]
    archive.put(*sent, {"device_id": "pump-1", "time": "2014-02-21T00:00:00Z", "pressure": 5.0})
    archive.compact(readings=("temperature_f",))
    archive.put({"device_id": "pump-2", "time": "2014-02-22T00:00:00Z", "pressure": 5.0})
    archive.compact(readings=("pressure", "temperature_f"))
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(SNIPPETS[engine], {})
    assert re.search(r"pump-1\W+24\W+11\.5", printed.getvalue()), printed.getvalue()
