"""The two files that bills go by, from the folder of reports."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from headrace.billing import tariffs, tenants
from headrace.billing.tariffs import Tariffs
from headrace.billing.tenants import Tenants
from headrace.errors import UsageError

TARIFFS, TENANTS = "tariffs.csv", "tenants.csv"


class Book(NamedTuple):
    """Tariffs and tenants, and the bytes of their files; without files there are none."""

    tariffs: Tariffs = tariffs.NONE
    tenants: Tenants = tenants.NONE
    texts: tuple[bytes, bytes] = (b"", b"")

    @property
    def digest(self) -> str:
        """Return what changes with what the files say."""
        versions = [each._replace(line=0) for each in self.tariffs.all()]
        assignments = [each._replace(line=0) for each in self.tenants.all()]
        return sha256(repr((versions, assignments)).encode()).hexdigest()[:16]


def load(folder: Path) -> Book:
    """Read both files of a folder, each of which may be missing; raises UsageError where one is wrong."""
    texts = tuple(_read(folder / name) for name in (TARIFFS, TENANTS))
    found = tariffs.parse(texts[0], str(folder / TARIFFS))
    return Book(found, tenants.parse(texts[1], found, str(folder / TENANTS)), (texts[0], texts[1]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.", "Make it a file that can be read.") from None
