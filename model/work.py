"""Models at work, step by step: translate, generate, fill in the blank.

Each step is labelled and given out as it is made, with the attention that led to it; who stops
asking stops the work. Raises BadInput, naming the limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.corruption import Corrupted, corrupted
from model.generate import (
    CROSS,
    Hypothesis,
    Sampling,
    Step,
    Weighed,
    beam_steps,
    generating,
    longest,
    translating,
)
from model.record import Token
from model.recurrent import Recurrent
from model.run import BadInput, Spec, batch_of, candidates, check_spec, fits, tokenize
from model.tape import Edit, Tape
from model.transformer import GPT, Bert, EncoderDecoder
from model.zoo import Loaded


@dataclass(frozen=True)
class Said:
    """One token that a model said, or was made to say."""

    token: Token
    log_probability: float  # in the model's own distribution, before any filter
    probability: float  # in the distribution it was drawn from
    entropy: float  # of the model's own distribution, in nats
    rank: int  # 0: the most probable
    candidates: list[dict[str, Any]]
    attn: Tensor  # (L, H, Tk): where the query that chose it looks
    forced: bool = False


class Node(NamedTuple):
    """A hypothesis of a beam, as it grows by one token: a place in the beam's tree."""

    id: int
    parent: int | None  # None: it follows <s>
    token: Token
    log_probability: float  # of the token
    total: float  # of the hypothesis
    ended: bool


class Grown(NamedTuple):
    """One step of a beam: its new nodes, the best text so far, and where that one looked."""

    nodes: list[Node]
    text: str
    attn: Tensor  # (L, H, Tk)


class Ended(NamedTuple):
    """A hypothesis of a beam, complete or cut off by the limit."""

    score: float  # log-probability / length ** length_penalty
    log_probability: float
    ids: list[int]
    text: str


def check_task(loaded: Loaded, task: str, *others: str) -> None:
    """The model does what is asked of it."""
    if not {task, *others} & set(loaded.tasks):
        there = ", ".join(loaded.tasks) or "nothing but attention"
        raise BadInput("model", f"{loaded.name} does not {task}; it has {there}")


# Translate.


class Source(NamedTuple):
    """A text to translate, and how many tokens its translation may have."""

    tokens: tuple[Token, ...]
    ids: Tensor  # (1, Tk)
    longest: int


def source_of(loaded: Loaded, text: str, max_new_tokens: int | None) -> Source:
    """Raises BadInput for an empty text, a long one, and more tokens than there can be."""
    check_task(loaded, "translate")
    tokens = tokenize(loaded, text)
    model = loaded.model
    assert isinstance(model, EncoderDecoder | Recurrent)
    most = longest(model, None)
    if max_new_tokens is not None and max_new_tokens > most:
        message = f"{max_new_tokens} tokens are too many: {loaded.name} says at most {most}"
        raise BadInput("max_new_tokens", message)
    return Source(tokens, batch_of(loaded, tokens), max_new_tokens or most)


@torch.inference_mode()
def translate_greedily(
    loaded: Loaded, source: Source, *, edits: Sequence[Edit] = (), top: int = 5
) -> Iterator[Said]:
    """The most probable token, again and again; </s> is the last unless the limit came first."""
    model, frame = loaded.model, _frame(loaded)
    assert isinstance(model, EncoderDecoder | Recurrent)
    ids: list[int] = []
    options = {**frame, "max_tokens": source.longest + 1}
    check_spec(loaded, Spec("", edits=tuple(edits)))
    with edits_that_fit():
        for step in translating(model, source.ids, edits=edits, **options):
            ids.append(step.id)
            yield said(loaded, loaded.tokenizer.label(ids)[-1], step, top)


