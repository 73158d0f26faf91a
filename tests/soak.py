"""python -m tests.soak: one server at twice what it can do, then for long; `make soak`.

Nothing else should run meanwhile: server and client share the cores. Exits with 1 where a goal is
missed; ends by itself, and its server with it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx2

from tests import saved
from tests.bench.sections import measured_by, write
from tests.processes import ends_with_its_parent, leave_when_asked, stop
from tests.wire import Connections

TITLE = "Load"
TABLE = "| what | measured | goal |\n|---|---:|---|"
WORKERS = max(1, (os.cpu_count() or 2) - 1)  # the last core is for the event loop and the client
SETTINGS = {
    "WORKERS": str(WORKERS),
    "QUEUE": str(WORKERS),
    "WAIT_SHARE": "0.5",
    "THREADS": "1",
    "CACHE_MB": "64",  # full within a minute
    "MAX_MODELS": "2",  # so that opening a third closes one
    "HF_HUB_OFFLINE": "1",
    "LOG_FORMAT": "json",
}
WORDS = "river bank water money walked slowly towards the old house saw a light in it"
PAGES = ("/", "/explore", "/models", "/models/bert", "/learn", "/compare", "/positions", "/fill")
SPARE = 30e6  # bytes that memory may move without a leak
KEPT = 2.0  # seconds that a connection is used again; the server closes it after five
LEVEL = 60.0  # seconds until memory is level
SPARE_SECONDS = 900.0  # to start, to open models and to stop, beside what was asked for

Act = Callable[[], Coroutine[Any, Any, Any]]


class Goal(NamedTuple):
    """What was measured, and the most that it may be."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def is_missed(self) -> bool:
        return self.limit is not None and self.value > self.limit

    def row(self) -> str:
        goal = "" if self.limit is None else f"≤ {self.limit:,.4g} {self.unit}"
        verdict = f", {'missed' if self.is_missed else 'met'}" if goal else ""
        return f"| {self.what} | {self.value:,.4g} {self.unit} | {goal}{verdict} |"


class Answer(NamedTuple):
    status: int
    seconds: float


class Spent(NamedTuple):
    """Seconds of so many pieces of work: waiting for a worker, and on it."""

    n: float
    waiting: float
    working: float

    def since(self, before: Spent) -> Spent:
        """A piece of work since then, on average."""
        n = max(1, self.n - before.n)
        return Spent(n, (self.waiting - before.waiting) / n, (self.working - before.working) / n)


