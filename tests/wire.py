"""A client of HTTP/1.1 that costs little: it shares the cores with the server that it measures.

Only what our own server answers to GET: a status, and a body of a known length.
"""

from __future__ import annotations

import asyncio
import re
import time
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    until: float  # when the server may have closed it


class Connections:
    """As many as are needed at a time; each is used again for `kept` seconds."""

    def __init__(self, url: str, kept: float) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.kept = kept
        self.idle: list[Connection] = []

    def __enter__(self) -> Connections:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for connection in self.idle:
            connection.writer.close()

    async def get(self, target: str) -> tuple[int, bytes]:
        """The status and the body."""
        reader, writer, _ = await self._connection()
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?im)^content-length: *(\d+)", head)
        assert length, head
        body = await reader.readexactly(int(length[1]))
        self.idle.append(Connection(reader, writer, time.monotonic() + self.kept))
        return int(head.split(" ", 2)[1]), body

    async def _connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if connection.until > time.monotonic():
                return connection
            connection.writer.close()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        return Connection(reader, writer, 0)
