"""Keeps a file of the archive readable while others delete it, replace it or move it to the cold folder: by a link."""

from pathlib import Path


def held(location: str, folder: Path) -> str:
    """Return where the file at `location` is readable as long as `folder` is there; raises FileNotFoundError.

    What can't be linked (it is on another disk, or no file of this machine) is where it was: what compaction replaces
    stays there for an hour at least.
    """
    if "://" in location:
        return location
    link = folder / location.rpartition("/")[2]
    try:
        folder.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)  # of a try before
        link.hardlink_to(location)
    except FileNotFoundError:
        raise
    except OSError:
        return location
    return str(link)
