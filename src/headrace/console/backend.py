"""The backend as the console reaches it: AWS's wire and what lies under `/_headrace/`, as any other program would."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from headrace.errors import HeadraceError, NotFound, Unavailable, UsageError
from headrace.wire import AMZ_JSON_1_1

ANSWER_S_MAX = 5.0  # of what is answered from memory
READING_S_MAX = 60.0  # of what reads files
KINESIS, CLOUDWATCH, REDSHIFT_DATA = "Kinesis_20131202.", "GraniteServiceVersion20100801.", "RedshiftData."
_READ_ONLY = {"x-headrace-read-only": "1"}  # statements that write are refused
DEVICE_API = "device_api"


class Backend:
    """A backend at a URL. Every method raises Unavailable if nothing answers there, and what an error answer says."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=ANSWER_S_MAX, trust_env=False)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def get(self, path: str, *, timeout_s: float = ANSWER_S_MAX, **query: str) -> Any:
        """Return the JSON at `/_headrace/<path>`."""
        return msgspec.json.decode(await self.get_bytes(path, timeout_s=timeout_s, **query))

    async def get_bytes(self, path: str, *, timeout_s: float = ANSWER_S_MAX, **query: str) -> bytes:
        """Return what is at `/_headrace/<path>` as it is."""
        return await self._exchange("GET", f"/_headrace/{path}", params=query, timeout=timeout_s)

    async def post(self, path: str, value: object) -> Any:
        """Post JSON to `/_headrace/<path>` and wait for the answer, however long it takes."""
        headers = {"Content-Type": "application/json"}
        content = msgspec.json.encode(value)
        return msgspec.json.decode(
            await self._exchange("POST", f"/_headrace/{path}", content=content, headers=headers, timeout=None)
        )

    async def call(self, service: str, operation: str, **parameters: object) -> Any:
        """Call an operation of AWS's JSON protocol."""
        headers = {"Content-Type": AMZ_JSON_1_1, "X-Amz-Target": service + operation, **_READ_ONLY}
        content, timeout = msgspec.json.encode(parameters), READING_S_MAX if service == REDSHIFT_DATA else ANSWER_S_MAX
        answer = await self._exchange("POST", "/", content=content, headers=headers, timeout=timeout)
        return msgspec.json.decode(answer)

    async def device_api(self, operation: str, device: str, **parameters: object) -> Any:
        """Ask `device_api` by invoke; what it refuses raises with its message."""
        content = msgspec.json.encode({"operation": operation, "device_id": device, **parameters})
        path = f"/2015-03-31/functions/{DEVICE_API}/invocations"
        try:
            answer = msgspec.json.decode(await self._exchange("POST", path, content=content, timeout=READING_S_MAX))
        except NotFound:
            raise HeadraceError(f"The template has no function {DEVICE_API}, which answers this.") from None
        if not isinstance(answer, dict):
            raise HeadraceError(f"{DEVICE_API} answered no JSON object.", f"See its log: headrace logs {DEVICE_API}")
        if "errorMessage" in answer:
            raise HeadraceError(f"{DEVICE_API} failed: {answer.get('errorType')}: {answer['errorMessage']}")
        if answer.get("statusCode", 200) >= 400:
            kind = NotFound if answer["statusCode"] == 404 else HeadraceError
            raise kind(str(answer.get("message") or answer.get("error")))
        return answer

    async def _exchange(self, method: str, path: str, **options: Any) -> bytes:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise Unavailable("The backend did not answer in time.", "It may be busy: try again.") from None
        except httpx.HTTPError as error:
            raise Unavailable(
                f"The backend does not answer ({type(error).__name__}).", "It may be restarting."
            ) from None
        if response.is_success:
            return response.content
        raise _error(response)


def _error(response: httpx.Response) -> HeadraceError:
    kind = {400: UsageError, 404: NotFound, 503: Unavailable}.get(response.status_code, HeadraceError)
    try:
        said = msgspec.json.decode(response.content, type=Mapping[str, Any])
    except msgspec.DecodeError:
        said = {}
    problem = said.get("message") or said.get("Message") or f"HTTP status {response.status_code}"
    return kind(str(problem), str(said.get("hint") or ""))
