"""A process that counts staged rows and asks for them again, many times: `-m support.staging_process FOLDER`.

Python's lock is only given up where somebody waits: what waits for another thread with the lock held waits for ever.
"""

import sys
from pathlib import Path

from headrace.archive import columns
from headrace.archive.engine import DEFAULT, connected
from headrace.archive.erasures import Erasure
from headrace.archive.staging import Staging
from support.archive import READINGS, Archive, events


def main() -> None:
    folder = Path(sys.argv[1])
    archive = Archive(folder)
    archive.put(*events(range(3000)))
    sys.setswitchinterval(1000)
    with connected(folder, DEFAULT) as connection:
        erased = [Erasure("another", 1)]
        staged = Staging(connection, archive.bucket, folder, columns.typed(READINGS), erased=erased)
        staged.add(archive.files("raw/"))
        for _ in range(1000):
            assert staged.events == 3000


if __name__ == "__main__":
    main()