@torch.inference_mode()
def translate_by_beam(
    loaded: Loaded,
    source: Source,
    *,
    n_beam: int,
    length_penalty: float,
    edits: Sequence[Edit] = (),
) -> Iterator[Grown | list[Ended]]:
    """A step of the beam for each token; at last the hypotheses, the best first."""
    model, frame = loaded.model, _frame(loaded)
    assert isinstance(model, EncoderDecoder | Recurrent)
    steps = beam_steps(
        model,
        source.ids,
        n_beam=n_beam,
        length_penalty=length_penalty,
        max_tokens=source.longest + 1,
        edits=edits,
        look=True,
        begin=frame["begin"],
        end=frame["end"],
    )
    tree = Tree(loaded, n_beam, frame["end"])
    check_spec(loaded, Spec("", edits=tuple(edits)))
    with edits_that_fit():
        while True:
            try:
                yield tree.grow(next(steps))
            except StopIteration as stop:
                [found] = stop.value
                yield [_ended(loaded, hypothesis, length_penalty, tree) for hypothesis in found]
                return


class Tree:
    """The hypotheses of a beam as they grow: which node each of the K running ones is at."""

    def __init__(self, loaded: Loaded, n_beam: int, end: int) -> None:
        self.loaded, self.n_beam, self.end = loaded, n_beam, end
        self.running: list[tuple[int | None, list[int], float]] = [(None, [], 0.0)] * n_beam
        self.n = 0
        self.complete: set[tuple[int, ...]] = set()

    def grow(self, step: Weighed) -> Grown:
        """The step's nodes: those that end among the K best, and those that go on."""
        total, parent, token = (x[0].tolist() for x in (step.total, step.parent, step.token))
        ending = [i for i in range(self.n_beam) if token[i] == self.end]
        nodes: list[Node] = []
        running: list[tuple[int | None, list[int], float]] = []
        for i in [*ending, *step.kept[0].tolist()]:
            of, ids, before = self.running[parent[i]]
            grown = [*ids, token[i]]
            label = self.loaded.tokenizer.label(grown)[-1]
            nodes.append(Node(self.n, of, label, total[i] - before, total[i], token[i] == self.end))
            if token[i] == self.end:
                self.complete.add(tuple(ids))
            else:
                running.append((self.n, grown, total[i]))
            self.n += 1
        self.running = running
        best = int(step.kept[0, 0])
        assert step.attn is not None
        text = self.loaded.tokenizer.decode(running[0][1])
        return Grown(nodes, text, step.attn[0, int(step.parent[0, best])])


def _ended(loaded: Loaded, found: Hypothesis, length_penalty: float, tree: Tree) -> Ended:
    score, ids = found
    n = len(ids) + (tuple(ids) in tree.complete)
    return Ended(score, score * n**length_penalty, ids, loaded.tokenizer.decode(ids))


@torch.inference_mode()
def spoken(
    loaded: Loaded,
    source: Source,
    ids: Sequence[int],
    *,
    edits: Sequence[Edit] = (),
    top: int = 5,
) -> list[Said]:
    """Teacher forcing: how probable each of a translation's tokens is after those before it."""
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, EncoderDecoder | Recurrent)
    fits(loaded, "reference", len(ids))  # <s> takes the place of the last
    tape = Tape(kinds=CROSS, edits=edits)
    begin = _frame(loaded)["begin"]
    target = torch.tensor([[begin, *ids[:-1]]], device=loaded.device)
    logits = model(source.ids, target, tape)[0]  # (Tq, V)
    rows = torch.cat([step.attn for step in tape])  # (L, H, Tq, Tk)
    return [
        said(loaded, token, Step(token.id, logits[n], rows[:, :, n]), top, forced=True)
        for n, token in enumerate(tokenizer.label(list(ids)))
    ]


def reference_ids(loaded: Loaded, text: str) -> list[int]:
    """A translation that was typed, as ids with its </s>."""
    ids = [token.id for token in loaded.tokenizer.encode(text)]
    if len(ids) < 2:
        raise BadInput("reference", "the reference has no tokens: only spaces")
    return ids


