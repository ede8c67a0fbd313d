"""How much memory execution environments use: read from /proc, ten times a second, of those that have worked since.

An environment's memory is that of its process group: what its function's children use counts too. Resident memory is
cheap to read but counts what forked processes share once for each; where it is over the limit, the proportional size
decides. What is used for less than a tenth of a second may go unseen.

Linux only: elsewhere there is nothing as cheap to read, and memory limits are not enforced.
"""

import os
from collections.abc import Iterable
from pathlib import Path

LOOK_S = 0.1
MIB = 1024 * 1024

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")

CAN_TELL = (_PROC / "self" / "statm").exists()


class Groups:
    """The processes of process groups. All of the system are gone through at every `EVERY`th look only: that costs."""

    EVERY = 5

    def __init__(self) -> None:
        self._known: dict[int, list[int]] = {}
        self._looks = 0

    def of(self, leaders: Iterable[int]) -> dict[int, list[int]]:
        """Return the processes of each leader's group; a new child may be missing for half a second."""
        if self._looks % self.EVERY == 0:
            self._known = _groups(leaders)
        self._looks += 1
        return {leader: self._known.get(leader) or [leader] for leader in leaders}


def _groups(leaders: Iterable[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {leader: [] for leader in leaders}
    for name in os.listdir(_PROC):  # noqa: PTH208 - a fifth of the time
        if not name.isdigit():
            continue
        try:
            members = found.get(os.getpgid(int(name)))
        except OSError:
            continue  # it has ended
        if members is not None:
            members.append(int(name))
    return found


def used_bytes(pids: Iterable[int], limit_bytes: int) -> int:
    """Return what these processes use together; pages that they share count once if that decides about the limit."""
    pids = list(pids)
    resident = sum(map(_resident, pids))
    return resident if resident <= limit_bytes else sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY)  # asked for all the time: a Path takes three times as long
    except OSError:
        return 0  # it has ended
    try:
        return int(os.read(fd, 64).split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
    finally:
        os.close(fd)


def _proportional(pid: int) -> int:
    """Return a process's own pages and its part of those it shares; its resident size where that can't be read."""
    try:
        rollup = (_PROC / str(pid) / "smaps_rollup").read_bytes()
    except ProcessLookupError:
        return 0
    except OSError:
        return _resident(pid)
    for line in rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)
