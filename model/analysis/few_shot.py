"""Zero-shot, one-shot and few-shot prompts: accuracy of a decoder, with and without some heads.

In-context learning: Brown et al. 2020; induction heads as its mechanism: Olsson et al. 2022.
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
from attention_atlas.model.spec import BadInput, check_has
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from numpy.random import Generator
from torch import Tensor

Prompt = tuple[str, str]  # a text, and the word that continues it
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
PERIOD = 50  # random tokens, which are then repeated once
N_TEXT = 8  # such texts
BATCH_SIZE = 16  # prompts of one forward pass
N_ABLATED = 3  # heads that are ablated together


def pairs(rng: Generator, words: Sequence[str], n: int) -> Prompt:
    """Four pairs "A B", one per line, n times in new orders, then an A: the answer is its B."""
    chosen = _drawn(rng, words, 2 * N_PAIR)
    drawn = list(zip(chosen[:N_PAIR], chosen[N_PAIR:], strict=True))
    lines = [f" {a} {b}\n" for _ in range(n) for a, b in _shuffled(rng, drawn)]
    a, b = drawn[int(rng.integers(N_PAIR))]
    return f"{''.join(lines)} {a}", f" {b}"


def signs(rng: Generator, words: Sequence[str], n: int) -> Prompt:
    """Pairs written "A = B": a sign precedes each B, so copying the token after A fails."""
    chosen = _drawn(rng, words, 2 * N_PAIR)
    drawn = list(zip(chosen[:N_PAIR], chosen[N_PAIR:], strict=True))
    lines = [f" {a} = {b}\n" for _ in range(n) for a, b in _shuffled(rng, drawn)]
    a, b = drawn[int(rng.integers(N_PAIR))]
    return f"{''.join(lines)} {a} =", f" {b}"


def repeated_list(rng: Generator, words: Sequence[str], n: int) -> Prompt:
    """A list of six words, n times, then its beginning: the answer is the next word of the list."""
    chosen = _drawn(rng, words, N_LIST)
    position = int(rng.integers(1, N_LIST))
    text = "".join(f" {word}" for word in [*chosen * n, *chosen[:position]])
    return text, f" {chosen[position]}"


def copying(rng: Generator, words: Sequence[str], n: int) -> Prompt:
    """Lines of five words, a bar and the same words; n such lines, then one to complete."""
    lines = [_drawn(rng, words, N_COPIED) for _ in range(n + 1)]
    texts = ["".join(f" {word}" for word in line) for line in lines]
    position = int(rng.integers(1, N_COPIED))
    beginning = "".join(f" {word}" for word in lines[-1][:position])
    examples = "".join(f"{text} |{text}\n" for text in texts[:-1])
    return f"{examples}{texts[-1]} |{beginning}", f" {lines[-1][position]}"


Pattern = Callable[[Generator, Sequence[str], int], Prompt]
PATTERNS: dict[str, Pattern] = {
    "pairs": pairs,
    "list": repeated_list,
    "copy": copying,
    "signs": signs,
}


def definitions() -> dict[str, str]:
    """One sentence for each pattern: its docstring."""
    return {name: (pattern.__doc__ or "").strip() for name, pattern in PATTERNS.items()}


def score_definitions() -> dict[str, str]:
    """One sentence for each of a head's two scores."""
    scores = {"previous_token": metrics.previous_token, "induction": metrics.induction}
    return {name: (metric.__doc__ or "").split("\n")[0] for name, metric in scores.items()}


def _drawn(rng: Generator, words: Sequence[str], n: int) -> list[str]:
    return [words[i] for i in rng.choice(len(words), n, replace=False)]


def _shuffled(rng: Generator, items: list[Prompt]) -> list[Prompt]:
    return [items[i] for i in rng.permutation(len(items))]


class Heads(NamedTuple):
    """Each head's scores on repeated random tokens, and the sets of heads to ablate."""

    previous_token: Tensor  # (L, H)
    induction: Tensor  # (L, H)
    off: dict[str, list[Head]]


class Shot(NamedTuple):
    """Accuracy with n examples in the prompt, with all heads and with some ablated."""

    n: int
    accuracy: dict[str, Measure]  # set of ablated heads -> share of correct next tokens
    example: Prompt  # one of the prompts


def whole_words(loaded: Loaded) -> list[str]:
    """The words of WORDS that are a single token after a space."""
    ids = loaded.tokenizer.ids
    alone = len(ids("a"))
    return [word for word in WORDS if len(ids(f"a {word}")) == alone + 1]