def _frame(loaded: Loaded) -> dict[str, int]:
    """What a translation begins with, and what ends it."""
    begin, end = loaded.tokenizer.begin_id, loaded.tokenizer.end_id
    assert begin is not None and end is not None
    return {"begin": begin, "end": end}


@contextmanager
def edits_that_fit() -> Iterator[None]:
    """An edit that does not fit the text is the user's mistake."""
    try:
        yield
    except ValueError as error:
        raise BadInput("edits", str(error)) from None


# Generate.


def said(loaded: Loaded, token: Token, step: Step, top: int, *, forced: bool = False) -> Said:
    """A step in words: how sure the model was, and what else it might have said."""
    log_p = step.logits.float().log_softmax(-1)
    found = candidates(loaded, step.logits, top)
    for candidate in found:
        at = candidate["id"]
        candidate |= {name: p[at].item() for name, p in step.filtered.items()}
    drawn = step.filtered.get("top_p")
    return Said(
        token=token,
        log_probability=log_p[step.id].item(),
        probability=(log_p[step.id].exp() if drawn is None else drawn[step.id]).item(),
        entropy=torch.special.entr(log_p.exp()).sum().item(),
        rank=int((log_p > log_p[step.id]).sum()),
        candidates=found,
        attn=step.attn.cpu(),
        forced=forced,
    )


class Generated(NamedTuple):
    said: Said
    n_kept: dict[str, int]  # how many tokens each filter leaves


@torch.inference_mode()
def generate(
    loaded: Loaded,
    prompt: tuple[Token, ...],
    *,
    sampling: Sampling,
    max_new_tokens: int,
    forced: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    top: int = 10,
) -> Iterator[Generated]:
    """A continuation, token by token; the end of the text, if it is said, is the last."""
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, GPT)
    for i in forced:
        if i >= tokenizer.vocab_size:
            there = f"{loaded.name} has tokens 0 to {tokenizer.vocab_size - 1}"
            raise BadInput("forced", f"token {i} is not there: {there}")
    check_spec(loaded, Spec("", edits=tuple(edits)))
    ids: list[int] = []
    steps = generating(
        model,
        batch_of(loaded, prompt),
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        end=tokenizer.end_id,
        forced=forced,
        edits=edits,
    )
    for n, step in enumerate(steps):
        ids.append(step.id)
        label = tokenizer.label(ids)[-1]
        n_kept = {name: int((p > 0).sum()) for name, p in step.filtered.items()}
        yield Generated(said(loaded, label, step, top, forced=n < len(forced)), n_kept)


def prompt_of(loaded: Loaded, text: str, max_new_tokens: int) -> tuple[Token, ...]:
    """The prompt's tokens; there must be room for something after them."""
    check_task(loaded, "generate")
    tokens = tokenize(loaded, text)
    n_ctx = loaded.config.n_ctx
    room = n_ctx - len(tokens)
    if max_new_tokens > room:
        message = (
            f"{max_new_tokens} new tokens are too many: the prompt has {len(tokens)} and "
            f"{loaded.name} takes {n_ctx}, so at most {room} fit"
        )
        raise BadInput("max_new_tokens", message)
    return tokens


class Surprise(NamedTuple):
    """How a text looks to the model that reads it: of each token but the first."""

    tokens: tuple[Token, ...]
    log_probabilities: list[float]
    entropies: list[float]  # of the distribution before the token, in nats
    ranks: list[int]
    following: Tensor  # (V,): logits of what comes after the text


