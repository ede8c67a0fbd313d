"""An unmodified boto3 against the Redshift Data API: what it answers, what it refuses, what survives a restart."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from headrace.errors import Unavailable, UsageError
from headrace.warehouse.api import RedshiftDataApi
from headrace.warehouse.server import settings_of
from headrace.warehouse.statements import FILE, FINISHED, Part, Statement, Statements
from headrace.wire import Request
from support.warehouse_server import NOW_MS, PLACE, WarehouseServer, rows, run, wait

ENDLESS = "SELECT COUNT(*) FROM numbers a, numbers b, numbers c, numbers d WHERE a.n + b.n + c.n + d.n = -1"
NOBODY = "00000000-0000-4000-8000-000000000000"
TYPES = {
    "a": ("CAST(1 AS BIGINT)", "int8", {"longValue": 1}),
    "b": ("CAST(2 AS SMALLINT)", "int2", {"longValue": 2}),
    "c": ("CAST('1.50' AS DECIMAL(10, 2))", "numeric", {"stringValue": "1.50"}),
    "d": ("CAST('0.25' AS DOUBLE PRECISION)", "float8", {"doubleValue": 0.25}),
    "e": ("CAST('ü' AS VARCHAR(10))", "varchar", {"stringValue": "ü"}),
    "f": ("CAST('2026-01-31' AS DATE)", "date", {"stringValue": "2026-01-31"}),
    "g": ("CAST('2026-01-31 12:00:00.5' AS TIMESTAMP)", "timestamp", {"stringValue": "2026-01-31 12:00:00.5"}),
    "h": ("CAST(NULL AS INTEGER)", "int4", {"isNull": True}),
    "i": ("1 = 1", "bool", {"booleanValue": True}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseServer]:
    folder = tmp_path_factory.mktemp("warehouse")
    with WarehouseServer(folder, memory_mb=100, timeout_s=60, result_mb=1) as running:
        client = running.client()
        fill(client)
        yield running


def fill(client: Any) -> None:
    """Make a table of a thousand rows."""
    assert run(client, "CREATE TABLE numbers (n BIGINT, t VARCHAR(100))")["Status"] == FINISHED
    values = ", ".join(f"({n}, 'row {n}')" for n in range(1000))
    assert run(client, f"INSERT INTO numbers VALUES {values}")["ResultRows"] == 1000


@pytest.fixture(scope="module")
def client(server: WarehouseServer) -> Any:
    return server.client()


def code_of(refused: "pytest.ExceptionInfo[ClientError]") -> str:
    code: str = refused.value.response["Error"]["Code"]
    return code


def test_fields_have_the_types_of_redshift(client: Any) -> None:
    sql = "SELECT " + ", ".join(f"{expression} AS {name}" for name, (expression, _, _) in TYPES.items())
    told = run(client, sql)
    assert (told["Status"], told["HasResultSet"], told["ResultRows"]) == (FINISHED, True, 1), told
    result = client.get_statement_result(Id=told["Id"])
    assert result["Records"] == [[field for _, _, field in TYPES.values()]]
    assert [(each["name"], each["typeName"]) for each in result["ColumnMetadata"]] == [
        (name, kind) for name, (_, kind, _) in TYPES.items()
    ]
    assert (result["ColumnMetadata"][2]["precision"], result["ColumnMetadata"][2]["scale"]) == (10, 2)


def test_a_long_result_comes_in_pages(client: Any) -> None:
    told = run(client, "SELECT a.n, b.n AS m FROM numbers a CROSS JOIN numbers b WHERE b.n < 12 ORDER BY 1, 2")
    first = client.get_statement_result(Id=told["Id"])
    assert first["TotalNumRows"] == told["ResultRows"] == 12_000 and len(first["Records"]) < 12_000
    pages = client.get_paginator("get_statement_result").paginate(Id=told["Id"])
    found = [(row[0]["longValue"], row[1]["longValue"]) for page in pages for row in page["Records"]]
    assert found == [(n, m) for n in range(1000) for m in range(12)]
    with pytest.raises(ClientError, match="NextToken"):
        client.get_statement_result(Id=told["Id"], NextToken="nonsense")


def test_a_result_in_csv_has_a_header_and_empty_nulls(client: Any) -> None:
    told = run(
        client,
        "SELECT n, CASE WHEN n = 0 THEN 'a,\"b' END AS t FROM numbers WHERE n < 2 ORDER BY n",
        ResultFormat="CSV",
    )
    result = client.get_statement_result_v2(Id=told["Id"])
    assert result["Records"] == [{"CSVRecords": 'n,t\r\n0,"a,""b"\r\n1,\r\n'}] and result["ResultFormat"] == "CSV"
    with pytest.raises(ClientError, match="GetStatementResultV2"):
        client.get_statement_result(Id=told["Id"])


def test_the_same_token_runs_once(client: Any) -> None:
    run(client, "CREATE TABLE once (n BIGINT)")
    ids = {
        client.execute_statement(**PLACE, Sql="INSERT INTO once VALUES (1)", ClientToken="t1")["Id"] for _ in range(3)
    }
    assert len(ids) == 1
    wait(client, ids.pop())
    assert rows(client, "SELECT COUNT(*) FROM once") == [(1,)]
    with pytest.raises(ClientError, match="ClientToken"):
        client.execute_statement(**PLACE, Sql="INSERT INTO once VALUES (2)", ClientToken="t1")


def test_a_batch_is_one_transaction(client: Any) -> None:
    run(client, "CREATE TABLE both (n BIGINT)")
    good = ["INSERT INTO both VALUES (1)", "INSERT INTO both VALUES (2)", "SELECT COUNT(*) FROM both"]
    told = wait(client, client.batch_execute_statement(**PLACE, Sqls=good)["Id"])
    assert told["Status"] == FINISHED and [part["Status"] for part in told["SubStatements"]] == [FINISHED] * 3
    assert client.get_statement_result(Id=f"{told['Id']}:3")["Records"] == [[{"longValue": 2}]]
    bad = ["INSERT INTO both VALUES (3)", "SELECT nothing FROM both", "INSERT INTO both VALUES (4)"]
    told = wait(client, client.batch_execute_statement(**PLACE, Sqls=bad)["Id"])
    assert told["Status"] == "FAILED" and "Query #2 failed" in told["Error"] and "nothing" in told["Error"]
    assert [part["Status"] for part in told["SubStatements"]] == ["ABORTED", "FAILED", "ABORTED"]
    assert rows(client, "SELECT COUNT(*) FROM both") == [(2,)]
    asked = client.batch_execute_statement(**PLACE, Sqls=bad, ExecutionMode="AUTO_COMMIT")
    told = wait(client, asked["Id"])
    assert [part["Status"] for part in told["SubStatements"]] == [FINISHED, "FAILED", FINISHED]
    assert rows(client, "SELECT COUNT(*) FROM both") == [(4,)]


def test_parameters_of_a_batch_go_where_they_are_named(client: Any) -> None:
    parameters = [{"name": "low", "value": "998"}, {"name": "text", "value": "row 7"}]
    sqls = ["SELECT COUNT(*) FROM numbers WHERE n >= :low", "SELECT n FROM numbers WHERE t = :text"]
    told = wait(client, client.batch_execute_statement(**PLACE, Sqls=sqls, Parameters=parameters)["Id"])
    found = [client.get_statement_result(Id=f"{told['Id']}:{n}")["Records"] for n in (1, 2)]
    assert found == [[[{"longValue": 2}]], [[{"longValue": 7}]]]


def test_a_statement_that_never_ends_fails_alone(tmp_path: Path) -> None:
    with WarehouseServer(tmp_path, timeout_s=1) as running:
        client = running.client()
        fill(client)
        slow = client.execute_statement(**PLACE, Sql=ENDLESS)["Id"]
        assert rows(client, "SELECT COUNT(*) FROM numbers") == [(1000,)]
        told = wait(client, slow)
        assert told["Status"] == "FAILED" and "longer than the 1 s" in told["Error"], told
        assert rows(client, "SELECT COUNT(*) FROM numbers") == [(1000,)]


def test_no_result_is_kept_that_was_read_before_a_device_was_erased(server: WarehouseServer, client: Any) -> None:
    slow = "SELECT COUNT(*) FROM numbers a, numbers b, numbers c WHERE c.n < 300 AND a.n + b.n + c.n = -1"
    batch = client.batch_execute_statement(**PLACE, Sqls=["SELECT device_id FROM events", slow])["Id"]
    while not client.describe_statement(Id=batch)["SubStatements"][0]["HasResultSet"]:
        time.sleep(0.01)
    server.rpc("erase", "pump-1")
    told = wait(client, batch)
    assert told["Status"] == "FAILED" and "erased" in told["Error"], told
    assert not told["SubStatements"][0]["HasResultSet"]


def test_a_statement_is_cancelled_running_or_waiting(client: Any) -> None:
    ids = [client.execute_statement(**PLACE, Sql=ENDLESS)["Id"] for _ in range(3)]
    for each in reversed(ids):
        assert client.cancel_statement(Id=each)["Status"] is True
    assert [wait(client, each)["Status"] for each in ids] == ["ABORTED"] * 3
    with pytest.raises(ClientError, match="already in ABORTED state"):
        client.cancel_statement(Id=ids[0])


def test_a_statement_that_eats_memory_fails_with_words(client: Any) -> None:
    sql = "SELECT LISTAGG(a.t || b.t || c.t, ',') FROM numbers a, numbers b, numbers c WHERE c.n < 20"
    told = run(client, sql)
    assert told["Status"] == "FAILED" and ("memory" in told["Error"] or "longer" in told["Error"]), told
    assert rows(client, "SELECT MAX(n) FROM numbers") == [(999,)]


def test_a_result_over_the_limit_fails_with_words(client: Any) -> None:
    told = run(client, "SELECT a.t || b.t AS both_texts FROM numbers a CROSS JOIN numbers b")
    assert told["Status"] == "FAILED" and "larger than 1 MB" in told["Error"] and "UNLOAD" in told["Error"], told


@pytest.mark.parametrize(("rows", "status"), [(95_000, "FINISHED"), (120_000, "FAILED")])
def test_a_result_may_have_a_hundred_megabytes(tmp_path: Path, rows: int, status: str) -> None:
    sql = (
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 350)"
        f" SELECT REPEAT('x', 1000) AS x FROM t AS a CROSS JOIN t AS b LIMIT {rows}"
    )
    with WarehouseServer(tmp_path) as running:
        client = running.client()
        told = run(client, sql)
        assert told["Status"] == status, told
        if status == "FAILED":
            assert told["Error"].startswith("The result is larger than 100 MB.")
            assert not list(running.layout.warehouse.glob("results/*")), "nothing of it is kept"
        else:
            assert 95_000_000 < told["ResultSize"] < 100 * 1024**2
            pages = client.get_paginator("get_statement_result").paginate(Id=told["Id"])
            assert sum(len(page["Records"]) for page in pages) == rows


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", ""),
        ("SELECT * FROM '/etc/passwd'", ""),
        ("ATTACH '/tmp/x.db' AS x", ""),
        ("COPY numbers TO '/tmp/numbers.csv'", ""),
        ("INSTALL httpfs", ""),
        ("PRAGMA database_list", ""),
        ("SELECT * FROM internal.loads", ""),
        ("INSERT INTO internal.loads VALUES ('a', 'b', 'c')", ""),
        ("UPDATE public.events SET id = 'x'", "loaded by Headrace"),
        ("CREATE TABLE bills (n BIGINT)", ""),
        ("TRUNCATE daily", "loaded by Headrace"),
    ],
)
def test_sql_reaches_nothing_but_tables(client: Any, sql: str, problem: str) -> None:
    told = run(client, sql)
    assert told["Status"] == "FAILED" and problem in told["Error"], told


def test_unloaded_csv_is_copied_back_as_it_was(server: WarehouseServer, client: Any) -> None:
    run(client, "CREATE TABLE odd (n BIGINT, t VARCHAR(100), b BOOLEAN, d DATE)")
    run(
        client,
        "INSERT INTO odd VALUES (1, 'a,\"b\"', TRUE, '2026-01-31'), (2, 'ü x', FALSE, NULL), (NULL, 'y', NULL, NULL)",
    )
    target = "TO 's3://archive/unload/odd-' IAM_ROLE default"
    for more in ("FORMAT CSV HEADER", "FORMAT CSV HEADER ALLOWOVERWRITE"):
        told = run(client, f"UNLOAD ('SELECT * FROM odd') {target} {more}")
        assert (told["Status"], told["ResultRows"], told["HasResultSet"]) == (FINISHED, 3, False), told
    told = run(client, f"UNLOAD ('SELECT * FROM odd') {target} FORMAT CSV HEADER")
    assert told["Status"] == "FAILED" and "ALLOWOVERWRITE" in told["Error"], told
    lines = (server.layout.buckets / "archive" / "unload" / "odd-000").read_text().splitlines()
    assert lines[0] == "n,t,b,d" and '1,"a,""b""",t,2026-01-31' in lines
    run(client, "CREATE TABLE again (n BIGINT, t VARCHAR(100), b BOOLEAN, d DATE)")
    told = run(client, "COPY again FROM 's3://archive/unload/odd-' IAM_ROLE default FORMAT CSV IGNOREHEADER 1")
    assert (told["Status"], told["ResultRows"]) == (FINISHED, 3), told
    both = [rows(client, f"SELECT n, t, b, d FROM {table} ORDER BY t") for table in ("odd", "again")]
    assert both[0] == both[1]


