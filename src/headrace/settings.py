"""Where everything lives: flags of `headrace up`, `HEADRACE_*` variables, and the layout of the data directory."""

import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"
CONSOLE_PATH = "/_headrace/console"
DATA_FORMAT = 1  # of the data directory as a whole; see docs/formats.md


@dataclass(frozen=True)
class Layout:
    """The paths inside a data directory."""

    data: Path

    @property
    def version(self) -> Path:
        """Return the file that says which format this directory has."""
        return self.data / "headrace.json"

    @property
    def system(self) -> Path:
        """Return the file with the system as it was last started (System as JSON)."""
        return self.data / "system.json"

    @property
    def clock(self) -> Path:
        """Return the file with the time at which the clock was last believed (`timekeeping.py`)."""
        return self.data / "clock.json"

    @property
    def streams(self) -> Path:
        """Return the folder of streams, one folder each."""
        return self.data / "streams"

    @property
    def checkpoints(self) -> Path:
        """Return the folder of checkpoints: `<function>/<stream>/<shard id>`."""
        return self.data / "checkpoints"

    @property
    def invokes(self) -> Path:
        """Return the folder of journalled asynchronous invokes."""
        return self.data / "invokes"

    @property
    def batches(self) -> Path:
        """Return the folder of what became of each call of a batch: `<function>.ndjson`; bounded, and no promise."""
        return self.data / "batches"

    @property
    def metrics(self) -> Path:
        """Return the folder of the metric store and the alarms' states."""
        return self.data / "metrics"

    @property
    def jobs(self) -> Path:
        """Return the folder of jobs: `<job>/runs/`, and what their runs work on."""
        return self.data / "jobs"

    @property
    def schedules(self) -> Path:
        """Return the file that says since when each schedule counts."""
        return self.data / "schedules.json"

    @property
    def table(self) -> Path:
        """Return the folder of the table store."""
        return self.data / "table"

    @property
    def buckets(self) -> Path:
        """Return the folder of buckets: `<bucket>/<key>`."""
        return self.data / "s3"

    @property
    def lifecycle(self) -> Path:
        """Return the folder of the lifecycle log: what rules have moved and deleted, `<YYYY-MM>.ndjson`."""
        return self.data / "lifecycle"

    @property
    def archive(self) -> Path:
        """Return the folder in which compaction and readers of the archive work: nothing in it is kept for long."""
        return self.data / "archive"

    @property
    def uploads(self) -> Path:
        """Return the folder of how far uploads to AWS are, a file a target."""
        return self.data / "upload"

    @property
    def warehouse(self) -> Path:
        """Return the warehouse's folder: its DuckDB file, statements and results."""
        return self.data / "warehouse"

    @property
    def logs(self) -> Path:
        """Return the folder of logs: `<process>.log` and `functions/<function>/<slot>.log`."""
        return self.data / "logs"

    @property
    def sockets(self) -> Path:
        """Return the folder of unix sockets: under the data directory, or a temporary one where that path is too long.

        A unix socket's path may have about 100 bytes.
        """
        inside = self.data / "run"
        if len(os.fsencode(inside)) <= 80:
            return inside
        name = sha256(os.fsencode(self.data.resolve())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}-{name}"

    @property
    def table_socket(self) -> Path:
        """Return the table process's socket."""
        return self.sockets / "table.sock"

    @property
    def metrics_socket(self) -> Path:
        """Return the metrics process's socket."""
        return self.sockets / "metrics.sock"

    @property
    def console_socket(self) -> Path:
        """Return the console's socket, on which the supervisor listens until there is a console."""
        return self.sockets / "console.sock"

    @property
    def warehouse_socket(self) -> Path:
        """Return the warehouse's socket, on which the supervisor listens until there is a warehouse."""
        return self.sockets / "warehouse.sock"

    @property
    def jobs_socket(self) -> Path:
        """Return the jobs process's socket."""
        return self.sockets / "jobs.sock"

    @property
    def runtime_socket(self) -> Path:
        """Return the runtime process's socket."""
        return self.sockets / "runtime.sock"


def endpoint(flag: str | None = None) -> str:
    """Return the backend's URL, no trailing slash.

    The flag, else HEADRACE_ENDPOINT, else the port that `headrace up` takes from HEADRACE_PORT, else the default.
    """
    port = os.environ.get("HEADRACE_PORT")
    here = f"http://127.0.0.1:{port}" if port else DEFAULT_ENDPOINT
    return (flag or os.environ.get("HEADRACE_ENDPOINT") or here).rstrip("/")
