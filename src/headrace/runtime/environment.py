"""What a worker is started with: Lambda's environment variables, and where it finds the backend. Pure."""

from collections.abc import Mapping
from uuid import uuid4

from headrace import clock
from headrace.settings import DEFAULT_ENDPOINT, Layout
from headrace.system import REGION, Function

# What the supervisor tells its own children is none of a function's business.
_PRIVATE = ("HEADRACE_LIFELINE_FD", "HEADRACE_READY_FD", "HEADRACE_LISTEN_FD", "HEADRACE_WEBHOOK")


def variables(function: Function, layout: Layout, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment: the host's, Lambda's, then the function's own."""
    endpoint = inherited.get("HEADRACE_ENDPOINT") or DEFAULT_ENDPOINT
    today = clock.rfc3339_ms(clock.now_ms())[:10].replace("-", "/")
    return {
        "AWS_ACCESS_KEY_ID": "headrace",
        "AWS_SECRET_ACCESS_KEY": "headrace",
        **{name: value for name, value in inherited.items() if name not in _PRIVATE},
        "AWS_ENDPOINT_URL_CLOUDWATCH": endpoint,
        "AWS_ENDPOINT_URL_KINESIS": endpoint,
        "AWS_ENDPOINT_URL_LAMBDA": endpoint,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{today}/[$LATEST]{uuid4().hex}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "HEADRACE_DATA": str(layout.data),
        "LAMBDA_TASK_ROOT": function.code,
        "TZ": ":UTC",
        "_HANDLER": function.handler,
        **function.environment,
    }
