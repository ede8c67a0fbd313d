"""A bucket that is elsewhere, its objects copied to this machine for engines that read files.

near = Copies(S3Bucket.connect("archive"), folder)
duckdb.execute(f"FROM read_parquet('{near.location(key)}')")
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from headrace import disk
from headrace.archive.base import Bucket, ObjectInfo


class Copies(Bucket):
    """The bucket `inner`, but that `location` is a copy in `folder`, made when it is first asked for.

    Good for objects that never change under their name; the copies go with the folder.
    """

    def __init__(self, inner: Bucket, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._paths: dict[str, Path] = {}

    def put(self, key: str, body: bytes) -> None:
        """Put an object."""
        self._forget(key)
        self._inner.put(key, body)

    def put_file(self, key: str, path: Path) -> None:
        """Put a file."""
        self._forget(key)
        self._inner.put_file(key, path)

    def get(self, key: str) -> bytes:
        """Return an object's content, of its copy if there is one."""
        path = self._paths.get(key)
        return self._inner.get(key) if path is None else path.read_bytes()

    def list(self, prefix: str = "", *, tags: bool = False) -> Iterator[ObjectInfo]:
        """Yield the bucket's objects."""
        return self._inner.list(prefix, tags=tags)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._forget(key)
        self._inner.delete(key)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace an object's tags."""
        self._inner.tag(key, tags)

    def tags(self, key: str) -> dict[str, str]:
        """Return an object's tags."""
        return self._inner.tags(key)

    def location(self, key: str) -> str:
        """Return the path of the object's copy."""
        path = self._paths.get(key)
        if path is None:
            disk.make_folder(self._folder)
            path = self._folder / f"{sha256(key.encode()).hexdigest()[:20]}-{key.rpartition('/')[2][-80:]}"
            path.write_bytes(self._inner.get(key))
            self._paths[key] = path
        return str(path)

    def _forget(self, key: str) -> None:
        path = self._paths.pop(key, None)
        if path is not None:
            path.unlink(missing_ok=True)
