"""The Lambda wire and function URLs, spoken by boto3 and by plain HTTP to a real gateway, runtime and workers."""

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.config
import botocore.exceptions
import pytest
import uvloop

from headrace import rpc
from headrace.gateway import http as gateway
from headrace.gateway.router import Router
from headrace.runtime.api import Lambda
from support.runtime import SOUND, Runtime

T = TypeVar("T")

ECHO = """
def handler(event, context):
    print("hello from", context.function_name)
    if isinstance(event, dict) and event.get("raise"): raise ValueError("no good")
    if isinstance(event, dict) and event.get("context"):
        client = context.client_context
        return {
            "name": context.function_name, "version": context.function_version, "arn": context.invoked_function_arn,
            "memory": context.memory_limit_in_mb, "id": context.aws_request_id, "group": context.log_group_name,
            "stream": context.log_stream_name, "left": context.get_remaining_time_in_millis(),
            "identity": context.identity.cognito_identity_id, "custom": client and client.custom,
            "title": client and client.client and client.client.app_title, "env": dict(os.environ),
        }
    return event
"""

WEB = """
answers = {
    "/text": "hello", "/number": 7, "/object": {"a": 1}, "/none": None,
    "/created": {"statusCode": 201, "body": "made", "headers": {"X-Own": "yes", "Content-Type": "text/plain"}},
    "/cookies": {"statusCode": 200, "cookies": ["a=1", "b=2; Secure"]},
    "/one cookie": {"statusCode": 200, "cookies": "a=1"},
    "/binary": {"statusCode": 200, "body": "AAH/", "isBase64Encoded": True, "headers": {"content-type": "image/png"}},
    "/json body": {"statusCode": 200, "body": {"a": [1]}},
    "/text status": {"statusCode": "404"},
    "/bad status": {"statusCode": "many"},
    "/bad base64": {"statusCode": 200, "body": "!", "isBase64Encoded": True},
    "/split": {"statusCode": 200, "headers": {"a": "b\\r\\nSet-Cookie: c"}},
    "/length": {"statusCode": 200, "body": "abc", "headers": {"Content-Length": 999, "Connection": "close"}},
}
def handler(event, context):
    from urllib.parse import unquote
    path = unquote(event["rawPath"])
    if path == "/raise": raise ValueError
    return answers[path] if path in answers else event
"""

ASLEEP = """
def handler(event, context):
    note(event)
    if event == "until woken":
        while not os.path.exists(os.environ["FOLDER"] + "/woken"): time.sleep(0.01)
    else:
        time.sleep(event)
    return "slept"
"""

FAILS = """
def handler(event, context):
    note([event, context.aws_request_id])
    raise ValueError("always")
"""

MAPPING = {"batch_size": 17, "window_s": 2, "retries": 4, "record_age_s_max": 600, "bisect": True,
           "report_item_failures": True, "failures_bucket": "failures"}  # fmt: skip


