"""The soak's own parts: what it measures with. `make soak` is the soak."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import soak
from tests.asynchronous import awaited
from tests.bench import sections

ROOT = Path(__file__).parents[1]


def test_quantiles_and_verdicts() -> None:
    assert soak.quantile(list(range(100)), 0.99) == 99
    assert soak.quantile([1.0], 0.99) == 1 and soak.quantile([], 0.5) == float("inf")
    met, missed = soak.Goal("a", 2.5, "x", 3), soak.Goal("b", 3.5, "x", 3)
    assert met.row() == "| a | 2.5 x | ≤ 3 x, met |" and missed.is_missed
    assert soak.Goal("c", 1e9, "requests").row().endswith("|  |")


@pytest.mark.parametrize(("slope", "grown"), [(0, 0), (1000, 450_000)])
def test_growth_is_that_after_the_first_minute(slope: float, grown: float) -> None:
    memory = [(float(t), 1e9 * (t < 30) + slope * t) for t in range(600)]
    assert soak.growth(memory) == pytest.approx(grown, rel=0.1)


def test_requests_begin_in_time_though_the_last_has_not_ended() -> None:
    async def all_of_them() -> list[float]:
        began: list[float] = []

        async def slow() -> None:
            began.append(time.perf_counter())
            await asyncio.sleep(0.4)

        await soak.every(0.2, slow, 0.02)
        return began

    began = awaited(all_of_them)
    assert len(began) == 10 and began[-1] - began[0] < 0.4


def test_the_server_is_asked_and_its_memory_read(tmp_path: Path) -> None:
    async def asked() -> tuple[int, int, float, int]:
        async with soak.served(str(tmp_path)) as server:
            first, gone = await server.attention(), await soak.left(server)
            return first.status, gone, await server.held(), server.process.pid

    status, gone, held, pid = awaited(asked)
    assert (status, gone) == (200, 200) and 1e8 < held < 1e10
    assert not Path(f"/proc/{pid}").exists()


def test_a_section_replaces_its_own_and_no_other() -> None:
    report = "# Bench\n\n| a |\n\n## Load\n\nold\n\n## Contract\n\nkept\n"
    text = sections.replaced(report, "Load", "new\n")
    assert text == "# Bench\n\n| a |\n\n## Contract\n\nkept\n\n## Load\n\nnew\n"
    assert sections.replaced(text, "Load", "new") == text
    assert sections.sections_of(text) == "\n## Contract\n\nkept\n\n## Load\n\nnew\n"


ORPHAN = """
import subprocess, sys, time
from tests.processes import ends_with_its_parent
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
process = subprocess.Popen(sleeper, preexec_fn=ends_with_its_parent)
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is of Linux")
def test_a_server_that_is_measured_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", ORPHAN]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
