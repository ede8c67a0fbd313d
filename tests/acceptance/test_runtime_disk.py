"""Functions on a disk that refuses their output: they go on, and what they print is lost."""

from pathlib import Path

from support.runtime import Runtime, run

PRINTS = """
import resource

def handler(event, context):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))  # stands for a full disk: every write to a file fails
    try:
        for n in range(1000):
            print("lost", "x" * 100)
            print("lost", file=sys.stderr, flush=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print("kept")
    return "well"
"""


def test_output_that_the_disk_refuses_fails_no_function(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        for _ in range(2):
            answer = await runtime.invoke("f", log_tail=True)
            assert (answer.error, answer.payload) == (None, "well"), answer
            assert answer.log is not None and "kept" in answer.log and "lost" not in answer.log

    run(Runtime(tmp_path, {"f": PRINTS}), scenario)
