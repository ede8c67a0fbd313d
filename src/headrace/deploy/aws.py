"""AWS as deployment and `--aws` reach it: a profile's credentials in a region, and errors that say what to do.

boto3 is imported when it is first needed. Endpoints can be set as with every AWS SDK (AWS_ENDPOINT_URL), except that
the settings `headrace env` prints, which lead to one machine, are refused.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.errors import Conflict, HeadraceError, NotFound, Throttled, Unavailable, UsageError

ONE_MACHINES_KEY = "headrace"  # what `headrace env` sets as AWS_ACCESS_KEY_ID
STACK = "headrace"
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired")
_WRONG_KEY = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidAccessKeyId",
              "AuthFailure", "InvalidSignatureException")  # fmt: skip
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "UnauthorizedException",
    "Forbidden",
    "403",
)
_THROTTLED = ("Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown")
_MISSING = ("ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "NotFound", "404", "EntityNotFoundException")
_ACTION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)")


class Aws:
    """AWS's services in one region. Clients are kept; `clients`, by service, are used instead of made ones."""

    def __init__(
        self, profile: str | None = None, region: str | None = None, clients: Mapping[str, Any] | None = None
    ) -> None:
        self._profile = profile
        self._region = region
        self._clients: dict[str, Any] = dict(clients or {})
        self._session: Any = None

    @property
    def region(self) -> str:
        """Return the region; raises UsageError where there is none."""
        found = self._region or self._connected().region_name
        if not found:
            raise UsageError("No region is set.", "Say --region us-east-1, or set AWS_REGION, or `aws configure`.")
        return str(found)

    def client(self, service: str, *, timeout_s: float = 60.0) -> Any:
        """Return a client; calls belong inside `with aws.errors()`. Raises UsageError without credentials or region."""
        if service not in self._clients:
            from botocore.config import Config

            session = self._connected()
            with self.errors():
                if session.get_credentials() is None:
                    raise _no_credentials()
                retries = {"mode": "standard", "total_max_attempts": 4}
                config = Config(retries=retries, read_timeout=timeout_s, connect_timeout=10)
                self._clients[service] = session.client(service, region_name=self.region, config=config)
        return self._clients[service]

    def account(self) -> str:
        """Return the account's number: the first call there is, so it finds out whether credentials are good."""
        client = self.client("sts")
        with self.errors():
            return str(client.get_caller_identity()["Account"])

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn botocore's errors into ones that say what to do."""
        from botocore import exceptions

        try:
            yield
        except exceptions.ClientError as error:
            raise problem(error.response, error.operation_name) from error
        except exceptions.NoCredentialsError as error:
            raise _no_credentials() from error
        except (
            exceptions.TokenRetrievalError,
            exceptions.SSOTokenLoadError,
            exceptions.UnauthorizedSSOTokenError,
        ) as error:
            raise HeadraceError(
                f"The sign-in has expired: {error}", f"Sign in: aws sso login{self._of_profile()}"
            ) from error
        except exceptions.PartialCredentialsError as error:
            raise UsageError(
                f"The credentials are incomplete: {error}", "Set both the key's id and its secret."
            ) from error
        except exceptions.ConnectTimeoutError as error:
            raise Unavailable(str(error), "Look at the network and --region; then try again.") from error
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            raise Unavailable(
                f"AWS can't be reached: {error}", "Look at the network, --region and AWS_ENDPOINT_URL; then try again."
            ) from error
        except exceptions.ParamValidationError as error:
            raise UsageError(str(error), "AWS's model of the call refuses this: change what is named.") from error
        except exceptions.BotoCoreError as error:
            raise HeadraceError(str(error), "Look at the AWS settings: `aws configure list`.") from error

    def _connected(self) -> Any:
        if self._session is None:
            import boto3
            from botocore import exceptions

            if is_one_machine(os.environ, self._profile):
                raise UsageError(
                    "The AWS settings in this shell lead to one machine: they are those of `headrace env`.",
                    "Open another terminal, or unset AWS_ENDPOINT_URL, HEADRACE_ENDPOINT and AWS_ACCESS_KEY_ID.",
                )
            try:
                self._session = boto3.Session(profile_name=self._profile)
            except exceptions.ProfileNotFound as error:
                raise UsageError(
                    f"There is no profile {self._profile or os.environ.get('AWS_PROFILE')!r}.",
                    "`aws configure list-profiles` lists those there are; --profile names one.",
                ) from error
        return self._session

    def _of_profile(self) -> str:
        return f" --profile {self._profile}" if self._profile else ""


def is_one_machine(variables: Mapping[str, str], profile: str | None) -> bool:
    """Return whether a shell's settings are those that `headrace env` prints."""
    endpoint = variables.get("AWS_ENDPOINT_URL")
    if endpoint and endpoint == variables.get("HEADRACE_ENDPOINT"):
        return True
    return variables.get("AWS_ACCESS_KEY_ID") == ONE_MACHINES_KEY and not profile


def problem(response: Any, operation: str) -> HeadraceError:
    """Return the error that an AWS error answer to an operation stands for."""
    error = response.get("Error", {})
    code, message = str(error.get("Code", "Unknown")), str(error.get("Message") or "no message")
    if code in _EXPIRED:
        return HeadraceError(f"The credentials have expired: {message}", "Get new ones (aws sso login, or new keys).")
    if code in _WRONG_KEY:
        return HeadraceError(
            f"AWS does not know these credentials: {message}", "Look at them: aws sts get-caller-identity"
        )
    if code in _DENIED:
        found = _ACTION.search(message)
        return HeadraceError(
            f"Not permitted: {found[1] if found else operation} ({message})",
            "Have this action allowed for the user or role that `aws sts get-caller-identity` shows.",
        )
    if code in _THROTTLED:
        return Throttled(f"AWS asks to slow down ({operation}): {message}", "Wait a moment, then try again.")
    if code in _MISSING:
        return NotFound(f"{operation}: {message}")
    if code == "ConditionalCheckFailedException":
        return Conflict(message)
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    if status >= 500:
        return Unavailable(f"{operation}: {code}: {message}", "AWS failed; try again.")
    return HeadraceError(f"{operation}: {code}: {message}")


def _no_credentials() -> UsageError:
    return UsageError(
        "There are no AWS credentials.",
        "Run `aws configure` or `aws sso login`, say --profile NAME, or set AWS_ACCESS_KEY_ID and its secret.",
    )
