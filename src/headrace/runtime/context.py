"""The `context` that a handler gets, with the members that Lambda's Python runtime gives it."""

import json
import os
from typing import Any

from headrace import clock
from headrace.system import function_arn

CLIENT_FIELDS = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class Identity:
    """The caller's Cognito identity: none on one machine."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class Client:
    """The mobile client that a client context tells of."""

    def __init__(self, fields: dict[str, Any]) -> None:
        for name in CLIENT_FIELDS:
            setattr(self, name, fields.get(name))


class ClientContext:
    """What a caller sent as X-Amz-Client-Context."""

    def __init__(self, text: str) -> None:
        """Raises ValueError if the text is no JSON object."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("the client context is no JSON object")
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        client = fields.get("client")
        self.client = Client(client) if isinstance(client, dict) else None


class Context:
    """One invocation as its handler sees it."""

    function_version = "$LATEST"

    def __init__(self, request_id: str, timeout_s: float, client_context: str | None = None) -> None:
        environment = os.environ
        self.aws_request_id = request_id
        self.function_name = environment.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.invoked_function_arn = function_arn(self.function_name)
        self.memory_limit_in_mb = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = environment.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = environment.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.identity = Identity()
        self.client_context = ClientContext(client_context) if client_context else None
        self._deadline_s = clock.monotonic_s() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left before the invocation times out."""
        return max(0, int((self._deadline_s - clock.monotonic_s()) * 1000))
