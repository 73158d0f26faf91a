"""Who may wait for a worker, and what keeps the event loop from turning."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from attention_atlas.app import errors
from attention_atlas.app.memory import PAUSE, SWITCH, Tidy
from attention_atlas.app.meters import Meters
from attention_atlas.app.settings import Settings
from attention_atlas.app.workers import Job, Workers, wait
from fastapi import FastAPI

from tests.asynchronous import awaited

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("running", "queued", "seconds"),
    [
        ([], [], 0),
        ([(9, 0)], [], 0),  # a worker is idle
        ([(9, 0), (4, 0)], [], 4),
        ([(9, 7), (4, 1)], [], 2),  # expected to take 9 s, began 7 s ago
        ([(9, 20), (4, 0)], [], 0),  # late: any time now
        ([(9, 0), (4, 0)], [3], 7),
        ([(9, 0), (4, 0)], [3, 3, 3], 10),
        ([], [5, 5, 5], 5),
    ],
)
def test_the_wait_is_that_for_the_first_free_worker(
    running: list[tuple[float, float]], queued: list[float], seconds: float
) -> None:
    jobs = [Job("a", expected, began=100 - elapsed) for expected, elapsed in running]
    assert wait([*jobs, *(Job("a", each) for each in queued)], 2, 100) == seconds


def test_who_would_wait_too_long_is_refused_though_the_queue_is_not_full() -> None:
    clock, release = [0.0], threading.Event()
    workers = Workers(Settings(workers=1, queue=9, max_wait=5), Meters(), lambda: clock[0])

    def slow() -> None:
        clock[0] += 4

    async def crowd() -> list[str]:
        await workers.compute(slow, "slow")
        held = [asyncio.ensure_future(workers.compute(release.wait, "slow")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Busy) as caught:  # two times 4 s
            await workers.compute(slow, "slow")
        release.set()
        await asyncio.gather(*held)
        return [caught.value.headers["Retry-After"], str(workers.expected_wait())]

    try:
        assert awaited(crowd) == ["8", "0.0"]
    finally:
        workers.close()


def test_a_wait_is_at_most_a_share_of_what_such_work_takes() -> None:
    """The clock is the test's own: no machine is too slow for this."""
    clock, begun, release = [0.0], threading.Event(), threading.Event()
    settings = Settings(workers=1, queue=9, max_wait=9999, wait_share=0.5)
    workers = Workers(settings, Meters(), lambda: clock[0])

    def long() -> None:
        clock[0] += 4000

    def hold() -> None:
        begun.set()
        release.wait()

    def quick() -> None:
        clock[0] += 0.01

    async def crowd() -> list[str]:
        await workers.compute(long, "long")
        await workers.compute(quick, "quick")
        held = asyncio.ensure_future(workers.compute(hold, "long"))  # 4000 s are expected
        await asyncio.to_thread(begun.wait)
        refused = []
        with pytest.raises(errors.Busy) as caught:  # may wait 2000 s
            await workers.compute(long, "long")
        refused.append(caught.value.headers["Retry-After"])
        clock[0] += 2500  # 1500 s are left
        with pytest.raises(errors.Busy) as caught:  # may wait 5 ms
            await workers.compute(quick, "quick")
        refused.append(caught.value.headers["Retry-After"])
        admitted = asyncio.ensure_future(workers.compute(long, "long"))
        await asyncio.sleep(0)
        assert not admitted.done()
        release.set()
        await asyncio.gather(held, admitted)
        return refused

    try:
        assert awaited(crowd) == ["4000", "1500"]
    finally:
        release.set()
        workers.close()


def test_who_waited_longer_than_was_expected_is_given_up() -> None:
    """While the worker goes on: its work is late, so the wait was expected to be short."""
    clock, release = [0.0], threading.Event()
    workers = Workers(Settings(workers=1, queue=9, wait_share=0.5), Meters(), lambda: clock[0])

    def quick() -> None:
        clock[0] += 0.01

    async def crowd() -> list[float]:
        await workers.compute(quick, "quick")
        held = asyncio.ensure_future(workers.compute(release.wait, "new"))  # nothing is expected
        await asyncio.sleep(0)
        with pytest.raises(errors.Busy):
            await workers.compute(quick, "quick")
        held_then = not held.done()
        release.set()
        await held
        return [held_then, len(workers._jobs)]

    try:
        assert awaited(crowd) == [True, 0]
    finally:
        release.set()
        workers.close()


def test_work_that_fails_or_is_cancelled_leaves_no_job() -> None:
    workers, release = Workers(Settings(workers=1, queue=9), Meters()), threading.Event()

    async def leaving() -> None:
        with pytest.raises(ZeroDivisionError):
            await workers.compute(lambda: 1 // 0)
        held = asyncio.ensure_future(workers.compute(release.wait))
        queued = asyncio.ensure_future(workers.compute(release.wait))
        await asyncio.sleep(0)
        queued.cancel()
        release.set()
        await held

    awaited(leaving)
    workers.pool.shutdown(wait=True)
    assert not workers._jobs


def test_free_memory_is_given_back_now_and_then() -> None:
    clock, acts = [0.0], list[float]()
    tidy = Tidy(lambda: clock[0], lambda: acts.append(clock[0]))
    for _ in range(10):
        tidy()
        clock[0] += PAUSE / 2
    assert acts == [PAUSE, 2 * PAUSE, 3 * PAUSE, 4 * PAUSE]


def test_the_event_loop_turns_while_a_page_is_made(
    app: FastAPI, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates, has_turned = app.state.templates, threading.Event()
    plain = templates.TemplateResponse

    def slow(*arguments: Any, **options: Any) -> Any:
        assert has_turned.wait(60), "the event loop waits for the template"
        return plain(*arguments, **options)

    monkeypatch.setattr(templates, "TemplateResponse", slow)

    def page(path: str, status: int) -> None:
        assert client.get(path, headers={"accept": "text/html"}).status_code == status

    for path, status in (("/positions", 200), ("/nothing", 404)):
        has_turned.clear()
        asking = threading.Thread(target=page, args=(path, status))
        asking.start()
        assert client.get("/healthz").status_code == 200
        has_turned.set()
        asking.join()


# In processes of their own: what is changed is changed for a whole process.


def measured(script: str) -> float:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


SHARED = """
import sys
from attention_atlas.app.memory import share
share()
print(sys.getswitchinterval())
"""


def test_a_thread_that_computes_gives_way_soon() -> None:
    """So that the event loop gets its turn; Python's own interval is ten times as long."""
    assert measured(SHARED) == pytest.approx(SWITCH) and 10 * SWITCH <= 0.005


KEPT = """
import ctypes, sys
from attention_atlas.app.memory import give_back
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before, kept = resident(), []
for _ in range(400):  # large things that go, small ones between them that stay
    large = [bytes(60_000) for _ in range(10)]
    kept.append([bytes(600) for _ in range(10)])
    kept.append(large.pop())
    del large
kept = [each for each in kept if isinstance(each, list)]
full = resident() - before
give_back()
print((resident() - before) / full)
"""


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="malloc_trim is a function of glibc: other systems return memory in their own way",
)
def test_what_lies_free_between_small_things_is_given_back() -> None:
    assert measured(KEPT) < 0.7


SETTLED = """
import gc, torch
from attention_atlas.app.memory import settle
gc.collect()
before = len(gc.get_objects())
settle()
print(len(gc.get_objects()) / before)
"""


def test_collections_look_at_what_came_after_the_start() -> None:
    assert measured(SETTLED) < 0.05 and gc.get_freeze_count() == 0, "only in a server"
