"""What a sweep of the Lab costs: a head in each row of a batch, against a run for each head."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
from attention_atlas.model import zoo
from attention_atlas.model.analysis import lab
from attention_atlas.model.analysis.lab import LogitDifference, ReadText
from attention_atlas.model.hub.library import packaged
from attention_atlas.model.hub.opening import open_model
from attention_atlas.model.spec import Spec
from attention_atlas.model.tape import Edit
from attention_atlas.model.zoo import Loaded
from torch import Tensor

from tests.bench.rows import Plan, Row
from tests.bench.text import passage

CPU = torch.device("cpu")
TOKENS = 16
IOI = "When John and Mary went to the shops, John gave the bag to"  # 14 tokens of SmolLM2
REAL = "SmolLM2-135M-Instruct"  # make pretrained installs it
LEAST = 3.0  # times as fast as single runs
MOST_SECONDS, MOST_SECONDS_REAL = 3.0, 60.0
SAMPLE = 24  # single runs that are timed; the rest of a model's heads take as long


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def single(text: ReadText, metric: LogitDifference, given: list[Tensor], place: int) -> Tensor:
    """A run with one head replaced."""
    [kind] = text.loaded.kinds
    layer, head = divmod(place, text.loaded.shape(kind)[1])
    where = lab.selections(text, kind, "heads")[head : head + 1]
    return lab.measured(text, metric, [Edit("replace", kind, layer, z=given[layer], where=where)])


@torch.inference_mode()
def sweeps(loaded: Loaded, words: str, most: float, rounds: int) -> Iterator[Row]:
    """Seconds of a sweep over layers and heads, and of as many single runs."""
    [kind] = loaded.kinds
    text = lab.text_of(loaded, Spec(words))
    metric = lab.metric_of(text, position=len(text.sequences["source"]) - 2)
    given = lab.replacements("zero", kind, text)
    n_layer, n_head = loaded.shape(kind)
    n = n_layer * n_head
    places = range(0, n, max(1, n // SAMPLE))
    batched, alone = [], []
    for _ in range(rounds):  # in turns, so that a slow moment falls on both
        batched.append(seconds(lambda: list(lab.sweep(text, metric, kind, given, "heads"))))
        alone += [seconds(lambda i=place: single(text, metric, given, i)) for place in places]
    ours, each = median(batched), median(alone)
    what = f"{loaded.name}, {text.n_token} tokens: sweep over {n_layer} × {n_head} heads"
    yield Row(what, ours, "s", goal=most)
    yield Row(f"{what}: {n} single runs / sweep", n * each / ours, "x", least=LEAST)


def rows(plan: Plan) -> Iterator[Row]:
    """The bundled models of one text, and a real one where it is installed."""
    for name in ("bert", "gpt"):
        loaded = zoo.load(name, CPU)
        words = passage(TOKENS, loaded.tokenizer)
        yield from sweeps(loaded, words, MOST_SECONDS, plan.rounds)
    if REAL in packaged():
        real = open_model(packaged()[REAL], CPU)
        yield from sweeps(real, IOI, MOST_SECONDS_REAL, min(3, plan.rounds))
