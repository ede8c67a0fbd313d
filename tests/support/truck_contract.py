"""The thirteen queries over the trucks: each gives the reference answer, on the engine that a test module names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.archive import columns
from headrace.jobs import report, sources, views
from headrace.jobs.base import Engine, Relation
from support import trucks
from support.backend import ROOT
from support.jobs import archive, engine, relation
from support.truck_answers import END_US, Answers

QUERIES = sorted((ROOT / "tests" / "trucks").glob("*.sql"))
FLEET = trucks.trucks(12)
COLUMNS = (*trucks.READINGS, *trucks.DIAGNOSTICS)


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(trucks.events(FLEET), FLEET)


@pytest.fixture(scope="module")
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, answers: Answers
) -> Iterator[Engine]:
    """The engine that the test module names as ENGINE, with the trucks in its views."""
    folder = tmp_path_factory.mktemp("trucks")
    session = engine(request.module.ENGINE, folder / "engine")
    files = archive(folder, answers.events, COLUMNS)
    session.relation(Relation(views.ARCHIVED, columns.schema(COLUMNS), files))
    devices = [{"device_id": truck, "config": json.dumps(tags)} for truck, tags in FLEET.items()]
    properties = [row for device in devices for row in sources.properties(device)]
    session.relation(relation(folder, "properties", views.PROPERTIES, properties))
    views.define(session, tuple(columns.schema(COLUMNS)), COLUMNS, None)
    yield session
    session.close()


class TruckContract:
    """Subclass it in a module that names its ENGINE, and import the fixtures there."""

    @pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
    def test_a_query_gives_the_reference_answer(
        self, loaded: Engine, answers: Answers, path: Path, tmp_path: Path
    ) -> None:
        found = report.load(path)
        values = {**found.parameters, **({"end_us": END_US} if "end_us" in found.parameters else {})}
        columns = [f"{value!r} AS {name}" for name, value in values.items()] or ["1 AS nothing"]
        loaded.view("parameters", f"SELECT {', '.join(columns)}")
        loaded.write(found.sql, tmp_path / "out", order=found.keys)
        rows = list(loaded.rows(sorted(map(str, (tmp_path / "out").glob("*.parquet")))))
        expected = getattr(answers, path.stem)()
        assert rows, "an answer without rows proves nothing"
        assert sorted(rows, key=order) == sorted(expected, key=order)

    def test_all_thirteen_are_there(self) -> None:
        assert len(QUERIES) == 13


def order(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str, sort_keys=True)