class Server:
    """The server, its process and what it says of itself."""

    def __init__(
        self, process: subprocess.Popen[str], client: httpx2.AsyncClient, wire: Connections
    ) -> None:
        self.process = process
        self.client = client
        self.wire = wire
        self.texts = random.Random(0)

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        began = time.perf_counter()
        answer = await self.client.request(method, path, **options)
        return Answer(answer.status_code, time.perf_counter() - began)

    async def get(self, path: str) -> Answer:
        """By the client that costs little: it shares the cores with the server."""
        began = time.perf_counter()
        status, _ = await self.wire.get(path)
        return Answer(status, time.perf_counter() - began)

    async def health(self) -> Answer:
        return await self.get("/healthz")

    async def attention(self) -> Answer:
        """A text that nobody has asked for: a forward pass."""
        text = " ".join(self.texts.choices(WORDS.split(), k=24))
        fields = {"model": "bert", "text": text, "layer": 0, "head": 0, "format": "safetensors"}
        return await self.get(f"/api/v1/attention?{urlencode(fields)}")

    def resident(self) -> float:
        """Bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * float(re.findall(r"VmRSS:\s+(\d+)", status)[0])

    async def held(self) -> float:
        """Bytes of memory beside the caches, which may grow to their bound."""
        text = await self.metrics()
        caches = re.findall(r"(?m)^attention_atlas_(?:cache|hidden|answer)_bytes (\S+)", text)
        return self.resident() - sum(map(float, caches))

    async def metrics(self) -> str:
        return (await self.wire.get("/metrics"))[1].decode()

    async def spent(self) -> Spent:
        """On all pieces of work until now."""
        text = await self.metrics()

        def value(name: str) -> float:
            return float(re.findall(rf"(?m)^attention_atlas_{name} (\S+)", text)[0])

        waited, worked = value("waited_seconds_sum"), value("work_seconds_sum")
        return Spent(value("work_seconds_count"), waited, worked)


@asynccontextmanager
async def served(cache: str, **others: str) -> AsyncIterator[Server]:
    env = os.environ | SETTINGS | {"PORT": "0", "XDG_CACHE_HOME": cache, "HOSTS": ""} | others
    command = [sys.executable, "-m", "attention_atlas.app"]
    log = Path(cache) / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=env, stderr=out, text=True, preexec_fn=ends_with_its_parent
        )
    try:
        url = await address(process, log)
        limits = httpx2.Limits(max_connections=None, keepalive_expiry=KEPT)
        async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=120) as client:
            with Connections(url, KEPT) as wire:
                yield Server(process, client, wire)
    finally:
        stop(process)


async def address(process: subprocess.Popen[str], log: Path) -> str:
    while process.poll() is None:
        if match := re.search(r"is ready: (http://[\w.:]+)", log.read_text()):
            return match[1]
        await asyncio.sleep(0.1)
    raise RuntimeError(log.read_text())


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so many of all do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("inf")


async def every(
    seconds: float, act: Callable[[], Coroutine[Any, Any, Any]], pause: float
) -> list[Any]:
    """Begin `act` again and again, whether the last has ended or not: what each gave."""
    tasks, end = [], time.perf_counter() + seconds
    for n in itertools.count():
        begin = end - seconds + n * pause
        if begin >= end:
            break
        await asyncio.sleep(max(0, begin - time.perf_counter()))
        tasks.append(asyncio.ensure_future(act()))
    return await asyncio.gather(*tasks)


async def unloaded(server: Server, n: int) -> tuple[float, Spent, float]:
    """p99 of one request after the other, a piece of their work, and how many a second all workers
    answer. As under load, /healthz is asked meanwhile by the same client."""
    for _ in range(n // 10 + 2):
        await server.attention()
    before, alone = await server.spent(), list[float]()

    async def one_by_one() -> None:
        alone.extend([(await server.attention()).seconds for _ in range(n)])

    asking = asyncio.ensure_future(one_by_one())
    while not asking.done():
        await server.health()
        await asyncio.wait([asking], timeout=0.1)
    await asking
    spent = (await server.spent()).since(before)
    began = time.perf_counter()

    async def one_worker() -> None:
        for _ in range(n):
            await server.attention()

    await asyncio.gather(*(one_worker() for _ in range(WORKERS)))
    return quantile(alone, 0.99), spent, WORKERS * n / (time.perf_counter() - began)


async def overloaded(server: Server, seconds: float, n: int) -> list[Goal]:
    """Twice as many requests as can be answered, all of them new."""
    alone, usual, capacity = await unloaded(server, n)
    before, spent = await server.held(), await server.spent()
    answers, health, memory = await asyncio.gather(
        every(seconds, server.attention, 1 / (2 * capacity)),
        every(seconds, server.health, 0.1),
        every(seconds, server.held, max(1, seconds / 20)),
    )
    accepted = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer.seconds for answer in answers if answer.status == 503]
    others = len(answers) - len(accepted) - len(refused)
    late, spent = quantile(accepted, 0.99), (await server.spent()).since(spent)
    return [
        Goal("what all workers answer", capacity, "requests/s"),
        Goal(f"twice that for {seconds:.0f} s: accepted", len(accepted), "requests"),
        Goal("refused with 503", len(refused), "requests"),
        Goal("answered otherwise", others, "requests", 0),
        Goal("p99 of one request alone", 1000 * alone, "ms"),
        Goal("p99 of the accepted / of one alone", late / alone, "x", 3),
        Goal("mean wait for a worker / mean work of one alone", spent.waiting / usual.working, "x"),
        Goal("mean work / mean work of one alone", spent.working / usual.working, "x"),
        Goal("p99 of a 503", 1000 * quantile(refused or [0], 0.99), "ms", 100),
        Goal("p99 of /healthz", 1000 * quantile([a.seconds for a in health], 0.99), "ms", 100),
        Goal("memory more, beside caches", (max(memory) - before) / 1e6, "MB", 2 * SPARE / 1e6),
    ]


async def lasting(server: Server, seconds: float, folders: Sequence[Path]) -> list[Goal]:
    """Pages, requests, streams that are left and models that come and go, side by side."""
    for folder in folders:  # the first brings transformers into memory
        await server.ask("POST", "/api/v1/models", json={"model": str(folder)})
    end, counts = time.perf_counter() + seconds, {"requests": 0, "wrong": 0, "openings": 0}
    memory: list[tuple[float, float]] = []

    async def asking(act: Callable[[], Coroutine[Any, Any, int]], name: str) -> None:
        while time.perf_counter() < end:
            status = await act()
            counts[name] += 1
            counts["wrong"] += status not in (200, 503)
            await asyncio.sleep(0.05)

    async def watching() -> None:
        while time.perf_counter() < end:
            memory.append((time.perf_counter(), await server.held()))
            await asyncio.sleep(min(1, seconds / 40))

    models, pages = itertools.cycle(folders), itertools.cycle(PAGES)

    async def page() -> int:
        return (await server.ask("GET", next(pages))).status

    async def attention() -> int:
        return (await server.attention()).status

    async def opening() -> int:
        body = {"model": str(next(models))}
        return (await server.ask("POST", "/api/v1/models", json=body)).status

    acts = ((page, "requests"), (attention, "requests"), (lambda: left(server), "requests"))
    await asyncio.gather(*(asking(*act) for act in acts), asking(opening, "openings"), watching())
    return [
        Goal(f"{seconds:.0f} s of all pages: requests", counts["requests"], "requests"),
        Goal("models opened, closing others", counts["openings"], "openings"),
        Goal("answered otherwise than 200 or 503", counts["wrong"], "requests", 0),
        Goal("memory more than after a minute", growth(memory) / 1e6, "MB", SPARE / 1e6),
    ]


async def left(server: Server) -> int:
    """A stream whose client goes after its first event."""
    body = {"model": "gpt", "text": "The river", "stream": True, "max_new_tokens": 30}
    async with server.client.stream("POST", "/api/v1/generate", json=body) as answer:
        async for _ in answer.aiter_bytes():
            break
    return answer.status_code


def growth(memory: Sequence[tuple[float, float]]) -> float:
    """The median of the last tenth, minus that of a tenth after the first minute or third."""
    first, last = memory[0][0], memory[-1][0]
    level = first + min(LEVEL, (last - first) / 3)
    settled = [held for when, held in memory if when >= level]
    n = max(1, len(settled) // 10)
    return median(settled[-n:]) - median(settled[:n])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="at twice the capacity")
    parser.add_argument("--minutes", type=float, default=10, help="of all pages")
    parser.add_argument("--requests", type=int, default=300, help="to know the capacity by")
    parser.add_argument("--write", action="store_true", help="into docs/bench.md too")
    return parser.parse_args()


async def measured(asked: argparse.Namespace) -> list[Goal]:
    longest = asked.seconds + 60 * asked.minutes + SPARE_SECONDS
    with tempfile.TemporaryDirectory() as cache:
        folders = [saved.bert(Path(cache) / f"model-{n}") for n in range(3)]
        async with asyncio.timeout(longest), served(cache) as server:
            goals = await overloaded(server, asked.seconds, asked.requests)
            goals += await lasting(server, 60 * asked.minutes, folders)
    return goals


def main() -> int:
    leave_when_asked()
    request = arguments()
    goals = asyncio.run(measured(request))
    table = "\n".join((TABLE, *(goal.row() for goal in goals)))
    text = f"{measured_by('make soak')}\n\n{table}\n"
    sys.stdout.write(text)
    if request.write:
        write(TITLE, text)
    return int(any(goal.is_missed for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
