"""A file to send: what format it has, its digest, its lines, and how far they were read."""

import gzip
import zlib
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from headrace.errors import HeadraceError, UsageError

FORMATS = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}
CHUNK_BYTES = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


class Source:
    """A file of rows. The digest is of the file as stored, compressed or not; `unit` is what messages count."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"{path} is not a plain file.", "Save what you want to send as a file first.")
        self.path = path
        try:
            self._file = path.open("rb")
            self.digest = file_digest(self._file, "sha256").hexdigest()
            self.size = self._file.tell()
        except OSError as error:
            raise HeadraceError(f"{path}: {error.strerror}.", "Give a file that you may read.") from error

    def lines(self) -> Iterator[bytes]:
        """Yield the file's lines, unpacked; raises HeadraceError, before the first, where the file is damaged."""
        self._file.seek(0)
        packed = self._file.read(2) == _GZIP_MAGIC
        self._file.seek(0)
        try:
            if packed:  # rows of a damaged file would be stored again with those of a whole copy: it is another file
                with gzip.GzipFile(fileobj=self._file) as whole:
                    while whole.read(CHUNK_BYTES):
                        pass
                self._file.seek(0)
            yield from gzip.GzipFile(fileobj=self._file) if packed else self._file
        except (OSError, EOFError, zlib.error) as error:
            raise HeadraceError(
                f"{self.path} is damaged: {error}.", "Nothing of it was sent. Get a whole copy, send that."
            ) from error

    def share_read(self) -> float:
        """Return how much of the file was read, 0 to 1."""
        return self._file.tell() / self.size if self.size else 1.0

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def format_of(path: Path) -> str:
    """Return the format that the file's name tells: csv, ndjson or parquet."""
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix == ".parquet" and path.name.lower().endswith(".gz"):
        raise UsageError(f"{path}: Parquet is compressed inside.", "Unpack the .gz, then send the .parquet.")
    if suffix not in FORMATS:
        raise UsageError(
            f"{path}: the name does not tell the format.",
            "Name it .csv or .ndjson (with .gz if packed) or .parquet, or say --format.",
        )
    return FORMATS[suffix]
