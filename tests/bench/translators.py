"""What decoding a target costs: with its attention kept, against transformers' `generate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
import transformers as hf
from attention_atlas.model.generate import translating
from attention_atlas.model.hub.opening import adapt
from attention_atlas.model.languages import Frame
from attention_atlas.model.protocol import Translator

from tests.bench.rows import Plan, Row

SMALL: dict[str, Any] = {
    "vocab_size": 32_128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_heads": 8,
}  # T5-small
SMALL |= {"num_layers": 6, "num_decoder_layers": 6, "decoder_start_token_id": 0}
BEGIN, NEVER = 0, -1
N_SOURCE, GOAL = 40, 1.3


def pair() -> tuple[Any, Translator]:
    """A random T5 as transformers runs it, and the same weights through our attention."""
    torch.manual_seed(0)
    theirs, other = (hf.T5ForConditionalGeneration(hf.T5Config(**SMALL)).eval() for _ in range(2))
    other.load_state_dict(theirs.state_dict())
    ours = adapt(other)
    assert isinstance(ours, Translator)
    return theirs, ours


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, so that what else the machine does is not counted."""
    began = time.process_time()
    work()
    return time.process_time() - began


@torch.inference_mode()
def ratio(n_token: int, rounds: int) -> float:
    """Our time for a target of `n_token` tokens / that of `generate`, one thread, in turns."""
    n_thread = torch.get_num_threads()
    torch.set_num_threads(1)
    theirs, ours = pair()
    source = torch.randint(5, 30_000, (1, N_SOURCE))
    frame, length = Frame(BEGIN, None, NEVER), {"max_new_tokens": n_token}
    values = []
    for _ in range(rounds):
        decoded = cpu_seconds(
            lambda: list(translating(ours, source, frame, max_tokens=n_token + 1))
        )
        generated = cpu_seconds(
            lambda: theirs.generate(
                source, **length, min_new_tokens=n_token, do_sample=False, use_cache=True
            )
        )
        values.append(decoded / generated)
    torch.set_num_threads(n_thread)
    return median(values)


def rows(plan: Plan) -> Iterator[Row]:
    n_token = 900 if plan.rounds > 2 else 60
    what = f"T5-small's sizes, {n_token} tokens decoded, cross-attention kept / generate"
    yield Row(what, ratio(n_token, min(plan.rounds, 3)), "x", goal=GOAL)
