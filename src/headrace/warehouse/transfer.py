"""COPY and UNLOAD: rows from objects of a bucket into a table, and a query's rows into an object.

DuckDB reads and writes files in `incoming/` alone: objects get a second name there for as long as they are read, and
what a query has written there becomes an object at once, when its transaction is committed.
"""

import contextlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from headrace import disk
from headrace.archive.base import Bucket
from headrace.errors import Conflict, NotFound, UsageError
from headrace.warehouse.engine import Session, text
from headrace.warehouse.tables import quoted

OBJECTS_MAX = 10_000  # of one COPY
# What Headrace itself keeps in the archive's bucket: nothing of it may come from, or be replaced by, an UNLOAD.
RESERVED = ("raw/", "events/", "catalogue/", "reports/", "bills/", "jobs/", "work/", "load/")
PARQUET, CSV = "PARQUET", "CSV"
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]*)/(.*)", re.DOTALL)
_IGNORED = frozenset({"IAM_ROLE", "REGION", "COMPUPDATE", "STATUPDATE", "FORMAT", "CLEANPATH"})
_MANIFEST = frozenset({"MANIFEST"})
_COPY_CSV = frozenset({"IGNOREHEADER", "DELIMITER", "GZIP", "ZSTD", "EMPTYASNULL"})
_UNLOAD = frozenset({"HEADER", "DELIMITER", "ALLOWOVERWRITE", "PARALLEL", "GZIP", "ZSTD", "EXTENSION"})

Options = Mapping[str, str | None]


class _Entry(msgspec.Struct):
    url: str
    mandatory: bool = False


class _Manifest(msgspec.Struct):
    entries: list[_Entry]


class CopyFrom(Protocol):
    """A COPY as the translation has it."""

    @property
    def table(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Options: ...  # noqa: D102


class UnloadTo(Protocol):
    """An UNLOAD as the translation has it."""

    @property
    def destination(self) -> str: ...  # noqa: D102
    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Options: ...  # noqa: D102


class Transfer:
    """COPY and UNLOAD over the buckets of this machine; `closed` are those that nothing is written to."""

    def __init__(self, buckets: Mapping[str, Bucket], incoming: Path, closed: Sequence[str] = ()) -> None:
        self._buckets = buckets
        self._incoming = incoming
        self._closed = frozenset(closed)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield a folder of one statement's own; it is gone afterwards."""
        path = self._incoming / f"statement-{uuid4().hex}"
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def copy(self, session: Session, copy: CopyFrom, types: Mapping[str, str], folder: Path) -> int:
        """Insert the rows of objects into a table of the columns `types`, within the session's transaction.

        Returns how many. Raises UsageError, NotFound, InvalidObjectState.
        """
        known = _MANIFEST | (_COPY_CSV if _format(copy.format) == CSV else frozenset())
        _check_options("COPY", copy.format, copy.options, known)
        names = list(copy.columns) or list(types)
        objects = self._named(copy.source) if "MANIFEST" in copy.options else self._beginning(copy.source)
        files = _linked(objects, folder)
        if _format(copy.format) == PARQUET:
            select = f"SELECT * FROM read_parquet({_list(files)}, hive_partitioning = false)"
        else:
            select = _read_csv(files, {name: types[name] for name in names}, copy.options)
        into = ", ".join(map(quoted, names))
        session.run(f"INSERT INTO {quoted(copy.table)} ({into}) {select}")
        return int(session.fetch(1)[0][0])

    def unload(self, session: Session, unload: UnloadTo, query: str, folder: Path) -> tuple[int, Callable[[], None]]:
        """Write a query's rows aside; return how many, and what makes them an object, all at once.

        Raises UsageError for a place that nothing is written to, Conflict for an object that is there already.
        """
        form = _format(unload.format)
        _check_options("UNLOAD", unload.format, unload.options, _UNLOAD)
        bucket, key = self._target(unload.destination, form, unload.options)
        path = folder / "rows"
        writing = "FORMAT parquet, COMPRESSION zstd" if form == PARQUET else _csv_writing(unload.options)
        select = _spelled(session, query) if form == CSV else query
        session.run(f"COPY ({select}) TO {text(str(path))} ({writing})")
        rows = int(session.fetch(1)[0][0])
        return rows, lambda: bucket.put_file(key, path)

    def _beginning(self, source: str) -> list[str]:
        """Return where the objects are whose URL begins with `source`."""
        bucket, prefix = self._place(source)
        found = [bucket.location(info.key) for info in itertools.islice(bucket.list(prefix), OBJECTS_MAX + 1)]
        if len(found) > OBJECTS_MAX:
            raise UsageError(f"{source} begins more than {OBJECTS_MAX:,} objects.", "Name a longer prefix.")
        if not found:
            raise NotFound(f"The specified S3 prefix {source!r} does not exist.", "List the bucket to see.")
        return found

    def _named(self, source: str) -> list[str]:
        """Return where the objects are that the manifest `source` names; one that need not be there may be missing."""
        bucket, key = self._place(source)
        try:
            entries = msgspec.json.decode(bucket.get(key), type=_Manifest).entries
        except msgspec.DecodeError as error:
            raise UsageError(f"{source} is no manifest: {error}.", 'Write {"entries":[{"url":"s3://…"}]}.') from None
        found = []
        for entry in entries:
            place, name = self._place(entry.url)
            try:
                found.append(place.location(name))
            except NotFound:
                if entry.mandatory:
                    raise
        if not found:
            raise NotFound(f"The manifest {source!r} names no object that is there.", "Look into it.")
        if len(found) > OBJECTS_MAX:
            raise UsageError(f"{source} names more than {OBJECTS_MAX:,} objects.", "Load them in several manifests.")
        return found

    def _target(self, destination: str, form: str, options: Options) -> tuple[Bucket, str]:
        bucket, prefix = self._place(destination)
        name = destination.split("/")[2]
        if name in self._closed or prefix.startswith(RESERVED) or not prefix:
            raise UsageError(
                f"UNLOAD can't write to {destination}: what is there is kept by Headrace.",
                f"Write to a prefix of your own, like s3://{name}/unload/…" if name not in self._closed else "",
            )
        extension = options.get("EXTENSION") or ("parquet" if form == PARQUET else "")
        packed = ".gz" if "GZIP" in options else ".zst" if "ZSTD" in options and form == CSV else ""
        key = f"{prefix}000{f'.{extension}' if extension else ''}{packed if not options.get('EXTENSION') else ''}"
        if "ALLOWOVERWRITE" not in options and any(info.key == key for info in bucket.list(key)):
            raise Conflict(f"There is an object {key} already.", "Say ALLOWOVERWRITE, or write to another prefix.")
        return bucket, key

    def _place(self, url: str) -> tuple[Bucket, str]:
        found = _URL.fullmatch(url)
        bucket = self._buckets.get(found[1]) if found else None
        if found is None or bucket is None:
            declared = ", ".join(f"s3://{name}/" for name in sorted(self._buckets))
            raise UsageError(f"{url!r} is in no bucket of this backend.", f"Its buckets are: {declared}.")
        return bucket, found[2]


def _linked(objects: Sequence[str], folder: Path) -> list[str]:
    """Give objects a second name in a folder; return those names."""
    files = [str(folder / str(number)) for number in range(len(objects))]
    for found, target in zip(objects, files, strict=True):
        disk.link_file(Path(found), Path(target))
    return files


def _format(form: str) -> str:
    if form.upper() in (PARQUET, CSV):
        return form.upper()
    raise UsageError(f"FORMAT {form} is not spoken here.", "Say FORMAT PARQUET or FORMAT CSV.")


def _check_options(what: str, form: str, options: Options, known: frozenset[str]) -> None:
    unknown = sorted(options.keys() - _IGNORED - known)
    if unknown:
        raise UsageError(
            f"{what} … FORMAT {form} does not take {unknown[0]} here.",
            f"Leave it out; it takes: {', '.join(sorted(known)) or 'nothing more'}.",
        )


def _read_csv(files: Sequence[str], types: Mapping[str, str], options: Options) -> str:
    """Return the SELECT that reads CSV as Redshift does: an empty cell is null, but of text it is empty text."""
    columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in types)
    skip = options.get("IGNOREHEADER") or "0"
    if not skip.isascii() or not skip.isdigit():
        raise UsageError(f"IGNOREHEADER is {skip!r}.", "Write how many lines to leave out, like IGNOREHEADER 1.")
    packing = "gzip" if "GZIP" in options else "zstd" if "ZSTD" in options else "none"
    values = ", ".join(_cell(name, kind, keeps_empty="EMPTYASNULL" not in options) for name, kind in types.items())
    return (
        f"SELECT {values} FROM read_csv({_list(files)}, columns = {{{columns}}}, auto_detect = false, header = false, "
        f"skip = {skip}, delim = {text(options.get('DELIMITER') or ',')}, quote = '\"', escape = '\"', "
        f"nullstr = '', compression = '{packing}')"
    )