class Server:
    """Gateway and runtime in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        self.runtime = Runtime(
            folder,
            {"echo": ECHO, "web": WEB, "asleep": ASLEEP, "fails": FAILS, "mapped": SOUND},
            {"mapped": MAPPING},
            settings={
                "echo": {"memory_mb": 256, "timeout_s": 5},
                "web": {"url": True},
                "asleep": {"reserved_concurrency": 1, "timeout_s": 5},
            },
        )
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.call(self._start())

    async def _start(self) -> None:
        await self.runtime.start()
        self._client = rpc.AsyncClient(self.runtime.layout.runtime_socket)
        functions = Lambda(self._client, self.runtime.system, "http://127.0.0.1:4566")
        listening = socket.create_server(("127.0.0.1", 0))
        self._server = await gateway.start(Router({}, functions.paths()), listening)
        self.port = listening.getsockname()[1]

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def stop(self) -> None:
        self.call(self._server.stop(1))
        self.call(self._client.close())
        self.call(self.runtime.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("lambda"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    made = boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )
    yield made
    made.close()


def payload(answer: dict[str, Any]) -> Any:
    return json.loads(answer["Payload"].read())


# -- Invoke

PAYLOADS = [
    b"{}", b"[]", b"null", b'"text"', b"7", b"true", b'{"a":[1,2.5,{"b":null}]}', b'"\xc3\xa4\\u00e4"',
    b"123456789012345678901234567890", b"1e40", b'{"a":0.1,"b":7e-06,"c":"000123"}',
]  # fmt: skip


@pytest.mark.parametrize("sent", PAYLOADS)
def test_request_response(client: Any, sent: bytes) -> None:
    answer = client.invoke(FunctionName="echo", Payload=sent)
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in answer
    assert payload(answer) == json.loads(sent)


@pytest.mark.parametrize("header", ["X-Amz-Log-Type", "X-Amz-Invocation-Type"])
def test_a_kind_that_there_is_not(server: Server, header: str) -> None:
    status, headers, body = server.request("POST", "/2015-03-31/functions/echo/invocations", b"{}", {header: "All"})
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert b"Value 'All' at '" in body


def test_no_payload_is_an_empty_object(client: Any) -> None:
    assert payload(client.invoke(FunctionName="echo")) == {}


@pytest.mark.parametrize(
    "name",
    [
        "echo",
        "echo:$LATEST",
        "000000000000:function:echo",
        "arn:aws:lambda:us-east-1:000000000000:function:echo",
        "arn:aws:lambda:us-east-1:000000000000:function:echo:$LATEST",
    ],
)
def test_names_and_arns(client: Any, name: str) -> None:
    assert payload(client.invoke(FunctionName=name, Payload=b"1")) == 1
    assert client.get_function(FunctionName=name)["Configuration"]["FunctionName"] == "echo"


def test_a_function_error_is_a_200_with_a_header(client: Any) -> None:
    answer = client.invoke(FunctionName="echo", Payload=b'{"raise": true}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = payload(answer)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no good")
    assert error["requestId"] == answer["ResponseMetadata"]["RequestId"]
    (frame,) = error["stackTrace"]
    assert "echo.py" in frame
    assert "in handler" in frame


def test_a_timeout(client: Any) -> None:
    answer = client.invoke(FunctionName="asleep", Payload=b"30", LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert payload(answer)["errorMessage"].endswith("Task timed out after 5.00 seconds")
    assert b"Task timed out after 5.00 seconds" in base64.b64decode(answer["LogResult"])


def test_the_log_tail(client: Any) -> None:
    answer = client.invoke(FunctionName="echo", Payload=b"{}", LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
    assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
    assert lines[1] == "hello from echo"
    assert lines[2] == f"END RequestId: {request_id}"
    assert lines[3].startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "LogResult" not in client.invoke(FunctionName="echo", Payload=b"{}")


def test_the_context(client: Any, server: Server) -> None:
    sent = base64.b64encode(json.dumps({"custom": {"a": 1}, "client": {"app_title": "t"}}).encode()).decode()
    answer = client.invoke(FunctionName="echo", Payload=b'{"context": true}', ClientContext=sent)
    found = payload(answer)
    environment = found.pop("env")
    assert 4000 < found.pop("left") <= 5000
    assert found.pop("stream").endswith(environment["AWS_LAMBDA_LOG_STREAM_NAME"][-40:])
    assert found == {
        "name": "echo", "version": "$LATEST", "arn": "arn:aws:lambda:us-east-1:000000000000:function:echo",
        "memory": "256", "id": answer["ResponseMetadata"]["RequestId"], "group": "/aws/lambda/echo",
        "identity": None, "custom": {"a": 1}, "title": "t",
    }  # fmt: skip
    assert environment["_HANDLER"] == "echo.handler"
    assert environment["LAMBDA_TASK_ROOT"] == str(server.runtime.code)
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["SEEN"].endswith("echo.seen")
    assert {"AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL_KINESIS", "HEADRACE_DATA"} <= environment.keys()


def test_dry_run(client: Any) -> None:
    assert client.invoke(FunctionName="fails", InvocationType="DryRun")["StatusCode"] == 204


ERRORS = [
    ({"FunctionName": "nobody"}, "ResourceNotFoundException", 404),
    ({"FunctionName": "nobody", "InvocationType": "Event"}, "ResourceNotFoundException", 404),
    ({"FunctionName": "echo", "Qualifier": "7"}, "ResourceNotFoundException", 404),
    ({"FunctionName": "echo:live"}, "ResourceNotFoundException", 404),
    ({"FunctionName": "echo", "InvocationType": "Later"}, "ValidationException", 400),
    ({"FunctionName": "echo", "Payload": b"{"}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "Payload": b"NaN"}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "Payload": b'"\xff"'}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "Payload": b"[" * 100_000}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "ClientContext": "e30"}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "ClientContext": "W1tb" * 500}, "InvalidRequestContentException", 400),
    ({"FunctionName": "echo", "Payload": b'"%b"' % (b"x" * 6_291_456)}, "RequestTooLargeException", 413),
    ({"FunctionName": "echo", "InvocationType": "Event", "Payload": b'"%b"' % (b"x" * 1_048_576)},
     "RequestTooLargeException", 413),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "status"), ERRORS, ids=range(len(ERRORS)))
def test_errors(client: Any, arguments: dict[str, Any], code: str, status: int) -> None:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.invoke(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_the_largest_payloads(client: Any) -> None:
    sent = b'"%b"' % (b"x" * 6_291_454)
    assert len(payload(client.invoke(FunctionName="echo", Payload=sent))) == 6_291_454


def test_reserved_concurrency_throttles(client: Any, server: Server) -> None:
    busy = threading.Thread(target=server.request, args=("POST", invoke_path("asleep"), b'"until woken"'))
    busy.start()
    while "until woken" not in server.runtime.seen("asleep"):
        time.sleep(0.01)
    try:
        with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
            client.invoke(FunctionName="asleep", Payload=b"0")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    finally:
        (server.runtime.folder / "woken").touch()
        busy.join()
    assert payload(client.invoke(FunctionName="asleep", Payload=b"0")) == "slept"


def invoke_path(function: str) -> str:
    return f"/2015-03-31/functions/{function}/invocations"


def test_concurrent_invokes_of_an_unreserved_function_wait_their_turn(server: Server) -> None:
    async def many() -> list[Any]:
        return list(await asyncio.gather(*(server.runtime.invoke("echo", number) for number in range(100))))

    assert [answer.payload for answer in server.call(many())] == list(range(100))


# -- asynchronous invokes


def test_an_event_invoke_is_retried_under_its_request_id_and_given_up_with_its_payload(
    client: Any, server: Server
) -> None:
    answer = client.invoke(FunctionName="fails", InvocationType="Event", Payload=b'{"a": 7e-06}')
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    request_id = answer["ResponseMetadata"]["RequestId"]
    deadline = time.monotonic() + 20
    while not (documents := server.runtime.documents("async/fails/")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.runtime.seen("fails") == [[{"a": 7e-06}, request_id]] * 3
    (document,) = documents
    assert document["requestContext"] == {
        "requestId": request_id, "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:fails:$LATEST",
        "condition": "RetriesExhausted", "approximateInvokeCount": 3,
    }  # fmt: skip
    assert document["requestPayload"] == {"a": 7e-06}
    assert document["responseContext"]["functionError"] == "Unhandled"
    assert document["responsePayload"]["errorType"] == "ValueError"
    while list(server.runtime.layout.invokes.rglob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- descriptions


def test_functions_are_described(client: Any) -> None:
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert names == ["echo", "web", "asleep", "fails", "mapped"]
    configuration = client.get_function_configuration(FunctionName="echo")
    assert (configuration["Handler"], configuration["MemorySize"], configuration["Timeout"]) == ("echo.handler", 256, 5)
    assert configuration["State"] == "Active"
    assert configuration["CodeSize"] > 0
    assert client.get_function(FunctionName="asleep")["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    client.get_waiter("function_active_v2").wait(FunctionName="echo")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="nobody")


def test_mappings_are_described(client: Any) -> None:
    (mapping,) = client.list_event_source_mappings()["EventSourceMappings"]
    assert client.get_event_source_mapping(UUID=mapping["UUID"])["UUID"] == mapping["UUID"]
    expected = {
        "EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/readings", "BatchSize": 17,
        "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:mapped", "State": "Enabled",
        "MaximumBatchingWindowInSeconds": 2, "MaximumRetryAttempts": 4, "MaximumRecordAgeInSeconds": 600,
        "BisectBatchOnFunctionError": True, "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "StartingPosition": "TRIM_HORIZON", "LastProcessingResult": "No records processed",
        "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::failures"}},
    }  # fmt: skip
    assert {name: mapping[name] for name in expected} == expected
    by_function = client.list_event_source_mappings(FunctionName="mapped", EventSourceArn=mapping["EventSourceArn"])
    assert len(by_function["EventSourceMappings"]) == 1
    assert client.list_event_source_mappings(FunctionName="echo")["EventSourceMappings"] == []
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_event_source_mapping(UUID="00000000-0000-0000-0000-000000000000")


def test_what_the_template_decides_is_not_changed_over_the_wire(client: Any) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=r"template\.yaml"):
        client.delete_function(FunctionName="echo")


# -- function URLs


def test_the_url_is_told_and_works(client: Any, server: Server) -> None:
    found = client.get_function_url_config(FunctionName="web")
    assert found["FunctionUrl"] == f"http://127.0.0.1:{server.port}/_headrace/url/web/"
    assert (found["AuthType"], found["InvokeMode"]) == ("NONE", "BUFFERED")
    assert client.list_function_url_configs(FunctionName="web")["FunctionUrlConfigs"][0]["FunctionUrl"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function_url_config(FunctionName="echo")
    assert server.request("GET", "/_headrace/url/echo/")[0] == 404
    assert server.request("GET", "/_headrace/url/nobody/")[0] == 404


def test_the_event_of_a_url(server: Server) -> None:
    headers = {"Cookie": "a=1; b=2", "X-Own": "yes", "User-Agent": "tester"}
    status, answered, body = server.request(
        "PUT", "/_headrace/url/web/devices/a%2Fb%20c/events?x=1&x=2&y=&z=%20", b'{"v": 1}',
        {**headers, "Content-Type": "application/json"},
    )  # fmt: skip
    assert (status, answered["content-type"]) == (200, "application/json")
    event = json.loads(body)
    context = event.pop("requestContext")
    sent = event.pop("headers")
    assert event == {
        "version": "2.0", "routeKey": "$default", "rawPath": "/devices/a%2Fb%20c/events",
        "rawQueryString": "x=1&x=2&y=&z=%20", "queryStringParameters": {"x": "1,2", "y": "", "z": " "},
        "cookies": ["a=1", "b=2"], "body": '{"v": 1}', "isBase64Encoded": False,
    }  # fmt: skip
    assert (sent["x-own"], sent["content-type"]) == ("yes", "application/json")
    assert "cookie" not in sent
    assert context["http"] == {
        "method": "PUT", "path": "/devices/a%2Fb%20c/events", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
        "userAgent": "tester",
    }  # fmt: skip
    assert context["requestId"] == answered["x-amzn-RequestId"]


@pytest.mark.parametrize(
    ("kind", "body", "encoded"),
    [
        ("application/octet-stream", b"\x00\xff", True),
        ("application/octet-stream", b"text", True),
        ("text/plain", b"text", False),
        ("text/plain", b"\xff", True),
        ("application/json", "ä".encode(), False),
    ],
)
def test_bodies(server: Server, kind: str, body: bytes, encoded: bool) -> None:
    event = json.loads(server.request("POST", "/_headrace/url/web", body, {"Content-Type": kind})[2])
    assert event["rawPath"] == "/"
    assert event["isBase64Encoded"] is encoded
    assert (base64.b64decode(event["body"]) if encoded else event["body"].encode()) == body


ANSWERS = {
    "text": (200, b'"hello"', "application/json"),
    "number": (200, b"7", "application/json"),
    "object": (200, b'{"a": 1}', "application/json"),
    "none": (200, b"null", "application/json"),
    "created": (201, b"made", "text/plain"),
    "binary": (200, b"\x00\x01\xff", "image/png"),
    "json%20body": (200, b'{"a":[1]}', "application/json"),
    "text%20status": (404, b"", "application/json"),
    "length": (200, b"abc", "application/json"),
    "raise": (502, b'{"message":"Internal Server Error"}', "application/json"),
    "bad%20status": (502, b'{"message":"Internal Server Error"}', "application/json"),
    "bad%20base64": (502, b'{"message":"Internal Server Error"}', "application/json"),
    "split": (502, b'{"message":"Internal Server Error"}', "application/json"),
    "one%20cookie": (502, b'{"message":"Internal Server Error"}', "application/json"),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_answers(server: Server, path: str) -> None:
    status, headers, body = server.request("GET", f"/_headrace/url/web/{path}")
    assert (status, body, headers["content-type"]) == ANSWERS[path]


def test_headers_and_cookies_of_an_answer(server: Server) -> None:
    assert server.request("GET", "/_headrace/url/web/created")[1]["X-Own"] == "yes"
    assert server.request("GET", "/_headrace/url/web/cookies")[1].get_all("Set-Cookie") == ["a=1", "b=2; Secure"]
