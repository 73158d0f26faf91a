"""How a client reaches an app: over the network, or one in this process without any network."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import httpx2
import numpy as np
from safetensors.numpy import load

from attention_atlas import __version__
from attention_atlas.results import Array, AtlasError

Result = TypeVar("Result")
NOT_HERE = ("", "not-found")  # codes of an address that a server does not have
LOCAL = "http://127.0.0.1"  # what an app in this process is asked as


class Event(NamedTuple):
    """One event of a stream."""

    name: str
    data: dict[str, Any]


class InProcess(httpx2.BaseTransport):
    """Requests to an ASGI app in this process. Its event loop runs in a thread of its own, since
    that of a notebook is taken. An answer is whole before its first event is read."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="atlas")
        self._thread.start()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._awaited(self._handled(request))

    async def _handled(self, request: httpx2.Request) -> httpx2.Response:
        content = httpx2.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        response = await self._transport.handle_async_request(content)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        parts = [part async for part in response.stream]
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=httpx2.ByteStream(b"".join(parts)),
        )

    def _awaited(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        if self._loop.is_running() and not sys.is_finalizing():  # then its thread is gone
            self._awaited(self._transport.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def tensors_of(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The fields and the tensors of an answer in safetensors."""
    n = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + n]).get("__metadata__", {})
    fields = {name: json.loads(value) for name, value in metadata.items()}
    return fields, {name: np.asarray(array) for name, array in load(content).items()}


def events_of(lines: Iterable[str]) -> Iterator[Event]:
    """The server-sent events in lines of text."""
    name, data = "message", list[str]()
    for line in lines:
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data.append(value)
        elif not line and data:
            yield Event(name, json.loads("\n".join(data)))
            name, data = "message", []


class Stream(Iterator[Event]):
    """The events of an answer as they come. Closing it, or leaving its block, cancels the work."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._events = events_of(response.iter_lines())

    def __next__(self) -> Event:
        try:
            event = next(self._events)
        except httpx2.TransportError as error:
            raise AtlasError(f"the server went away in the middle: {error}") from None
        except StopIteration:
            self.close()
            raise
        if event.name == "problem":
            self.close()
            raise refused(event.data)
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the server stops at the next token."""
        self._response.close()


class Fields(dict[str, Any]):
    """The fields of an answer. One that is not there is of another version of the server."""

    def __init__(self, fields: Mapping[str, Any], http: httpx2.Client) -> None:
        super().__init__(fields)
        self._http = http

    def __missing__(self, name: str) -> Any:
        raise other_version(self._http, f"the answer has no {name!r}", version_of(self._http))


def version_of(http: httpx2.Client) -> str:
    """The version of a server; empty if it does not say."""
    try:
        return str(http.get("/openapi.json").json()["info"]["version"])
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return ""


def other_version(http: httpx2.Client, problem: str, version: str) -> AtlasError:
    """A problem that comes from a server of another version than this client's."""
    address = str(http.base_url).rstrip("/")
    return AtlasError(
        f"{problem}: {address} runs Attention Atlas {version or 'of an unknown version'}, "
        f"this client is {__version__}",
        code="other-version",
    )


def refusal(http: httpx2.Client, response: httpx2.Response) -> AtlasError:
    """Why a server refused; what it does not have at all, another version has."""
    error = error_of(response.status_code, response.content)
    if error.status != 404 or error.code not in NOT_HERE:
        return error
    version = version_of(http)
    path = response.request.url.path
    return error if version == __version__ else other_version(http, f"there is no {path}", version)


def error_of(status: int, content: bytes) -> AtlasError:
    """The problem that a server answered with, whatever it is."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping) or "detail" not in problem:
        text = content[:200].decode(errors="replace").strip()
        return AtlasError(f"the server answered {status}: {text}", status=status)
    return refused(problem, status)


def refused(problem: Mapping[str, Any], status: int = 0) -> AtlasError:
    """A problem document as an error."""
    first: Mapping[str, Any] = next(iter(problem.get("errors") or ()), {})
    return AtlasError(
        str(problem["detail"]),
        code=str(problem.get("code", "")),
        status=status or int(problem.get("status", 0)),
        field=str(first.get("field", "")),
        limit=first.get("limit"),
        value=first.get("value"),
    )
