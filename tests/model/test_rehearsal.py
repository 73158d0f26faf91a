"""Models that mean harm are refused in words, in little time and memory; good ones pass."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attention_atlas.model.hub import opening, rehearsal, tokenizer_files
from attention_atlas.model.hub.folder import Limits, read_json
from attention_atlas.model.hub.leftovers import making, sweep
from attention_atlas.model.hub.library import Library
from attention_atlas.model.hub.numbers import check_numbers
from attention_atlas.model.hub.opening import open_model, tried
from attention_atlas.model.hub.progress import Step
from attention_atlas.model.hub.reasons import BadModel, unexpected
from attention_atlas.model.hub.rehearsal import Guard, allowance, context, rehearse
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from safetensors.torch import load_file, save_file

from tests import saved
from tests.hostile.folders import HOSTILE, ODD
from tests.hostile.headers import header, row
from tests.hostile.packed import GGUF
from tests.hostile.tokenizers import tokenizer
from tests.spoilt import WEIGHTS

CPU = torch.device("cpu")
GIGABYTE = 1_000_000_000
OURS = 8 * GIGABYTE  # of address space that this process may take beside what it has
LIBRARY = re.compile(r"Traceback|Error\b|Exception|torch\.|transformers\.|pydantic|panicked")


@pytest.fixture
def bounded() -> Iterator[None]:
    """No more address space for this process than it has and some gigabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + OURS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", HOSTILE)
def test_harm_is_refused_in_our_words(tmp_path: Path, name: str) -> None:
    path = HOSTILE[name](tmp_path / "mine")
    guard = Guard(seconds=120, memory=GIGABYTE)
    with pytest.raises(BadModel) as caught:
        open_model(str(path), CPU, guard=guard)
    assert not LIBRARY.search(caught.value.message), caught.value.message
    assert caught.value.reason != "too-slow"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_opened_or_refused_in_our_words(tmp_path: Path, name: str) -> None:
    path = ODD[name](tmp_path / "mine")
    try:
        loaded = open_model(str(path), CPU, guard=Guard(seconds=120, memory=GIGABYTE))
    except BadModel as error:
        assert not LIBRARY.search(error.message), error.message
        assert error.reason not in ("too-slow", "no-memory")
        return
    for text in ("a river bank", "a § river \u202e bank"):
        with suppress(BadInput):  # one of its tokens has no vector
            records = [run(loaded, Spec(text)).records for _ in range(2)]
            for kind, record in records[0].items():
                assert record.attn.isfinite().all()
                assert record.attn.equal(records[1][kind].attn), "a function of its text"


@pytest.mark.usefixtures("bounded")
def test_a_tokenizer_that_passes_short_texts_is_tried_with_long_ones(tmp_path: Path) -> None:
    """Steps that grow with a text's length to the second power end no worker later."""
    backend = SimpleNamespace(calls=[])

    class Explodes:
        def __call__(self, text: str, verbose: bool) -> dict[str, list[int]]:
            backend.calls.append(len(text))
            return {"input_ids": [0] * (len(text) if len(text) < 1_000 else 101 * len(text))}

    tokenizer_files.check_probe(Explodes())
    with pytest.raises(BadModel, match="takes very long for a text of 20,000 characters"):
        tokenizer_files.check_long(Explodes())
    assert len(backend.calls) == 2


