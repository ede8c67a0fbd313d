"""Rows of raw objects, as DuckDB reads them from this process's memory."""

from pathlib import Path

from support import death
from support.archive import needs_native


@needs_native
def test_asking_for_rows_again_never_waits_for_a_thread_that_waits_for_pythons_lock(tmp_path: Path) -> None:
    assert death.run("staging_process", tmp_path).returncode == 0
