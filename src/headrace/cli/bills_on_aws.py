"""The bills of a system on AWS, asked for as a backend's are."""

from collections.abc import Sequence
from typing import Any

from headrace.deployed import Deployed
from headrace.errors import UsageError


class Bills:
    """Answers the paths that `headrace bills` asks of a backend."""

    def __init__(self, system: Deployed) -> None:
        self._system = system

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        """Return what `/_headrace/<path>` would."""
        from headrace.operations.bills import Wanted
        from headrace.operations.bills_on_aws import Place, answer

        asked, parts = dict(query), path.split("/")
        if parts[0] != "bills":
            raise UsageError(f"{path} is of one machine only.", "Leave --aws out.")
        wanted = Wanted(
            month=parts[1] if len(parts) > 1 else None,
            usage=parts[2:] == ["usage"],
            tenant=asked.get("tenant"),
            device=asked.get("device"),
            days=asked.get("days") == "1",
        )
        parameters = self._system.stack.parameters()
        bucket, prefix = parameters.get("ArtifactsBucket"), parameters.get("ArtifactsPrefix")
        reports = (bucket, prefix) if bucket and prefix else None
        client = self._system.client("s3")
        with self._system.errors():
            return answer(Place(client, self._system.archive_bucket, reports), wanted)
