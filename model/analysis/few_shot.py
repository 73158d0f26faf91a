"""Zero, one, few examples in the prompt: what a decoder picks up from them, and which heads do it.

Brown et al. 2020 called it in-context learning; Olsson et al. 2022 found induction heads behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from attention_atlas.model import metrics
from attention_atlas.model.analysis import statistics
from attention_atlas.model.analysis.decoding import check_task
from attention_atlas.model.analysis.statistics import Measure
from attention_atlas.model.run import BadInput, check_has
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from numpy.random import Generator
from torch import Tensor

Made = tuple[str, str]  # a prompt, and the word that goes on with it
Head = tuple[int, int]  # layer, head

WORDS = """
house water money river school church country children mother father night summer winter
morning paper book story music table window garden mountain village forest island king queen
soldier doctor teacher friend animal horse bird fish tree flower stone iron gold silver light
fire snow rain wind sea road street bridge train market shop town city field farm land world
war peace law power work play dance song voice word letter name number hour week month year
red blue green white black brown small large young old cold warm dark strong early late
""".split()  # noqa: SIM905
N_PAIR, N_LIST, N_COPIED = 4, 6, 5
PERIOD = 50  # random tokens that are said twice
N_TEXT = 8  # such texts
AT_ONCE = 16  # prompts of one forward pass
N_OFF = 3  # heads that are switched off together


def pairs(rng: Generator, words: Sequence[str], n: int) -> Made:
    """Four pairs "A B", one a line, n times in new orders; then A: what follows is B."""
    chosen = _drawn(rng, words, 2 * N_PAIR)
    found = list(zip(chosen[:N_PAIR], chosen[N_PAIR:], strict=True))
    lines = [f" {a} {b}\n" for _ in range(n) for a, b in _shuffled(rng, found)]
    a, b = found[int(rng.integers(N_PAIR))]
    return f"{''.join(lines)} {a}", f" {b}"


def signs(rng: Generator, words: Sequence[str], n: int) -> Made:
    """The same pairs as "A = B": a sign stands before each B, so copying what follows A fails."""
    chosen = _drawn(rng, words, 2 * N_PAIR)
    found = list(zip(chosen[:N_PAIR], chosen[N_PAIR:], strict=True))
    lines = [f" {a} = {b}\n" for _ in range(n) for a, b in _shuffled(rng, found)]
    a, b = found[int(rng.integers(N_PAIR))]
    return f"{''.join(lines)} {a} =", f" {b}"


def repeated_list(rng: Generator, words: Sequence[str], n: int) -> Made:
    """A list of six words said n times, then begun again: what follows is its next word."""
    chosen = _drawn(rng, words, N_LIST)
    at = int(rng.integers(1, N_LIST))
    return "".join(f" {word}" for word in [*chosen * n, *chosen[:at]]), f" {chosen[at]}"


def copying(rng: Generator, words: Sequence[str], n: int) -> Made:
    """Lines of five words, a bar, and the same five, n of them with new words; then one to end."""
    lines = [_drawn(rng, words, N_COPIED) for _ in range(n + 1)]
    said = ["".join(f" {word}" for word in line) for line in lines]
    at = int(rng.integers(1, N_COPIED))
    begun = "".join(f" {word}" for word in lines[-1][:at])
    whole = "".join(f"{text} |{text}\n" for text in said[:-1])
    return f"{whole}{said[-1]} |{begun}", f" {lines[-1][at]}"


Pattern = Callable[[Generator, Sequence[str], int], Made]
PATTERNS: dict[str, Pattern] = {
    "pairs": pairs,
    "list": repeated_list,
    "copy": copying,
    "signs": signs,
}


def definitions() -> dict[str, str]:
    """What each pattern is, in a sentence: its docstring."""
    return {name: (pattern.__doc__ or "").strip() for name, pattern in PATTERNS.items()}


def score_definitions() -> dict[str, str]:
    """What the two scores of a head are, in a sentence each."""
    found = {"previous_token": metrics.previous_token, "induction": metrics.induction}
    return {name: (metric.__doc__ or "").split("\n")[0] for name, metric in found.items()}


def _drawn(rng: Generator, words: Sequence[str], n: int) -> list[str]:
    return [words[i] for i in rng.choice(len(words), n, replace=False)]


def _shuffled(rng: Generator, found: list[Made]) -> list[Made]:
    return [found[i] for i in rng.permutation(len(found))]


class Heads(NamedTuple):
    """Each head's scores on random tokens said twice, and which heads are switched off in turn."""

    previous_token: Tensor  # (L, H)
    induction: Tensor  # (L, H)
    off: dict[str, list[Head]]


class Shot(NamedTuple):
    """Accuracy with so many examples, with all heads and without some."""

    n: int
    accuracy: dict[str, Measure]  # which heads are off -> how often the next token is right
    example: Made  # one of the prompts