def test_fractions_are_unloaded_with_their_zero(server: WarehouseServer, client: Any) -> None:
    run(client, "UNLOAD ('SELECT 0.10 AS f, -0.5 AS g') TO 's3://archive/unload/half-' IAM_ROLE default FORMAT CSV")
    assert (server.layout.buckets / "archive" / "unload" / "half-000").read_text() == "0.10,-0.5\n"


def test_an_empty_cell_is_an_empty_text_unless_copy_takes_it_as_null(client: Any) -> None:
    place = "'s3://archive/unload/empty-' IAM_ROLE default FORMAT CSV"
    run(client, f"UNLOAD ('SELECT 1 AS n, CAST(NULL AS VARCHAR(10)) AS t') TO {place}")
    run(client, "CREATE TABLE cells (n BIGINT, t VARCHAR(10))")
    for more in ("", "EMPTYASNULL"):
        told = run(client, f"COPY cells FROM {place} {more}")
        assert told["Status"] == FINISHED, told
    assert sorted(rows(client, "SELECT t FROM cells"), key=str) == [("",), (None,)]
    told = run(client, f"COPY cells FROM {place} IGNOREHEADER one")
    assert told["Status"] == "FAILED" and "IGNOREHEADER is 'one'" in told["Error"], told


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("COPY numbers FROM 's3://archive/nothing/' IAM_ROLE default FORMAT PARQUET", "does not exist"),
        ("COPY numbers FROM 's3://elsewhere/x' IAM_ROLE default FORMAT PARQUET", "no bucket"),
        ("COPY numbers FROM 's3://archive/../../../etc/passwd' IAM_ROLE default FORMAT CSV", "no place in a bucket"),
        ("UNLOAD ('SELECT 1') TO 's3://archive/../../x' IAM_ROLE default FORMAT CSV", "no place in a bucket"),
        ("UNLOAD ('SELECT 1') TO 's3://failures/x' IAM_ROLE default FORMAT CSV", "kept by Headrace"),
        ("UNLOAD ('SELECT 1') TO 's3://archive/catalogue/x' IAM_ROLE default FORMAT CSV", "kept by Headrace"),
        ("UNLOAD ('DELETE FROM numbers') TO 's3://archive/unload/x' IAM_ROLE default FORMAT CSV", ""),
    ],
)
def test_files_come_from_buckets_and_go_to_places_of_ones_own(client: Any, sql: str, problem: str) -> None:
    told = run(client, sql)
    assert told["Status"] == "FAILED" and problem in told["Error"], told


