"""A model opened in a child process first, under a limit of memory and a deadline.

The files are a stranger's: a config of 600 bytes can ask for 17 GB, a tokenizer can multiply a
letter by a billion, a header can keep a parser busy for ever. The child opens and tries the model
as this process would, and reports; only a model that passed is opened here, from its files again:
what the child found out is not taken over, since who breaks into the child could say anything.
Children are forked by multiprocessing's fork server, which has imported transformers once and
started no thread. It starts with the first model: who opens none does not give it memory.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from attention_atlas.model.hub import folder
from attention_atlas.model.hub.folder import Limits
from attention_atlas.model.hub.progress import Progress, Step
from attention_atlas.model.hub.reasons import BadModel

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

PAUSE = 0.05  # seconds between two looks at whether somebody still waits
SPARE = 2_000_000_000  # bytes beside what the files may need
GROWTH = {".gguf": 12, ".safetensors": 4}  # bytes in memory by bytes of a file, at most
PLACES = ("XDG_CACHE_HOME", "HOME", "HF_HUB_OFFLINE", "HF_HOME")  # where the child looks
context = get_context("forkserver")
Tried = Callable[[Path, str, Limits, Progress], None]  # a function of a module


@dataclass(frozen=True)
class Guard:
    """How long an opening may take, how much memory, and whether anybody still waits for it."""

    seconds: float = 600.0
    memory: int | None = None  # bytes beside those of an idle process; None: by the files
    is_wanted: Callable[[], bool] = lambda: True


def rehearse(
    path: Path, name: str, limits: Limits, guard: Guard, progress: Progress, tried: Tried
) -> None:
    """Let `tried` open the model in a child process. Raises BadModel: its reason, or the limit."""
    context.set_forkserver_preload(["attention_atlas.model.hub.opening"])
    memory = guard.memory or allowance(path)
    ours, theirs = context.Pipe(duplex=False)
    job = {"path": str(path), "name": name, "limits": _plain(limits), "memory": memory}
    child = _started(_open, theirs, job | {"environment": _environment()}, tried)
    theirs.close()
    deadline = time.monotonic() + guard.seconds
    try:
        while True:
            if not guard.is_wanted():
                raise BadModel("failed", "nobody waits for it any more")
            if time.monotonic() > deadline:
                raise BadModel(
                    "too-slow",
                    "it was not open after {seconds} seconds (OPEN_SECONDS)",
                    seconds=f"{guard.seconds:g}",
                )
            if ours.poll(PAUSE) and _heard(ours, progress):
                return
    except EOFError:  # the child ended without a word
        child.join()
        raise _crashed(child.exitcode, memory) from None
    finally:
        ours.close()
        _ended(child)


def allowance(path: Path) -> int:
    """Bytes of memory that opening a folder or file may need; of sparse files, what is on disk."""
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
    need = sum(GROWTH.get(each.suffix, 0) * each.stat().st_blocks * 512 for each in files)
    free = folder.available_memory()
    return min(SPARE + need, free or SPARE + need)


def _heard(ours: Connection, progress: Progress) -> bool:
    """Pass a step on; True if the model passed. Raises what the child says, or EOFError."""
    message: dict[str, Any] = json.loads(ours.recv_bytes(maxlength=100_000))
    if "step" in message:
        progress(Step(**message["step"]))
        return False
    if "template" in message:
        raise BadModel(message["reason"], message["template"], **message["values"])
    return True


def _crashed(code: int | None, memory: int) -> BadModel:
    name = signal.Signals(-code).name if code is not None and code < 0 else str(code)
    return BadModel(
        "no-memory",
        "opening it needed more than {megabytes} MB of memory, or crashed ({signal})",
        megabytes=f"{memory / 1e6:,.0f}",
        signal=name,
    )


def _plain(limits: Limits) -> dict[str, Any]:
    """Limits as JSON; the child computes on the processor, whatever the device is."""
    return asdict(replace(limits, device=None))


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PLACES if name in os.environ}


# In the child.


def _started(work: Callable[..., None], *arguments: Any) -> Any:
    child = context.Process(target=work, args=arguments, daemon=True)
    child.start()
    return child


def _ended(child: Any) -> None:
    """Not even a process that ignores signals goes on."""
    if child.is_alive():
        child.kill()
    child.join()
    child.close()


def _open(theirs: Connection, job: dict[str, Any], tried: Tried) -> None:
    """Open the model and try it; say each step, and at last why not, or that it passed."""
    os.environ.update(job["environment"])
    torch.set_num_threads(1)
    limit_memory(job["memory"])

    def say(**message: Any) -> None:
        theirs.send_bytes(json.dumps(message).encode())

    try:
        tried(
            Path(job["path"]),
            job["name"],
            Limits(**job["limits"]),
            lambda step: say(step=asdict(step)),
        )
        say(passed=True)
    except BadModel as error:
        values = {name: str(value) for name, value in error.values.items()}
        say(reason=error.reason, template=error.template, values=values)
    finally:
        theirs.close()
        os._exit(0)  # at once: what a library would do at the exit may hang


def limit_memory(n_byte: int) -> None:
    """No more address space than there is now and so many bytes."""
    if resource is None:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # no Linux: what an idle process has is not known
        return
    limit = pages * resource.getpagesize() + n_byte
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
