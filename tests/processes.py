"""Processes that a measurement starts: none outlives it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
PATIENCE = 30  # seconds for a server to stop; then it is killed


def ends_with_its_parent() -> None:
    """In a child, before it runs: when the parent is gone, whatever ended it, SIGTERM comes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[str]) -> None:
    """Ask it to stop, or kill it."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def leave_when_asked() -> None:
    """SIGTERM is an exception, so that every `finally` is run."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
