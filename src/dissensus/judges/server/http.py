"""One OpenAI-compatible endpoint over HTTP: a request, its JSON, and what each failure means."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from dissensus.errors import InputError, JudgeError, MissingDependencyError
from dissensus.judges.base import JsonObject
from dissensus.judges.language.messages import AskError
from dissensus.judges.server.failures import CONTEXT, error_in, failure, message_of, status_of, too_long
from dissensus.judges.server.openai_format import whole_characters

if TYPE_CHECKING:
    import aiohttp

_CONNECTIONS = 1024


class Endpoint:
    """A base URL with a key. Use it in an ``async with`` block; the key is in no message, log or repr.

    Args:
        base_url: such as ``http://127.0.0.1:8000/v1``; ``/v1`` is added where there is no path.
        key_variable: the environment variable that holds the key, if one is needed.
        timeout: seconds until an answer must be whole.

    Raises:
        InputError: the URL is none.
        MissingDependencyError: aiohttp is not installed.
    """

    def __init__(self, base_url: str, *, key_variable: str = "OPENAI_API_KEY", timeout: float = 300.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--base-url {base_url}: not a URL; give one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise InputError(f"--base-url: holds a name or password; put the key into {key_variable} instead")
        if parts.query or parts.fragment:
            raise InputError("--base-url: has a part after ? or #; give the address alone, such as http://host/v1")
        self.base_url = base_url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self.key_variable = key_variable
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        try:
            import aiohttp
        except ImportError as error:
            raise MissingDependencyError("aiohttp", extra="server", need="asking a server") from error
        self._aiohttp = aiohttp

    async def __aenter__(self) -> Self:
        key = _key_in(self.key_variable)
        if not (key.isascii() and key.isprintable()):
            raise JudgeError(f"{self.key_variable} holds characters that no key has; set it again")
        self._session = self._aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._aiohttp.ClientTimeout(total=self.timeout, sock_connect=30),
            connector=self._aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=30),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """Fetch JSON, whatever it is; `post` says what is raised."""
        return await self._request("GET", path, None)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Send JSON and return the JSON that answers it.

        Raises:
            AskError: the server is busy, gone, refuses the request, or its answer is none.
            ContextExceededError: the prompt is too long for the model.
            JudgeError: the account has no credit, or there is no secure connection.
            TurnedAwayError: the address, the key or the model is said to be another's, or none.
        """
        values = await self._request("POST", path, body)
        if not isinstance(values, dict):
            raise AskError(f"the answer is no JSON object ({self._quoted(json.dumps(values))!r})", billed=True)
        if (error := error_in(values)) is not None:
            raise self._failure_inside(error)
        return values

    async def _request(self, method: str, path: str, body: JsonObject | None) -> Any:
        if self._session is None:
            raise ValueError("the endpoint is not open; use it in an 'async with' block")
        url = path if path.startswith("http") else f"{self.base_url}/{path}"
        client = self._aiohttp
        # No error of aiohttp's is kept as a cause: some hold the request's headers, and so the key.
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False) as response:
                text = (await response.read()).decode("utf-8", "replace")
                status, headers = response.status, response.headers
        except client.ClientSSLError as error:
            reason = f"no secure connection ({type(error).__name__}); is it http://, or its certificate not trusted?"
            raise JudgeError(f"{self.base_url}: {reason}") from None
        except (client.ClientConnectorError, client.ConnectionTimeoutError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise AskError(f"nobody answers at {self.base_url} ({reason})", kind="gone") from None
        except TimeoutError:
            raise AskError(f"no answer within {self.timeout:g} s", billed=True) from None
        except client.ClientPayloadError:
            raise AskError("the answer was cut off", billed=True) from None
        except (client.ClientError, OSError) as error:
            raise AskError(f"the connection broke ({type(error).__name__})", billed=True) from None
        if status >= 300:
            raise self._failure(status, headers, text)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise AskError(f"the answer is no JSON ({self._quoted(message_of(text))!r})", billed=True) from None

    def _failure(self, status: int, headers: Any, text: str) -> Exception:
        """Say what an error status means for the one who asked."""
        message = self._quoted(message_of(text)) or "no reason given"
        if status < 400:
            place = self._quoted(headers.get("Location", ""))
            message = place.removesuffix("/chat/completions") or "nobody knows where"
        which = "is set, and was refused" if os.environ.get(self.key_variable) else "is not set"
        key = f"{self.key_variable} {which}"
        return failure(self.base_url, status, headers, text, message=message, key=key)

    def _failure_inside(self, error: Any) -> Exception:
        """Say what an error inside a 200 means: by its code, else by what it says."""
        text = json.dumps(error)
        message = self._quoted(message_of(text))
        if code := status_of(error):
            return self._failure(code, {}, text)
        if CONTEXT.search(text):
            return too_long(message)
        return AskError(f"a 200 with an error: {message}")

    def _quoted(self, text: str) -> str:
        """Shorten what a server says to one line, without the key that it may repeat."""
        key = _key_in(self.key_variable)
        line = " ".join(whole_characters(text.replace(key, "[the key]") if len(key) > 7 else text).split())
        return line if len(line) <= 300 else line[:297] + "…"


def _key_in(variable: str) -> str:
    return (os.environ.get(variable) or "").strip()
