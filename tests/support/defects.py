"""Defects to seed into the shipped template or its functions (`data/defects.yaml`), and parameters to look with."""

from pathlib import Path
from typing import NamedTuple

import yaml

from support.backend import TEMPLATE

PROJECT = TEMPLATE.parent
LISTED = Path(__file__).parents[1] / "data" / "defects.yaml"

# What between them creates every resource, takes every condition both ways, and both sizes.
EVERYTHING = {
    "StreamMode": "PROVISIONED",
    "EventsTableWriteUnits": "100",
    "MqttTopic": "devices/+/events",
    "AlarmTopicArn": "arn:aws:sns:us-east-1:000000000000:alarms",
    "ArtifactsBucket": "artifacts",
}
VARIANTS: dict[str, dict[str, str]] = {
    "everything": EVERYTHING,
    "defaults": {},
    "dev": {"Size": "dev", "WarehouseRpus": "0"},
}


class Defect(NamedTuple):
    """An edit of a file: the first `was` after `after` becomes `becomes`."""

    name: str
    gate: str
    was: str
    becomes: str
    after: str
    file: str

    def seed(self, folder: Path) -> Path:
        """Write the project with this defect into a new folder; return the template's path."""
        for name in ("functions", "reports"):
            (folder / name).mkdir(parents=True)
        for path in (TEMPLATE, *(PROJECT / "functions").glob("*.py"), *(PROJECT / "reports").glob("*.*")):
            place = path.relative_to(PROJECT)
            text = path.read_text()
            if str(place) == self.file:
                at = text.index(self.was, text.index(self.after))
                text = text[:at] + self.becomes + text[at + len(self.was) :]
            (folder / place).write_text(text)
        return folder / "template.yaml"


def listed(which: str) -> list[Defect]:
    """Return the `twenty`, or the `further` ones."""
    return [
        Defect(
            each["defect"], each["gate"], each["was"], each["becomes"],
            each.get("after", ""), each.get("file", "template.yaml"),
        )
        for each in yaml.safe_load(LISTED.read_text())[which]
    ]  # fmt: skip