@pytest.mark.parametrize("value", ["much", "10", "-1", "nan", "inf"])
def test_a_setting_that_is_no_limit_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="HEADRACE_WAREHOUSE_MEMORY_MB"):
        settings_of({"HEADRACE_WAREHOUSE_MEMORY_MB": value})


class Ended:
    """The warehouse's process, which ended `times` times before it answers."""

    def __init__(self, times: int) -> None:
        self._times = times

    async def call(self, method: str, params: object) -> msgspec.Raw:
        self._times -= 1
        if self._times >= 0:
            raise Unavailable("The connection was lost.", "Try again.")
        return msgspec.Raw(msgspec.msgpack.encode((200, b"{}")))


def test_a_process_that_ended_just_now_is_asked_again_and_one_that_does_not_start_is_told() -> None:
    request = Request("POST", "/", "", {"x-amz-target": "RedshiftData.ListStatements"}, b"{}")
    answered = asyncio.run(RedshiftDataApi(Ended(1)).handle(request))  # type: ignore[arg-type]
    assert (answered.status, answered.body) == (200, b"{}")
    with pytest.raises(Unavailable, match="headrace logs warehouse"):
        asyncio.run(RedshiftDataApi(Ended(2)).handle(request))  # type: ignore[arg-type]


def test_a_request_that_says_so_can_not_write(server: WarehouseServer) -> None:
    client = server.client()
    client.meta.events.register(
        "before-send.redshift-data.*", lambda request, **_: request.headers.update({"x-headrace-read-only": "1"})
    )
    told = run(client, "DELETE FROM numbers")
    assert told["Status"] == "FAILED" and "writes" in told["Error"], told
    assert rows(client, "SELECT COUNT(*) FROM numbers") == [(1000,)]


