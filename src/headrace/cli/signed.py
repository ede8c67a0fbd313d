"""AWS's JSON operations with bodies that are made and read here: signed and sent by botocore, as its own would be.

botocore's serializer and parser take most of a PutRecords' time; everything else of it is kept: credentials, signature,
connections, its errors.
"""

import threading
from typing import Any

import msgspec

from headrace.cli.backend import CONNECT_S_MAX, DUMMY_KEY, Backend, client_error, region


class _Problem(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="Unknown")
    message: str = ""
    Message: str = ""


class SignedCalls:
    """Calls of one service. Safe to share between threads."""

    def __init__(self, backend: Backend, service: str, target: str, *, timeout_s: float = 60.0, connections: int = 10):
        """`target` is what stands before the operation in `X-Amz-Target`, its point included."""
        import boto3
        from botocore.auth import SigV4Auth
        from botocore.credentials import Credentials
        from botocore.httpsession import URLLib3Session

        self._backend = backend
        self._target = target
        with backend.errors():
            found = boto3.Session().get_credentials() if backend.is_aws else None
        self._credentials: Any = found or Credentials(DUMMY_KEY, DUMMY_KEY)
        self._sign: Any = lambda: SigV4Auth(self._credentials.get_frozen_credentials(), service, region())
        self._http = URLLib3Session(
            timeout=(CONNECT_S_MAX, timeout_s),
            max_pool_connections=connections,
            proxies=None if backend.is_aws else {},
        )
        self._lock = threading.Lock()  # of the credentials, which may be fetched anew

    def __call__(self, operation: str, body: bytes) -> bytes:
        """Call an operation; raises what an error answer says, or Unavailable."""
        from botocore.awsrequest import AWSRequest

        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": self._target + operation}
        request = AWSRequest("POST", self._backend.url + "/", headers, body)
        with self._backend.errors():
            with self._lock:
                self._sign().add_auth(request)
            response = self._http.send(request.prepare())
            content: bytes = response.content
        if response.status_code != 200:
            raise _error(response.status_code, content)
        return content


def _error(status: int, content: bytes) -> Exception:
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    code = problem.type.rpartition("#")[2]
    said = {"Code": code, "Message": problem.message or problem.Message}
    return client_error({"Error": said, "ResponseMetadata": {"HTTPStatusCode": status}})
