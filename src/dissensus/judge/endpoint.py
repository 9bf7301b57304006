"""One OpenAI-compatible endpoint over HTTP: a request, its JSON, and what each failure means."""

from __future__ import annotations

import json
import os
import re
import time
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from dissensus.errors import InputError, JudgeError, MissingDependencyError
from dissensus.judge.ask import AskError
from dissensus.judge.response import whole_characters

if TYPE_CHECKING:
    import aiohttp

_CONTEXT = re.compile(
    r"context[ _]?(?:length|window|size)|maximum (?:context|model)|too many tokens|prompt is too long", re.I
)
_NUMBERS = re.compile(r"\b(\d{2,9})\b")
_LIMIT = re.compile(r"(?:context|model)[ _](?:length|window|size)\D{0,30}(\d{2,9})\b", re.I)
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
_CONNECTIONS = 1024


class ContextExceededError(Exception):
    """The server says that a prompt is longer than its model's context."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"{tokens} tokens over a context of {limit}")
        self.tokens = tokens
        self.limit = limit


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

    async def get(self, path: str) -> dict[str, Any]:
        """Fetch JSON; `post` says what is raised."""
        return await self._request("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send JSON and return the JSON that answers it.

        Raises:
            AskError: the server is busy, gone, or its answer is none.
            ContextExceededError: the prompt is too long for the model.
            JudgeError: the key is refused, or there is no such model or path.
        """
        return await self._request("POST", path, body)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
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
        return self._decode(text)

    def _decode(self, text: str) -> dict[str, Any]:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise AskError(f"the answer is no JSON ({self._quoted(text)!r})", billed=True) from None
        if not isinstance(values, dict):
            raise AskError(f"the answer is no JSON object ({self._quoted(text)!r})", billed=True)
        if values.get("error"):
            raise AskError(f"a 200 with an error: {self._quoted(_message(values))}")
        return values

    def _failure(self, status: int, headers: Any, text: str) -> Exception:
        """Say what an error status means for the one who asked."""
        message = self._quoted(_message(_as_json(text)) or text)
        if status < 400:
            place = self._quoted(headers.get("Location", "")).removesuffix("/chat/completions") or "nobody knows where"
            return JudgeError(f"{self.base_url}: has moved ({status}) to {place}; give the new address as --base-url")
        if status in (401, 403):
            which = "is set, and was refused" if os.environ.get(self.key_variable) else "is not set"
            return JudgeError(f"{self.base_url}: the server wants a key ({status}); {self.key_variable} {which}")
        if status == 404:
            return JudgeError(f"{self.base_url}: not found (404): {message}")
        if status in (400, 413, 422) and _CONTEXT.search(message):
            return _too_long(message)
        if status == 429 and any(code in text for code in _QUOTA):
            return JudgeError(f"{self.base_url}: the account has no credit left ({message}); mend that and go on")
        if status in (429, 503, 529):
            return AskError(f"busy ({status})", kind="busy", retry_after=retry_after(headers))
        if status in (408, 409, 425) or status >= 500:
            return AskError(f"status {status}: {message}", retry_after=retry_after(headers))
        return AskError(f"status {status}: {message}", kind="refused")

    def _quoted(self, text: str) -> str:
        """Shorten what a server says to one line, without the key that it may repeat."""
        key = _key_in(self.key_variable)
        line = " ".join(whole_characters(text.replace(key, "[the key]") if len(key) > 7 else text).split())
        return line if len(line) <= 300 else line[:297] + "…"


def _key_in(variable: str) -> str:
    return (os.environ.get(variable) or "").strip()


def retry_after(headers: Any, *, now: float | None = None) -> float | None:
    """Read how many seconds a server wants to be left alone: ``Retry-After`` (seconds or a date), ``retry-after-ms``.

    >>> retry_after({"Retry-After": "2.5"})
    2.5
    """
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("Retry-After")
        if value is None:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
    except ValueError:
        return None


def _too_long(message: str) -> ContextExceededError:
    """Find the numbers in a message: the limit follows its name, and the prompt's length is the largest."""
    plain = message.replace(",", "")
    numbers = sorted(int(number) for number in _NUMBERS.findall(plain))
    named = _LIMIT.search(plain)
    limit = int(named.group(1)) if named else numbers[0] if numbers else 0
    tokens = numbers[-1] if numbers and numbers[-1] > limit else 0
    return ContextExceededError(tokens, limit)


def _as_json(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _message(values: dict[str, Any]) -> str:
    """Find the message in the ways that servers write one."""
    error = values.get("error", values)
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message) if message else ""