@pytest.mark.parametrize(
    ("operation", "asked", "code", "message"),
    [
        ("describe_statement", {"Id": NOBODY}, "ResourceNotFoundException", "does not exist"),
        ("describe_statement", {"Id": "x"}, "ValidationException", "regular expression"),
        ("get_statement_result", {"Id": NOBODY}, "ResourceNotFoundException", "does not exist"),
        ("cancel_statement", {"Id": NOBODY}, "ResourceNotFoundException", "does not exist"),
        ("execute_statement", {"Sql": "SELECT 1"}, "ValidationException", "WorkgroupName"),
        ("execute_statement", {**PLACE, "Sql": " "}, "ValidationException", "empty"),
        ("execute_statement", {**PLACE, "Sql": "SELECT '" + "x" * 110_000 + "'"}, "ValidationException", "exceeds"),
        (
            "execute_statement",
            {**PLACE, "Database": "other", "Sql": "SELECT 1"},
            "ValidationException",
            "does not exist",
        ),
        (
            "execute_statement",
            {**PLACE, "Sql": "SELECT 1", "SessionKeepAliveSeconds": 9},
            "ValidationException",
            "Session",
        ),
        ("batch_execute_statement", {**PLACE, "Sqls": ["SELECT 1"] * 41}, "ValidationException", "length less than"),
        ("list_statements", {"NextToken": "?"}, "ValidationException", "NextToken"),
        ("list_statements", {"MaxResults": 101}, "ValidationException", "less than or equal to 100"),
        ("list_sessions", {}, "UnknownOperationException", "not built"),
    ],
)
def test_refusals_are_those_of_aws(client: Any, operation: str, asked: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ClientError, match=message) as refused:
        getattr(client, operation)(**asked)
    assert code_of(refused) == code


