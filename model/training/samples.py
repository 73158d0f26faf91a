"""What GPT writes after fixed prompts, unchosen, and whether it copies what it has read.

The prompts were written before any model continued them; every continuation goes into the card.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from attention_atlas.model.analysis.statistics import Measure, mean
from attention_atlas.model.generate import Sampling, generating
from attention_atlas.model.training.gpt_task import GPTTask
from attention_atlas.model.training.task import COPIED, trained
from attention_atlas.model.transformer import GPT
from attention_atlas.model.zoo import Loaded

PROMPTS = (
    "The capital of France is",
    "Once upon a time there was a little girl who",
    "The river flows through the city and",
    "She opened the door and saw",
    "In 1914 the war",
    "My brother and I went to the market to buy",
    "The king asked his daughter to",
    "Water is made of",
    "It was raining, so he",
    "The children were playing in the garden when",
)
N_NEW = 24  # tokens of a continuation
N_TEXT = 16  # random texts in which a segment is repeated
SAMPLED = Sampling(temperature=0.8, top_k=40, seed=0)


def continuations(loaded: Loaded, task: GPTTask) -> list[dict[str, str]]:
    """Each prompt with its greedy and its sampled continuation."""
    return [
        {
            "prompt": prompt,
            "greedy": _continued(loaded, task, prompt, Sampling()),
            "sampled": _continued(loaded, task, prompt, SAMPLED),
        }
        for prompt in PROMPTS
    ]


@torch.inference_mode()
def _continued(loaded: Loaded, task: GPTTask, prompt: str, sampling: Sampling) -> str:
    ids = torch.tensor([[task.end, *task.tokenizer.ids(prompt)]], device=loaded.device)
    model = trained(loaded, GPT)
    written = [
        token.id
        for token in generating(
            model, ids, max_new_tokens=N_NEW, sampling=sampling, ends={task.end}
        )
    ]
    return task.tokenizer.decode([i for i in written if i != task.end])


@torch.inference_mode()
def repeats(loaded: Loaded, task: GPTTask, data: Path) -> dict[str, Measure]:
    """The share of tokens predicted right when a segment of random tokens is read again.

    The first token of the repetition is left out: nothing announces it.
    """
    model, rng = trained(loaded, GPT), np.random.default_rng(4)
    shares = []
    for _ in range(N_TEXT):
        segment = torch.from_numpy(rng.integers(1, task.tokenizer.vocab_size, COPIED))
        ids = segment.repeat(2)[None].to(loaded.device)
        predicted = model(ids)[0].argmax(-1)[COPIED:-1]
        shares.append((predicted == ids[0, COPIED + 1 :]).double().mean().item())
    return {"repeated_tokens": mean(shares, "random texts, repeated once")}
