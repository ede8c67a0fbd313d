"""`headrace up --watch`: what is saved in a function's code folder is called from then on.

Polls the times of all .py files below the folders: a project has few, and every file system has times.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace import clock, rpc
from headrace.errors import HeadraceError
from headrace.system import Function, System

LOOK_S = 0.3
_RELOAD_S_MAX = 5.0

Stamps = dict[str, tuple[int, int]]  # path -> modified (ns), size


def watch(system: System, template: Path, runtime_socket: Path, say: Callable[[str], None]) -> None:
    """Watch for as long as this process lives."""
    watched = CodeWatch(system, template, rpc.Client(runtime_socket, patience_s=_RELOAD_S_MAX), say)

    def look_forever() -> None:
        while True:
            clock.sleep(LOOK_S)
            watched.look()

    threading.Thread(target=look_forever, name="watch", daemon=True).start()


class CodeWatch:
    """What the code folders and the template were like at the last look."""

    def __init__(self, system: System, template: Path, client: rpc.Client, say: Callable[[str], None]) -> None:
        self._folders: dict[str, list[Function]] = {}
        for function in system.functions:
            self._folders.setdefault(function.code, []).append(function)
        self._template = template
        self._client = client
        self._say = say
        self._stamps = {folder: stamps(folder) for folder in self._folders}
        self._template_stamp = _stamp(template)
        self._stale: dict[str, str] = {}  # function -> what has changed; until the runtime has taken it

    def look(self) -> None:
        """Have the runtime reload the functions whose code has changed since the last look."""
        for folder, functions in self._folders.items():
            now = stamps(folder)
            changed = sorted(path for path, _ in self._stamps[folder].items() ^ now.items())
            self._stamps[folder] = now
            if changed:
                # Whoever saves a handler calls it next: it is not to wait until all that share its folder are imported.
                functions = sorted(functions, key=lambda each: _file_of(each) not in changed)
                self._stale |= {each.name: os.path.relpath(changed[0]) for each in functions}
        for function, path in list(self._stale.items()):
            self._reload(function, path)
        stamp = _stamp(self._template)
        if stamp != self._template_stamp:
            self._template_stamp = stamp
            self._say(f"{self._template} changed: restart `headrace up` to have it take effect")

    def _reload(self, function: str, path: str) -> None:
        try:
            errors = rpc.decode(self._client.call("reload", function), type=dict[str, str | None])
        except HeadraceError:
            return  # the runtime restarts, or no process can be started: the next look tries again
        del self._stale[function]
        error = errors.get(function)
        if error is None:
            self._say(f"function {function} reloaded: {path} changed")
        else:
            self._say(f"function {function} can't be imported: {error} (see: headrace logs {function})")


def _file_of(function: Function) -> str:
    """Return the file that holds a function's handler, where that is a module of the folder."""
    module = function.handler.rpartition(".")[0]
    return f"{Path(function.code, *module.split('.'))}.py"


def stamps(folder: str) -> Stamps:
    """Return what tells versions of the .py files below a folder apart; hidden folders are left out."""
    return dict(_stamps(folder))


def _stamps(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # it has gone, or may not be read: whoever imports from it is told
    for entry in entries:
        if entry.name.startswith((".", "__pycache__")):
            continue
        if entry.is_dir(follow_symlinks=False):  # links may lead around in a circle
            yield from _stamps(entry.path)
        elif entry.name.endswith(".py") and (stamp := _stamp(Path(entry.path))) is not None:
            yield entry.path, stamp


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