def test_tables_and_columns_are_listed(client: Any) -> None:
    loaded = {"events", "readings", "devices", "hourly", "daily", "bills"}
    found = client.list_tables(**PLACE)["Tables"]
    assert loaded <= {each["name"] for each in found if each["type"] == "TABLE" and each["schema"] == "public"}
    assert [each["name"] for each in client.list_tables(**PLACE, TablePattern="da_ly")["Tables"]] == ["daily"]
    assert client.list_tables(**PLACE, SchemaPattern="internal")["Tables"] == []
    pages = client.get_paginator("list_tables").paginate(**PLACE, PaginationConfig={"PageSize": 2})
    assert [each["name"] for page in pages for each in page["Tables"]] == [each["name"] for each in found]
    assert client.list_schemas(**PLACE)["Schemas"] == ["public"]
    assert client.list_databases(**PLACE)["Databases"] == ["headrace"]
    columns = client.describe_table(**PLACE, Table="events")["ColumnList"]
    assert [(each["name"], each["typeName"], each["nullable"]) for each in columns[:3]] == [
        ("device_id", "varchar", 0), ("time", "timestamp", 0), ("id", "varchar", 0),
    ]  # fmt: skip
    assert columns[-1]["name"] == "temperature"
    pages = client.get_paginator("describe_table").paginate(**PLACE, PaginationConfig={"PageSize": 7})
    every = [(each["tableName"], each["name"]) for page in pages for each in page["ColumnList"]]
    assert len(set(every)) == len(every) and {table for table, _ in every} == {each["name"] for each in found}
    assert [name for table, name in every if table == "events"] == [each["name"] for each in columns]
    assert client.describe_table(**PLACE, Schema="internal")["ColumnList"] == []