def whole_words(loaded: Loaded) -> list[str]:
    """Those of WORDS that are one token after a space."""
    ids = loaded.tokenizer.ids
    alone = len(ids("a"))
    return [word for word in WORDS if len(ids(f"a {word}")) == alone + 1]


def prompt(loaded: Loaded, pattern: str, n: int, seed: int) -> Made:
    """One prompt with n examples, and what is to follow."""
    return made(pattern, np.random.default_rng(seed), whole_words(loaded), n)


def made(pattern: str, rng: Generator, words: Sequence[str], n: int) -> Made:
    """A prompt begins with a word, not with a space: tokenizers add their own."""
    text, answer = PATTERNS[pattern](rng, words, n)
    return text.removeprefix(" "), answer


def check(loaded: Loaded) -> list[str]:
    """The words that prompts for this model are made of."""
    check_task(loaded, "next-token", "generate")
    check_has(loaded, "edits", "model")
    words = whole_words(loaded)
    if len(words) < 2 * N_PAIR:
        raise BadInput("model", f"{loaded.name} cuts nearly all words of the prompts into pieces")
    return words


@torch.inference_mode()
def carriers(loaded: Loaded, seed: int) -> Heads:
    """The heads that may carry it: the strongest of two kinds, and as many others by chance."""
    previous, induction = head_scores(loaded, seed)
    off = {
        "none": [],
        "induction": strongest(induction, N_OFF),
        "previous_token": strongest(previous, N_OFF),
    }
    named = {*off["induction"], *off["previous_token"]}
    every = [(i, j) for i in range(induction.size(0)) for j in range(induction.size(1))]
    others = [head for head in every if head not in named]
    drawn = np.random.default_rng(seed).choice(len(others), min(N_OFF, len(others)), replace=False)
    off["others"] = [others[i] for i in sorted(drawn)]
    return Heads(previous, induction, off)


class Doing(NamedTuple):
    """What is being measured: so many prompts of n examples, with some heads off."""

    n: int
    off: str
    done: int
    n_prompt: int


@torch.inference_mode()
def shots(
    loaded: Loaded, pattern: str, heads: Heads, *, n_max: int, n_prompt: int, seed: int
) -> Iterator[Shot | Doing]:
    """From no example to n_max: how often the most probable next token is right."""
    words, rng = check(loaded), np.random.default_rng(seed)
    for n in range(n_max + 1):
        asked = [made(pattern, rng, words, n) for _ in range(n_prompt)]
        found = {}
        for name, off in heads.off.items():
            right: list[bool] = []
            for start in range(0, n_prompt, AT_ONCE):
                yield Doing(n, name, start, n_prompt)
                right += answered(loaded, asked[start : start + AT_ONCE], off)
            found[name] = statistics.share(right, "prompts")
        yield Shot(n, found, asked[0])


def answered(loaded: Loaded, asked: Sequence[Made], off: Sequence[Head]) -> list[bool]:
    """Whether each prompt is gone on with rightly, with some heads switched off."""
    model, tokenizer = loaded.decoder, loaded.tokenizer
    rows = [[token.id for token in tokenizer.encode(text)] for text, _ in asked]
    whole = [tokenizer.encode(text + answer) for text, answer in asked]
    answers = [tokens[len(row)].id for tokens, row in zip(whole, rows, strict=True)]
    longest = max(map(len, rows))
    if longest > model.config.n_ctx:
        message = f"prompts of {longest} tokens are too long: {loaded.name} takes "
        raise BadInput("n_max", f"{message}{model.config.n_ctx}; ask for fewer examples")
    batch = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):  # what comes behind is never looked at
        batch[i, : len(row)] = torch.tensor(row)
    tape = Tape(layers=(), edits=[Edit("ablate", layer=layer, head=head) for layer, head in off])
    x = model.hidden(batch.to(loaded.device), tape)
    last = x[torch.arange(len(rows)), [len(row) - 1 for row in rows]]
    best = model.logits(last).argmax(-1).tolist()
    return [found == answer for found, answer in zip(best, answers, strict=True)]


def head_scores(loaded: Loaded, seed: int) -> tuple[Tensor, Tensor]:
    """Each head's previous-token and induction score, on random tokens said twice: (L, H) each."""
    model = loaded.decoder
    draw = torch.Generator().manual_seed(seed)
    period = min(PERIOD, loaded.config.n_ctx // 2)
    n = min(loaded.tokenizer.vocab_size, loaded.config.vocab_size)
    segment = torch.randint(1, n, (N_TEXT, period), generator=draw)
    tape = Tape()
    model.hidden(segment.repeat(1, 2).to(loaded.device), tape)
    attn = torch.stack([step.attn for step in tape]).cpu()  # (L, B, H, T, T)
    previous = metrics.previous_token(attn).mean(1)
    return previous, metrics.induction(attn, period).mean(1)


def strongest(scores: Tensor, n: int) -> list[Head]:
    """The heads that score most: (L, H) -> their places."""
    best = scores.flatten().topk(min(n, scores.numel())).indices.tolist()
    return [divmod(i, scores.size(1)) for i in best]
