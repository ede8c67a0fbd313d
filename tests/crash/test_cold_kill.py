"""A process that is killed while it moves an object to the cold folder, at every step of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SIZE = 160_000
HOT = ["events/dt=1/a", SIZE, "STANDARD", True, {"a": "b"}]
COLD = ["events/dt=1/a", SIZE, "GLACIER", False, {"a": "b"}]


def test_an_object_is_readable_or_cold_exactly_once_wherever_the_move_was_cut_off(tmp_path: Path) -> None:
    program = subprocess.run(
        [sys.executable, SUPPORT / "cold_kill.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "PYTHONPATH": str(SUPPORT.parents[1] / "src")},
    )
    assert program.returncode == 0, program.stderr
    runs = [json.loads(line) for line in program.stdout.splitlines()]
    assert [run["died"] for run in runs] == [True] * (len(runs) - 1) + [False]
    assert len(runs) > 10
    for run in runs:
        assert (run["after"]["read"], run["after"]["listed"]) in (("body", [HOT]), ("cold", [COLD])), run
        assert run["again"] == {"read": "cold", "listed": [COLD]}, run
    reads = [run["after"]["read"] for run in runs]
    assert reads == sorted(reads)  # readable up to one step, cold from there on
    assert {"body", "cold"} == set(reads)