def test_statements_are_listed_by_name_and_status(client: Any) -> None:
    for number in range(3):
        run(client, "SELECT 1", StatementName=f"mine-{number}")
    run(client, "SELECT nope", StatementName="mine-bad")
    for more, names in (({}, []), ({"Status": "ALL"}, ["mine-bad"])):  # those that have finished, unless told otherwise
        found = client.list_statements(StatementName="mine", **more)["Statements"]
        assert [each["StatementName"] for each in found] == [*names, "mine-2", "mine-1", "mine-0"]
    bad = client.list_statements(StatementName="mine", Status="FAILED")["Statements"]
    assert [each["StatementName"] for each in bad] == ["mine-bad"]
    assert client.list_statements(WorkgroupName="another")["Statements"] == []


def test_ten_thousand_statements_are_listed_in_pages(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "warehouse"
    Statements(folder).close()
    with contextlib.closing(sqlite3.connect(folder / FILE)) as db, db:
        sql = (
            "INSERT INTO statements (id, created_ms, status, name, database, place, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        for number in range(10_000):
            part = Part(f"SELECT {number}", FINISHED)
            kept = Statement(f"{number:08d}-0000-4000-8000-000000000000", NOW_MS, NOW_MS, [part], status=FINISHED)
            db.execute(sql, (kept.id, NOW_MS, FINISHED, "", "headrace", "", msgspec.json.encode(kept)))
    with WarehouseServer(tmp_path / "data") as running:
        pages = running.client().get_paginator("list_statements").paginate()
        sqls = [each["QueryString"] for page in pages for each in page["Statements"]]
        assert sqls == [f"SELECT {number}" for number in reversed(range(10_000))]


def test_statements_and_results_survive_a_restart_and_end_after_a_day(tmp_path: Path) -> None:
    with WarehouseServer(tmp_path, idle_s=1) as running:
        client = running.client()
        run(client, "CREATE TABLE mine (n BIGINT)")
        told = run(client, "SELECT 7 AS n")
        assert running.idle.wait(10)  # nobody asks: the process ends
        running.stop()
        running.start()
        client = running.client()
        assert client.describe_statement(Id=told["Id"])["Status"] == FINISHED
        assert client.get_statement_result(Id=told["Id"])["Records"][0][0]["longValue"] == 7
        assert rows(client, "SELECT COUNT(*) FROM mine") == [(0,)]
        running.stop()
        running.now_ms += 25 * 3_600_000
        running.start()
        with pytest.raises(ClientError, match="does not exist"):
            running.client().describe_statement(Id=told["Id"])
        assert not any((tmp_path / "warehouse" / "results").iterdir())