def test_files_exchanged_behind_the_child_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passed is one thing, what would be opened in the server another."""
    path = saved.bert(tmp_path / "mine")

    def exchanged(folder: Path, *_: Any) -> None:
        other = saved.bert(tmp_path / "other") / "config.json"
        stat = (folder / "config.json").stat()
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of the same time and length
        other.rename(folder / "config.json")

    monkeypatch.setattr(opening, "rehearse", exchanged)
    with pytest.raises(BadModel, match="its files were changed while it was opened"):
        open_model(str(path), CPU, guard=Guard())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved.bert(tmp_path_factory.mktemp("good") / "bert")


def test_a_good_model_passes_and_tells_its_steps(folder: Path) -> None:
    steps: list[Step] = []
    loaded = open_model(str(folder), CPU, progress=steps.append, guard=Guard())
    assert loaded.n_parameters > 0
    assert [step.stage for step in steps] == ["looking", "loading", "trying"]


@pytest.mark.parametrize(
    "make", [GGUF["an array of 2⁶⁰ texts"], header({"a": row([2**60], [0, 4])})]
)
def test_counts_are_checked_before_anything_is_read(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """In this process, without a child: nothing long is begun."""
    with pytest.raises(BadModel):
        open_model(str(make(tmp_path / "mine")), CPU)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_named(folder: Path, tmp_path: Path, value: float) -> None:
    saved.bert(tmp_path / "mine")
    weights = load_file(tmp_path / "mine" / WEIGHTS)
    name = "bert.encoder.layer.1.output.dense.weight"
    weights[name][3, 2] = value
    save_file(weights, tmp_path / "mine" / WEIGHTS, {"format": "pt"})
    with pytest.raises(BadModel, match=re.escape(f"{name} holds numbers that are not finite")):
        open_model(str(tmp_path / "mine"), CPU)


def test_a_tokenizer_that_replaces_by_little_is_opened(tmp_path: Path) -> None:
    step = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
    make = tokenizer(normalizer={"type": "Sequence", "normalizers": [step, step]})
    assert open_model(str(make(tmp_path / "mine")), CPU)


# The child itself: what it does in place of opening a model.


def asleep(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def greedy(theirs: Any, job: dict[str, Any], tried: Any) -> None:
    rehearsal.limit_memory(job["memory"])
    bytearray(10 * job["memory"])


def killed(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    return lambda work: monkeypatch.setattr(rehearsal, "_open", work)


def rehearsed(folder: Path, guard: Guard) -> None:
    rehearse(folder, "x", Limits(), guard, lambda step: None, tried)


def children() -> list[Any]:
    return [child for child in context.active_children() if child.is_alive()]


def test_a_child_that_does_not_end_is_killed_at_the_deadline(instead: Any, folder: Path) -> None:
    instead(asleep)
    with pytest.raises(BadModel, match="not open after 0.5 seconds") as caught:
        rehearsed(folder, Guard(seconds=0.5))
    assert caught.value.reason == "too-slow" and not children()


@pytest.mark.parametrize(("work", "name"), [(greedy, "1"), (killed, "SIGKILL")])
def test_a_child_that_takes_too_much_is_said_to(
    instead: Any, folder: Path, work: Callable[..., None], name: str
) -> None:
    instead(work)
    with pytest.raises(BadModel, match=rf"more than 300 MB of memory, or crashed \({name}\)"):
        rehearsed(folder, Guard(memory=300_000_000))


def test_nobody_waits_any_more(instead: Any, folder: Path) -> None:
    instead(asleep)
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    with pytest.raises(BadModel, match="nobody waits"):
        rehearsed(folder, Guard(is_wanted=lambda: not gone.is_set()))
    assert not children()


def test_one_that_is_stuck_holds_no_other(folder: Path, tmp_path: Path, instead: Any) -> None:
    library = Library(CPU, at_most=4, limits=Limits(), guard=Guard())
    plain, gone = rehearsal._open, threading.Event()
    instead(asleep)
    errors: list[BadModel] = []

    def stuck() -> None:
        try:
            library.open(str(saved.bert(tmp_path / "stuck")), is_wanted=lambda: not gone.is_set())
        except BadModel as error:
            errors.append(error)

    thread = threading.Thread(target=stuck)
    thread.start()
    while not children():
        time.sleep(0.01)
    instead(plain)
    assert library.open(str(folder)).name == "bert"
    assert thread.is_alive()
    gone.set()
    thread.join(60)
    assert [error.reason for error in errors] == ["failed"]


def test_memory_is_by_what_files_have_on_the_disk(tmp_path: Path) -> None:
    path = GGUF["20 GB of nothing"](tmp_path / "mine")
    assert allowance(path) < 3 * GIGABYTE
    (tmp_path / "model.safetensors").write_bytes(b"x" * 10_000_000)
    assert allowance(tmp_path) >= min(rehearsal.SPARE + 40_000_000, allowance(tmp_path))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (OSError(122, "Disk quota exceeded"), "the disk is full"),
        (OSError(30, "Read-only file system", "/home/me/cache/x"), "x cannot be written to"),
    ],
)
def test_a_disk_has_its_own_reason(error: OSError, says: str) -> None:
    reason = unexpected(error, "damaged", "something")
    assert reason.reason == "no-space" and says in reason.message and "/" not in reason.message


def test_what_a_killed_conversion_left_is_removed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "attention-atlas"
    ended = context.Process(target=os.getpid)
    ended.start()
    ended.join()
    for name in (f".making-{ended.pid}-a", "model-0123", ".making-x"):
        (cache / name).mkdir(parents=True)
    with making(cache) as mine:
        sweep()
        assert mine.is_dir()
        assert sorted(path.name for path in cache.iterdir()) == [
            mine.name,
            ".making-x",
            "model-0123",
        ]
    assert not mine.exists()


@pytest.mark.parametrize(
    "name",
    ["config.json", "adapter_config.json", "modules.json", "model.safetensors.index.json"],
)
def test_what_is_read_before_the_child_is_short(tmp_path: Path, name: str) -> None:
    """Of JSON in 100 MB, Python makes gigabytes."""
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 30_000_000)
    with pytest.raises(BadModel, match="is longer than 2"):
        read_json(tmp_path / name)


def test_a_long_key_is_not_copied_for_each_number_below_it() -> None:
    began = time.process_time()
    check_numbers({"x" * 1_000_000: [0] * 400_000})
    assert time.process_time() - began < 10, "it took minutes"
    with pytest.raises(BadModel, match=r"says x{20,60} 9{20}, which"):
        check_numbers({"x" * 1_000_000: int("9" * 20)})
