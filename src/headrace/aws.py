"""AWS's services as this project calls them: clients, and their errors as ours.

Region, credentials and endpoints are found where every AWS tool finds them (AWS_REGION, AWS_PROFILE, a role,
AWS_ENDPOINT_URL_…). Only botocore is needed, and only once a client is made.
"""

import os
from functools import lru_cache
from typing import Any

from headrace.errors import HeadraceError, NotFound, Throttled, Unavailable, UsageError

CONNECT_S_MAX = 3.0
READ_S_MAX = 20.0
CONNECTIONS_MAX = 32

_SLOW_DOWN = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "LimitExceededException",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "403", "Forbidden", "AllAccessDisabled"})
# S3 does not say which action it refuses, as other services do; it is not always the operation's name.
_S3_ACTIONS = {
    "CopyObject": "s3:PutObject",
    "DeleteObjects": "s3:DeleteObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
}
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_MISSING = frozenset({"404", "NoSuchBucket", "NoSuchKey", "ResourceNotFoundException"})


@lru_cache(maxsize=1)
def _session() -> Any:
    import botocore.session

    return botocore.session.Session()


def forget() -> None:
    """Look for region and credentials anew when the next client is made."""
    _session.cache_clear()


def client(service: str, **settings: Any) -> Any:
    """Return a client of a service, safe to share between threads; `settings` are botocore's Config's.

    Raises UsageError where no region or no profile is found.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    chosen = {
        "connect_timeout": CONNECT_S_MAX,
        "read_timeout": READ_S_MAX,
        "max_pool_connections": CONNECTIONS_MAX,
        "retries": {"mode": "standard", "total_max_attempts": 5},
        **settings,
    }
    try:
        region = os.environ.get("AWS_REGION") or None  # botocore itself reads AWS_DEFAULT_REGION and the profile's
        return _session().create_client(service, region_name=region, config=Config(**chosen))
    except BotoCoreError as error:
        raise translated(error, f"{service} can't be called") from error


def code_of(error: Exception) -> str:
    """Return the code that a service answered with; empty for what is no answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def status_of(error: Exception) -> int:
    """Return the HTTP status of a service's error; 0 for what is no answer."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(metadata.get("HTTPStatusCode", 0))


def translated(error: Exception, what: str) -> HeadraceError:
    """Return a botocore error as one of ours; `what` begins the sentence: "The table 'events' can't be written"."""
    from botocore import exceptions

    code, status = code_of(error), status_of(error)
    if code in _SLOW_DOWN:
        return Throttled(f"{what}: {code}.", "Try again later, or raise the capacity.")
    if code in _DENIED:
        operation = getattr(error, "operation_name", "")
        action = _S3_ACTIONS.get(operation, f"s3:{operation}" if "Object" in operation else "that action")
        return HeadraceError(f"{what}: access denied. {error}", f"Allow {action} in the role's or user's policy.")
    if code in _BAD_CREDENTIALS:
        return UsageError(
            f"{what}: the credentials are refused ({code}).", "Sign in again: aws sso login, aws configure."
        )
    if code in _MISSING:
        return NotFound(f"{what}: it does not exist ({code}).", "Check its name, the region and the account.")
    if code:
        kind = Unavailable if status >= 500 else HeadraceError
        return kind(f"{what}: {error}", "Try again." if status >= 500 else "")
    if isinstance(error, exceptions.NoRegionError):
        return UsageError(f"{what}: no region is set.", "Set AWS_REGION, or a region in the profile: aws configure.")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return UsageError(
            f"{what}: no credentials are found.", "Sign in: aws configure, aws sso login, or AWS_PROFILE."
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return Unavailable(f"{what}: {error}", "Check the network and the endpoint, then try again.")
    return UsageError(f"{what}: {error}", "Check the region, the profile and the names given.")