def _cell(name: str, kind: str, *, keeps_empty: bool) -> str:
    column = quoted(name)
    if kind == "VARCHAR":
        return f"coalesce({column}, '')" if keeps_empty else f"nullif({column}, '')"
    return f"CAST(nullif({column}, '') AS {kind})"


def _csv_writing(options: Options) -> str:
    packing = "gzip" if "GZIP" in options else "zstd" if "ZSTD" in options else "none"
    header = "true" if "HEADER" in options else "false"
    delimiter = text(options.get("DELIMITER") or ",")
    return f"FORMAT csv, HEADER {header}, DELIMITER {delimiter}, COMPRESSION {packing}"


def _spelled(session: Session, query: str) -> str:
    """Return the query with booleans and fractions as Redshift writes them to CSV."""
    session.run(f"DESCRIBE {query}")
    columns = [(row[0], row[1]) for row in session.fetch(10_000)]
    cells = ", ".join(f"{_written(quoted(name), kind)} AS {quoted(name)}" for name, kind in columns)
    return f"SELECT {cells} FROM ({query}) AS unloaded"


def _written(column: str, kind: str) -> str:
    if kind == "BOOLEAN":
        return f"CASE {column} WHEN true THEN 't' WHEN false THEN 'f' END"
    if match := re.fullmatch(r"DECIMAL\((\d+),\1\)", kind):  # DuckDB leaves out the 0 of 0.5
        return f"CAST({column} AS DECIMAL({min(int(match[1]) + 1, 38)},{match[1]}))"
    return column


def _list(files: Sequence[str]) -> str:
    return f"[{', '.join(map(text, files))}]"


def types_of(schema: Mapping[str, Mapping[str, str]], table: str, columns: Sequence[Any]) -> Mapping[str, str]:
    """Return the columns of a table that rows are copied into; raises NotFound."""
    types = schema.get(table)
    if types is None:
        raise NotFound(f"There is no table {table}.", f"There are: {', '.join(sorted(schema))}.")
    missing = [name for name in columns if name not in types]
    if missing:
        raise NotFound(f"The table {table} has no column {missing[0]}.", f"It has: {', '.join(types)}.")
    return types