def prompt(loaded: Loaded, pattern: str, n: int, seed: int) -> Prompt:
    """One prompt with n examples, and its answer."""
    return made(pattern, np.random.default_rng(seed), whole_words(loaded), n)


def made(pattern: str, rng: Generator, words: Sequence[str], n: int) -> Prompt:
    """A prompt without the space before its first word, which tokenizers add themselves."""
    text, answer = PATTERNS[pattern](rng, words, n)
    return text.removeprefix(" "), answer


def check(loaded: Loaded) -> list[str]:
    """The words for prompts to this model. Raises BadInput if it has too few."""
    check_task(loaded, "next-token", "generate")
    check_has(loaded, "edits", "model")
    words = whole_words(loaded)
    if len(words) < 2 * N_PAIR:
        raise BadInput(
            "model", f"{loaded.name} divides nearly all words of the prompts into pieces"
        )
    return words


@torch.inference_mode()
def carriers(loaded: Loaded, seed: int) -> Heads:
    """Sets of heads to ablate: the highest-scoring of two kinds, and random others."""
    previous, induction = head_scores(loaded, seed)
    off = {
        "none": [],
        "induction": strongest(induction, N_ABLATED),
        "previous_token": strongest(previous, N_ABLATED),
    }
    named = {*off["induction"], *off["previous_token"]}
    heads = [(i, j) for i in range(induction.size(0)) for j in range(induction.size(1))]
    others = [head for head in heads if head not in named]
    drawn = np.random.default_rng(seed).choice(
        len(others), min(N_ABLATED, len(others)), replace=False
    )
    off["others"] = [others[i] for i in sorted(drawn)]
    return Heads(previous, induction, off)


class Doing(NamedTuple):
    """Progress: prompts of n examples measured so far, with one set of heads ablated."""

    n: int
    off: str
    done: int
    n_prompt: int


@torch.inference_mode()
def shots(
    loaded: Loaded, pattern: str, heads: Heads, *, n_max: int, n_prompt: int, seed: int
) -> Iterator[Shot | Doing]:
    """Accuracy of the most probable next token, with 0 to n_max examples."""
    words, rng = check(loaded), np.random.default_rng(seed)
    for n in range(n_max + 1):
        prompts = [made(pattern, rng, words, n) for _ in range(n_prompt)]
        accuracy = {}
        for name, off in heads.off.items():
            right: list[bool] = []
            for start in range(0, n_prompt, BATCH_SIZE):
                yield Doing(n, name, start, n_prompt)
                right += answered(loaded, prompts[start : start + BATCH_SIZE], off)
            accuracy[name] = statistics.share(right, "prompts")
        yield Shot(n, accuracy, prompts[0])


def answered(loaded: Loaded, prompts: Sequence[Prompt], off: Sequence[Head]) -> list[bool]:
    """Whether the model continues each prompt correctly, with some heads ablated."""
    model, tokenizer = loaded.decoder, loaded.tokenizer
    rows = [[token.id for token in tokenizer.encode(text)] for text, _ in prompts]
    completed = [tokenizer.encode(text + answer) for text, answer in prompts]
    answers = [tokens[len(row)].id for tokens, row in zip(completed, rows, strict=True)]
    longest = max(map(len, rows))
    if longest > model.config.n_ctx:
        message = f"prompts of {longest} tokens are too long: {loaded.name} takes "
        raise BadInput("n_max", f"{message}{model.config.n_ctx}; ask for fewer examples")
    batch = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):  # causal: the filling after a row is not attended to
        batch[i, : len(row)] = torch.tensor(row)
    tape = Tape(layers=(), edits=[Edit("ablate", layer=layer, head=head) for layer, head in off])
    x = model.hidden(batch.to(loaded.device), tape)
    last = x[torch.arange(len(rows)), [len(row) - 1 for row in rows]]
    best = model.logits(last).argmax(-1).tolist()
    return [token == answer for token, answer in zip(best, answers, strict=True)]


def head_scores(loaded: Loaded, seed: int) -> tuple[Tensor, Tensor]:
    """Each head's previous-token and induction score, on repeated random tokens: (L, H) each."""
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
    """The n heads with the highest scores: (L, H) -> (layer, head) each."""
    best = scores.flatten().topk(min(n, scores.numel())).indices.tolist()
    return [divmod(i, scores.size(1)) for i in best]
