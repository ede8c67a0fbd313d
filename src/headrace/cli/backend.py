"""The backend as the command line reaches it: AWS's wire through boto3, and what lies under `/_headrace/`.

boto3 and the HTTP client are imported when they are first needed: they cost more than the rest of a command.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from headrace.errors import Conflict, HeadraceError, NotFound, Throttled, Unavailable, UsageError
from headrace.system import REGION

DUMMY_KEY = "headrace"  # one machine accepts any credentials; an SDK refuses to work without some
CONNECT_S_MAX = 10.0
_ERRORS: dict[int, type[HeadraceError]] = {404: NotFound, 409: Conflict, 429: Throttled, 503: Unavailable}
_THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "LimitExceededException")


class Backend:
    """A backend at a URL. Every method raises Unavailable if nothing answers there."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise UsageError(f"{url!r} is no endpoint.", "Write it like http://127.0.0.1:4566.")
        self.url = url
        self.is_aws = (parts.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        self._https = parts.scheme == "https"
        self._address = parts.netloc.rpartition("@")[2]
        self._path = parts.path.rstrip("/")

    def function(self, name: str) -> str:
        """Return what a function of the template is called here."""
        return name

    def owns(self, kind: str, name: str) -> bool:
        """Return whether a resource of a type is this system's: on one machine all are."""
        return True

    def owns_metric(self, namespace: str, dimensions: Sequence[tuple[str, str]]) -> bool:
        """Return whether a metric is this system's."""
        return True

    def get(self, path: str, query: Sequence[tuple[str, str]] = (), *, timeout_s: float | None = 60.0) -> Any:
        """Return the JSON at `/_headrace/<path>`; an error answer raises what it says."""
        return json.loads(self.get_bytes(path, query, timeout_s=timeout_s))

    def get_bytes(self, path: str, query: Sequence[tuple[str, str]] = (), *, timeout_s: float | None = 60.0) -> bytes:
        """Return the body at `/_headrace/<path>` as it is."""
        return self._exchange("GET", f"{path}?{urlencode(query)}" if query else path, None, timeout_s)

    def post(self, path: str, value: object, *, timeout_s: float | None = 60.0) -> Any:
        """Post JSON to `/_headrace/<path>` and return the answer's JSON."""
        return json.loads(self._exchange("POST", path, json.dumps(value).encode(), timeout_s))

    def client(self, service: str, *, timeout_s: float = 60.0, retries: int = 2, connections: int = 10) -> Any:
        """Return a boto3 client; calls belong inside `with backend.errors():`.

        The backend checks parameters itself, in AWS's words; here that would cost more than sending them.
        """
        import boto3
        from botocore.config import Config

        keys = {} if self.is_aws else {"aws_access_key_id": DUMMY_KEY, "aws_secret_access_key": DUMMY_KEY}
        config = Config(
            connect_timeout=CONNECT_S_MAX,
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": 1 + retries},
            max_pool_connections=connections,
            parameter_validation=False,
            proxies=None if self.is_aws else {},
        )
        with self.errors():
            return boto3.client(service, endpoint_url=self.url, region_name=region(), config=config, **keys)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn botocore's errors into ones that say what to do."""
        from botocore import exceptions

        try:
            yield
        except exceptions.ClientError as error:
            raise client_error(error.response) from error
        except exceptions.ReadTimeoutError as error:
            raise Unavailable(f"The backend at {self.url} did not answer in time.", "Try again.") from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise self.unavailable() from error
        except exceptions.BotoCoreError as error:
            raise HeadraceError(
                str(error), "See the AWS settings: `headrace env` prints those of one machine."
            ) from error

    def unavailable(self) -> Unavailable:
        """Return the error for a backend that cannot be reached."""
        return Unavailable(
            f"no backend answers at {self.url}",
            "Start one with `headrace up`, or point --endpoint / HEADRACE_ENDPOINT at it.",
        )

    def _exchange(self, method: str, path: str, body: bytes | None, timeout_s: float | None) -> bytes:
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        kind = HTTPSConnection if self._https else HTTPConnection
        connection = kind(self._address, timeout=min(CONNECT_S_MAX, timeout_s or CONNECT_S_MAX))
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
        with contextlib.closing(connection):
            try:
                connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request(method, f"{self._path}/_headrace/{path}", body, headers)
                response = connection.getresponse()
                answer = response.read()
            except TimeoutError as error:
                raise Unavailable(f"The backend at {self.url} did not answer in time.", "Try again.") from error
            except (OSError, HTTPException) as error:
                raise self.unavailable() from error
        if not 200 <= response.status < 300:
            raise _answer_error(self.url, response.status, answer)
        return answer


def region() -> str:
    """Return the region to sign for: the user's, else that of one machine."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION


def path_segment(text: str) -> str:
    """Return text as one segment of a path; raises UsageError if it is empty, as an unset variable is."""
    if not text:
        raise UsageError(
            "An argument is empty.", "Write a name, or look whether the variable is set that stands there."
        )
    return quote(text, safe="")


def client_error(response: Mapping[str, Any]) -> HeadraceError:
    """Return the error that an AWS error answer stands for, in its own words."""
    error = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    code, message = error.get("Code", "Unknown"), error.get("Message") or f"HTTP status {status}"
    if code in _THROTTLED:
        return Throttled(f"{code}: {message}")
    if code == "ResourceNotFoundException":
        return NotFound(f"{code}: {message}")
    kind = Unavailable if status >= 500 else _ERRORS.get(status, HeadraceError)
    return kind(f"{code}: {message}")


def _answer_error(url: str, status: int, body: bytes) -> HeadraceError:
    with contextlib.suppress(ValueError):
        answer = json.loads(body)
        if isinstance(answer, dict) and isinstance(answer.get("message"), str):
            kind = UsageError if answer.get("error") == "usage" else _ERRORS.get(status, HeadraceError)
            return kind(answer["message"], str(answer.get("hint") or ""))
    return HeadraceError(
        f"{url} answered with HTTP status {status} and no reason.",
        "Is it a Headrace backend of this version? Check --endpoint / HEADRACE_ENDPOINT.",
    )
