"""The last answers, as the bytes that were sent: who asks for one again waits for no worker."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import NamedTuple

from cachetools import LRUCache

BESIDE = 1000  # bytes of an entry beside its content


class Packed(NamedTuple):
    """An answer's content in a coding, and the headers that name it."""

    content: bytes
    headers: dict[str, str]


class Answers:
    """Bounded in bytes. An answer's key says everything that it depends on."""

    def __init__(self, most: int) -> None:
        self._kept: LRUCache[Hashable, Packed] = LRUCache(
            most, getsizeof=lambda packed: len(packed.content) + BESIDE
        )
        self._lock = threading.Lock()

    @property
    def n_byte(self) -> int:
        return int(self._kept.currsize)

    def get(self, key: Hashable) -> Packed | None:
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Hashable, packed: Packed) -> None:
        with self._lock:
            if len(packed.content) + BESIDE <= self._kept.maxsize:
                self._kept[key] = packed
