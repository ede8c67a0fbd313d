"""The prices that costs are computed by: a dated file with a source for each of them, or `unsourced`."""

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec

from headrace.errors import UsageError

FILE = "prices.toml"
UNSOURCED = "unsourced"


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for one `unit`, and which of the file's sources says so."""

    price: float
    unit: str
    source: str


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price file. Every price that the model uses has to be in it."""

    version: int
    date: str
    region: str
    currency: str
    sources: dict[str, str]
    prices: dict[str, Price]

    def of(self, name: str) -> float:
        """Return a price in dollars a unit."""
        return self.prices[name].price


def load(path: Path | None = None) -> Prices:
    """Return the prices that come with Headrace, or those of another file; raises UsageError if it is no such file."""
    own = files("headrace.cost").joinpath(FILE).read_text()
    if path is None:
        return _decoded(own)
    try:
        found = _decoded(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"--prices {path}: {error}.", "Give a file like the one that comes with Headrace.") from error
    problems = [name for name in _decoded(own).prices if name not in found.prices]
    problems += [name for name, each in found.prices.items() if not 0 <= each.price < 1e6]
    problems += [name for name, each in found.prices.items() if each.source not in found.sources]
    if problems:
        raise UsageError(
            f"--prices {path}: {', '.join(problems[:5])}: missing, no price, or of no source.",
            "Every price of the file that comes with Headrace is needed, with a source that the file names.",
        )
    return found


def _decoded(text: str) -> Prices:
    return msgspec.convert(tomllib.loads(text), Prices)
