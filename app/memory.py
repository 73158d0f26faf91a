"""Memory of a process that serves for long: what is freed goes back, collections stay short.

The C library keeps freed memory between small things that live on; asking for it back takes a
few milliseconds. Python's collector looks at every object there is; with torch loaded that takes
0.15 s in which no thread runs. What is there when the server starts stays: it is left out.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable

PAUSE = 2.0  # seconds between two requests for free memory
SWITCH = 0.0005  # seconds that a thread may run while another waits; Python's default is ten times


def settle() -> None:
    """Leave the objects that there are out of all later collections; give free memory back."""
    gc.collect()
    gc.freeze()
    give_back()


def share() -> None:
    """Let the event loop's thread have its turn soon: it gives way at each read and write, and
    each time would wait for a worker's turn to end."""
    sys.setswitchinterval(SWITCH)


def give_back() -> None:
    """Give memory that is free to the system. Only glibc keeps it."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None:
        trim(0)


class Tidy:
    """Called after each piece of work: gives memory back, now and then."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, act: Callable[[], None] = give_back
    ) -> None:
        self.now = now
        self.act = act
        self.lock = threading.Lock()
        self.next = now() + PAUSE

    def __call__(self) -> None:
        with self.lock:
            if self.now() < self.next:
                return
            self.next = self.now() + PAUSE
        self.act()