@torch.inference_mode()
def surprise(loaded: Loaded, text: str, edits: Sequence[Edit] = ()) -> Surprise:
    """The probability of each token of a text after those before it, in one pass."""
    check_task(loaded, "next-token", "generate")
    check_spec(loaded, Spec(text, edits=tuple(edits)))
    model = loaded.model
    assert isinstance(model, GPT)
    tokens = tokenize(loaded, text)
    ids = batch_of(loaded, tokens)
    logits = model.logits(model.hidden(ids, Tape(layers=(), edits=edits)))[0].float()  # (T, V)
    log_p = logits[:-1].log_softmax(-1)
    own = log_p.gather(-1, ids[0, 1:, None])  # (T - 1, 1)
    return Surprise(
        tokens,
        own[:, 0].tolist(),
        torch.special.entr(log_p.exp()).sum(-1).tolist(),
        (log_p > own).sum(-1).tolist(),
        logits[-1],
    )


# Fill in the blank.


class Filled(NamedTuple):
    tokens: tuple[Token, ...]
    places: list[int]
    logits: Tensor  # (masks, V)


@torch.inference_mode()
def fill(loaded: Loaded, text: str, text_pair: str | None, edits: Sequence[Edit] = ()) -> Filled:
    """What the model would write for each [MASK]."""
    check_task(loaded, "fill-mask")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, Bert)
    tokens = tokenize(loaded, text, text_pair)
    check_spec(loaded, Spec(text, text_pair, edits=tuple(edits)))
    places = [i for i, token in enumerate(tokens) if token.id == tokenizer.mask_id]
    if not places:
        assert tokenizer.mask_id is not None
        mask = tokenizer.raw(tokenizer.mask_id)
        message = f"the text has no {mask}; write {mask} where a word is to be filled in"
        raise BadInput("text", message)
    x = _read(loaded, tokens, Tape(layers=(), edits=edits))
    return Filled(tokens, places, model.masked_words(x[places]))


def _read(loaded: Loaded, tokens: tuple[Token, ...], tape: Tape | None = None) -> Tensor:
    """The last hidden states of BERT: (T, D)."""
    model = loaded.model
    assert isinstance(model, Bert)
    segments = torch.tensor([[token.segment for token in tokens]], device=loaded.device)
    return model.encode(batch_of(loaded, tokens), segments, tape)[0]


class Noisy(NamedTuple):
    """A text as BERT sees it in training, and what it makes of it."""

    tokens: tuple[Token, ...]
    found: Corrupted
    log_probabilities: list[float]  # of the right token at each chosen place
    logits: Tensor  # (chosen, V)


@torch.inference_mode()
def corrupt(loaded: Loaded, text: str, text_pair: str | None, seed: int) -> Noisy:
    """15 % of the tokens chosen; of those 80 % [MASK], 10 % random, 10 % as they are."""
    check_task(loaded, "fill-mask")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, Bert) and tokenizer.mask_id is not None
    tokens = tokenize(loaded, text, text_pair)
    found = corrupted(
        np.array([token.id for token in tokens]),
        np.array([not token.special for token in tokens]),
        np.random.default_rng(seed),
        mask=tokenizer.mask_id,
        first=5,
        vocab_size=tokenizer.vocab_size,
    )
    noisy = tuple(token._replace(id=int(i)) for token, i in zip(tokens, found.ids, strict=True))
    logits = model.masked_words(_read(loaded, noisy)[found.chosen.tolist()]).float()
    right = torch.tensor([tokens[i].id for i in found.chosen], device=loaded.device)
    log_p = logits.log_softmax(-1).gather(-1, right[:, None])[:, 0]
    return Noisy(tokens, found, log_p.tolist(), logits)


@torch.inference_mode()
def next_sentence(loaded: Loaded, text: str, text_pair: str) -> float:
    """The probability that the second text follows the first (Devlin et al. 2019)."""
    check_task(loaded, "next-sentence")
    model = loaded.model
    assert isinstance(model, Bert)
    tokens = tokenize(loaded, text, text_pair)
    if not any(token.segment == 1 and not token.special for token in tokens):
        raise BadInput("text_pair", "the second text is empty; type at least one word")
    return model.next_sentence(_read(loaded, tokens)[None]).softmax(-1)[0, 0].item()
