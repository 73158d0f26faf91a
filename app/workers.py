"""The threads that compute, and who may wait for one.

A request is refused at once when the queue is full, or when it would wait too long: how long is
known from what each kind of work took before. Where the wait is limited to a share of what such
work takes (`WAIT_SHARE`), a request that was expected to wait less, and has not, is given up.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from attention_atlas.app import errors
from attention_atlas.app.memory import Tidy
from attention_atlas.app.meters import Meters
from attention_atlas.app.settings import Settings
from attention_atlas.model.messages import Message
from cachetools import LRUCache

MOST_KINDS = 1000  # of work, whose time is remembered
LATEST = 0.2  # share of the latest time in what a kind is expected to take
Result = TypeVar("Result")


@dataclass(eq=False)
class Job:
    """A piece of work on a worker or in the queue."""

    kind: Hashable
    expected: float  # seconds on a worker
    came: float = 0.0
    began: float | None = None
    is_given_up: bool = False


class Workers:
    """`compute` calls a function on a thread, or raises Busy at once."""

    def __init__(
        self, settings: Settings, meters: Meters, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self.meters = meters
        self.now = now
        self.pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="torch")
        self.tidy = Tidy()
        self._jobs: dict[Job, None] = {}  # in the order in which they came
        self._usual: LRUCache[Hashable, float] = LRUCache(MOST_KINDS)  # kind -> seconds
        self._lock = threading.Lock()

    async def compute(self, work: Callable[[], Result], kind: Hashable = None) -> Result:
        """Call `work` on a worker. Work of one kind is expected to take as long as it did."""
        job = self._admitted(kind or getattr(work, "__qualname__", ""))
        longest = self.settings.wait_share * job.expected
        self.meters.accepted.inc()
        try:
            future = self.pool.submit(copy_context().run, self._measured, work, job)
        except RuntimeError:  # shutting down
            self._ended(job)
            raise errors.Busy(Message("stopping", "the server is stopping")) from None
        future.add_done_callback(lambda _: self._ended(job))
        if not longest:
            return await asyncio.wrap_future(future)

        def give_up() -> None:
            job.is_given_up = future.cancel()  # not of what a worker has begun

        timer = asyncio.get_running_loop().call_later(longest, give_up)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if job.is_given_up:
                raise busy(self.expected_wait()) from None
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        # Not waited for: what cannot be cancelled must not hold the exit.
        self.pool.shutdown(wait=False, cancel_futures=True)

    def expected_wait(self) -> float:
        """Seconds until a worker is free for one more."""
        with self._lock:
            return wait(self._jobs, self.settings.workers, self.now())

    def _admitted(self, kind: Hashable) -> Job:
        settings = self.settings
        with self._lock:
            seconds = wait(self._jobs, settings.workers, self.now())
            is_full = len(self._jobs) >= settings.workers + settings.queue
            job = Job(kind, self._usual.get(kind, 0.0), came=self.now())
            if not is_full and seconds <= self._longest(job):
                self._jobs[job] = None
                return job
        raise busy(seconds)

    def _longest(self, job: Job) -> float:
        """Seconds that a job may wait; how long work takes that was never done is not known."""
        share = self.settings.wait_share * job.expected
        return min(self.settings.max_wait, share or math.inf)

    def _measured(self, work: Callable[[], Result], job: Job) -> Result:
        job.began = self.now()
        self.meters.waited.observe(job.began - job.came)
        try:
            with self.meters.computing.track_inprogress(), self.meters.work.time():
                return work()
        finally:
            seconds = self.now() - job.began
            with self._lock:
                usual = self._usual.get(job.kind, seconds)
                self._usual[job.kind] = usual + LATEST * (seconds - usual)
            self.tidy()

    def _ended(self, job: Job) -> None:
        """A piece of work is done, or was never begun."""
        self.meters.accepted.dec()
        with self._lock:
            del self._jobs[job]


def busy(seconds: float) -> errors.Busy:
    """The refusal that says when a worker should be free."""
    after = max(1, math.ceil(seconds))
    message = Message(
        "busy",
        "every worker is busy and the queue is full; try again in {seconds} s",
        seconds=after,
    )
    return errors.Busy(message, after=after)


def wait(jobs: Iterable[Job], n_worker: int, now: float) -> float:
    """Seconds until one of so many workers has done its part of all jobs, in their order."""
    left = [max(0.0, job.expected - (now - job.began)) for job in jobs if job.began is not None]
    free = sorted([*left, *[0.0] * n_worker], reverse=True)[:n_worker]  # when each worker is free
    heapq.heapify(free)
    for job in jobs:
        if job.began is None:
            heapq.heapreplace(free, free[0] + job.expected)
    return free[0]
