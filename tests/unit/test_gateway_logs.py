"""Following a log while it is rotated or cut short."""

from pathlib import Path

import pytest

from headrace.gateway.logs import followed


@pytest.mark.parametrize(
    ("now", "rotated", "offset", "text", "end"),
    [
        ("one\ntwo\n", None, 4, "two\n", 8),
        ("one\ntw", None, 4, "", 4),
        ("new\n", "one\ntwo\nthree\n", 8, "three\nnew\n", 4),
        ("", "one\ntwo\nthree\n", 8, "three\n", 0),
        ("new\n", "one\ntwo\n", 8, "new\n", 4),
        ("cut\n", "old\n", 8, "cut\n", 4),
        ("cut\n", None, 8, "cut\n", 4),
        (None, None, 0, "", 0),
    ],
)
def test_what_comes_next(
    tmp_path: Path, now: str | None, rotated: str | None, offset: int, text: str, end: int
) -> None:
    path = tmp_path / "0.log"
    if now is not None:
        path.write_text(now)
    if rotated is not None:
        (tmp_path / "0.log.1").write_text(rotated)
    assert followed(path, offset, 1000) == (text, end)
