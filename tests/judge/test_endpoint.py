"""What goes wrong between here and a server, and a key that is never seen again."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

import pytest

from dissensus.errors import InputError, JudgeError
from dissensus.judges.language.messages import AskError
from dissensus.judges.server.http import Endpoint

KEY = "sk-secret-0123456789"
BODY = {"model": "m"}


def reply(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


def post_to(raw: bytes | Callable[[bytes], bytes], *, scheme: str = "http") -> object:
    """Post to a server that answers with these very bytes, or with what it makes of the request's head."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await (reader.read(100) if scheme == "https" else reader.readuntil(b"\r\n\r\n"))
        writer.write(raw(head) if callable(raw) else raw)
        await writer.drain()
        writer.close()

    async def once() -> object:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server, Endpoint(url, timeout=5.0) as endpoint:
            return await endpoint.post("chat/completions", BODY)

    return asyncio.run(once())


def everything_shown(error: BaseException) -> str:
    """The traceback, and the whole chain as a debugger or a logger might show it."""
    shown = "".join(traceback.format_exception(error))
    link: BaseException | None = error
    while link is not None:
        shown += repr(link) + repr(link.args) + repr(vars(link))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return shown


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain",
        b"",
        reply("200 OK", "[" * 100_000),
        reply("200 OK", '{"error": {"message": "oh \\ud83d"}}'),
        lambda head: reply("200 OK", f'{{"error": {head.decode().splitlines()!r}}}'.replace("'", '"')),
        lambda head: reply("400 Bad Request", head.decode()),
        lambda head: reply("500 Oops", head.decode()),
        lambda head: reply("404 Not Found", head.decode()),
        lambda head: reply("200 OK", head.decode()),
        lambda head: reply("401 Unauthorized", head.decode()),
    ],
)
def test_no_answer_however_broken_shows_the_key(raw, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises((AskError, JudgeError)) as caught:
        post_to(raw)
    assert KEY not in everything_shown(caught.value)
    assert str(caught.value).encode()  # a store keeps it


@pytest.mark.parametrize("key", ["with\nnewline", "with\u2026ellipsis"])
def test_a_key_that_can_be_none_is_refused_and_not_shown(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(JudgeError, match="OPENAI_API_KEY holds") as caught:
        post_to(reply("200 OK", "{}"))
    assert key not in everything_shown(caught.value)


def test_white_space_around_a_key_is_no_part_of_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    heads: list[str] = []

    def answer(head: bytes) -> bytes:
        heads.append(head.decode())
        return reply("200 OK", "{}")

    post_to(answer)
    assert f"Authorization: Bearer {KEY}\r\n" in heads[0]


def test_a_redirect_is_told_and_not_followed(monkeypatch):
    """To follow would turn the request into another one, or send a key to where nobody meant it to go."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(JudgeError, match=r"has moved.*https://elsewhere/v1.*--base-url"):
        post_to(reply("301 Moved", "", "Location: https://elsewhere/v1/chat/completions"))


def test_https_to_a_server_without_it_is_no_server_that_may_come_back():
    with pytest.raises(JudgeError, match="no secure connection"):
        post_to(reply("400 Bad Request"), scheme="https")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host/v1?key=sk-1", "has a part after"),
        ("http://host/v1#sk-1", "has a part after"),
        ("http://me:sk-1@host/v1", "put the key into"),
        ("127.0.0.1:8000", "not a URL"),
        ("ftp://host/v1", "not a URL"),
        ("http://", "not a URL"),
    ],
)
def test_an_address_that_is_none_or_holds_more_is_refused(url, says):
    with pytest.raises(InputError, match=f"--base-url.*{says}") as caught:
        Endpoint(url)
    assert "sk-1" not in str(caught.value)
