"""Models at work, step by step: translate, generate, fill in the blank.

Each step is labelled and given out as it is made, with the attention that led to it; who stops
asking stops the work. Raises BadInput, naming the limit.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.adapters import Adapter, HubEncoder
from model.corruption import Fate, corrupted
from model.generate import (
    CROSS,
    Decoder,
    Hypothesis,
    Sampling,
    Step,
    Translator,
    Weighed,
    beam_steps,
    generating,
    longest,
    translating,
)
from model.record import Token
from model.run import (
    BadInput,
    Spec,
    batch_of,
    candidates,
    check_part,
    check_spec,
    fits,
    tokenize,
    unframed,
    usual_length,
)
from model.tape import Edit, Tape
from model.transformer import Bert
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
    text: str  # so far, this token included
    forced: bool = False  # it was given, not chosen
    n_kept: dict[str, int] = field(default_factory=dict)  # tokens that each filter leaves


class Node(NamedTuple):
    """A hypothesis of a beam, as it grows by one token: a place in the beam's tree."""

    id: int
    parent: int | None  # None: it follows <s>
    step: int
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
    ids: list[int]  # with </s>, if it is complete
    text: str


def check_task(loaded: Loaded, task: str, *others: str) -> None:
    """The model does what is asked of it."""
    if not {task, *others} & set(loaded.tasks):
        there = ", ".join(loaded.tasks) or "nothing but attention"
        raise BadInput("model", f"{loaded.name} does not {task}; it has {there}")


def check_head(loaded: Loaded, head: int | None) -> None:
    """A head that every layer has, or none."""
    check_part(loaded, None, (), () if head is None else (head,))


# Translate.


class Source(NamedTuple):
    """A text to translate, and how many tokens its translation may have."""

    tokens: tuple[Token, ...]
    ids: Tensor  # (1, Tk)
    longest: int


class Translation(NamedTuple):
    """A translation, and where it came from."""

    sequences: dict[str, tuple[Token, ...]]  # source and target, as a forward pass has them
    steps: list[Said]
    tokens: tuple[Token, ...]  # of the steps, with their spans in the whole text
    finished: bool  # it ends with </s>; else the limit cut it off
    hypotheses: list[Ended]  # the best first
    tree: list[Node]  # of the beam, if there is one
    reference: list[Said]  # a translation that was typed, read the same way


@torch.inference_mode()
def translate(
    loaded: Loaded,
    text: str,
    *,
    n_beam: int = 1,
    length_penalty: float = 1.0,
    max_new_tokens: int | None = None,
    reference: str | None = None,
    edits: Sequence[Edit] = (),
    top: int = 5,
) -> Generator[Source | Said | Grown, None, Translation]:
    """First the source, then each step; n_beam 1 is greedy. Returns the whole."""
    source = source_of(loaded, text, max_new_tokens)
    forced = reference_ids(loaded, reference) if reference else []
    fits(loaded, "reference", len(forced))  # <s> takes the place of the last
    check_spec(loaded, Spec(text, edits=tuple(edits)))
    yield source
    tree: list[Node] = []
    with edits_that_fit():
        if n_beam == 1:
            steps = yield from _greedy(loaded, source, edits, top)
            total = sum(step.log_probability for step in steps)
            score = total / len(steps) ** length_penalty
            best = Ended(score, total, [step.token.id for step in steps], steps[-1].text)
            hypotheses = [best]
        else:
            hypotheses, tree = yield from _beam(loaded, source, n_beam, length_penalty, edits)
            steps = spoken(loaded, source, hypotheses[0].ids, edits=edits, top=top)
        read = spoken(loaded, source, forced, edits=edits, top=top) if forced else []
    tokenizer = loaded.tokenizer
    ids = hypotheses[0].ids
    finished = ids[-1] == tokenizer.end_id
    tokens = tokenizer.label(ids)
    begin = _frame(loaded)["begin"]
    start = Token(begin, tokenizer.raw(begin), tokenizer.raw(begin), special=True)
    target = (start, *(tokens[:-1] if finished else tokens))
    sequences = {"source": source.tokens, "target": target}
    return Translation(sequences, steps, tokens, finished, hypotheses, tree, read)


def source_of(loaded: Loaded, text: str, max_new_tokens: int | None) -> Source:
    """Raises BadInput for an empty text, a long one, and more tokens than there can be."""
    check_task(loaded, "translate")
    tokens = tokenize(loaded, text)
    model = loaded.model
    assert isinstance(model, Translator)
    most = longest(model, None)
    if max_new_tokens is not None and max_new_tokens > most:
        message = f"{max_new_tokens} tokens are too many: {loaded.name} says at most {most}"
        raise BadInput("max_new_tokens", message)
    usual = min(most, usual_length(len(tokens))) if isinstance(model, Adapter) else most
    return Source(tokens, batch_of(loaded, tokens), max_new_tokens or usual)


def _greedy(
    loaded: Loaded, source: Source, edits: Sequence[Edit], top: int
) -> Generator[Said, None, list[Said]]:
    """The most probable token, again and again; </s> is the last unless the limit came first."""
    model, frame = loaded.model, _frame(loaded)
    assert isinstance(model, Translator)
    found: list[Said] = []
    ids: list[int] = []
    options = {**frame, "max_tokens": source.longest + 1}
    for step in translating(model, source.ids, edits=edits, **options):
        ids.append(step.id)
        found.append(said(loaded, ids, step, top))
        yield found[-1]
    return found


def _beam(
    loaded: Loaded, source: Source, n_beam: int, length_penalty: float, edits: Sequence[Edit]
) -> Generator[Grown, None, tuple[list[Ended], list[Node]]]:
    """A step of the beam for each token; the hypotheses, the best first, and the whole tree."""
    model, frame = loaded.model, _frame(loaded)
    assert isinstance(model, Translator)
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
    nodes: list[Node] = []
    while True:
        try:
            grown = tree.grow(next(steps))
        except StopIteration as stop:
            [found] = stop.value
            return [_ended(loaded, each, length_penalty, tree) for each in found], nodes
        nodes += grown.nodes
        yield grown


class Tree:
    """The hypotheses of a beam as they grow: which node each of the K running ones is at."""

    def __init__(self, loaded: Loaded, n_beam: int, end: int) -> None:
        self.loaded, self.n_beam, self.end = loaded, n_beam, end
        self.running: list[tuple[int | None, list[int], float]] = [(None, [], 0.0)] * n_beam
        self.n = self.step = 0
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
            step_p, is_end = total[i] - before, token[i] == self.end
            nodes.append(Node(self.n, of, self.step, label, step_p, total[i], is_end))
            if is_end:
                self.complete.add(tuple(ids))
            else:
                running.append((self.n, grown, total[i]))
            self.n += 1
        self.running = running
        self.step += 1
        best = int(step.kept[0, 0])
        assert step.attn is not None
        text = self.loaded.tokenizer.decode(running[0][1])
        return Grown(nodes, text, step.attn[0, int(step.parent[0, best])])


def _ended(loaded: Loaded, found: Hypothesis, length_penalty: float, tree: Tree) -> Ended:
    score, ids = found
    whole = [*ids, tree.end] if tuple(ids) in tree.complete else ids
    total = score * len(whole) ** length_penalty
    return Ended(score, total, whole, loaded.tokenizer.decode(ids))


def spoken(
    loaded: Loaded, source: Source, ids: Sequence[int], *, edits: Sequence[Edit], top: int
) -> list[Said]:
    """Teacher forcing: how probable each of a translation's tokens is after those before it."""
    model = loaded.model
    assert isinstance(model, Translator)
    tape = Tape(kinds=CROSS, edits=edits)
    begin = _frame(loaded)["begin"]
    target = torch.tensor([[begin, *ids[:-1]]], device=loaded.device)
    logits = model(source.ids, target, tape)[0]  # (Tq, V)
    rows = torch.cat([step.attn for step in tape])  # (L, H, Tq, Tk)
    return [
        said(loaded, ids[: n + 1], Step(i, logits[n], rows[:, :, n]), top, forced=True)
        for n, i in enumerate(ids)
    ]


def reference_ids(loaded: Loaded, text: str) -> list[int]:
    """A translation that was typed, as ids with its </s>."""
    if not text.strip():
        raise BadInput("reference", "the reference has no tokens: only spaces")
    said = unframed(loaded.tokenizer.encode_target(text))
    return [*(token.id for token in said), _frame(loaded)["end"]]


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


def said(loaded: Loaded, ids: Sequence[int], step: Step, top: int, *, forced: bool = False) -> Said:
    """A step in words, the last of the ids: how sure the model was, and what else it might say."""
    log_p = step.logits.float().log_softmax(-1)
    found = candidates(loaded, step.logits, top)
    for candidate in found:
        at = candidate["id"]
        candidate |= {name: p[at].item() for name, p in step.filtered.items()}
    drawn = step.filtered.get("top_p")
    return Said(
        token=loaded.tokenizer.label(ids)[-1],
        log_probability=log_p[step.id].item(),
        probability=(log_p[step.id].exp() if drawn is None else drawn[step.id]).item(),
        entropy=torch.special.entr(log_p.exp()).sum().item(),
        rank=int((log_p > log_p[step.id]).sum()),
        candidates=found,
        attn=step.attn.cpu(),
        text=loaded.tokenizer.decode(ids),
        forced=forced,
        n_kept={name: int((p > 0).sum()) for name, p in step.filtered.items()},
    )


class Continuation(NamedTuple):
    """What a decoder went on with."""

    prompt: tuple[Token, ...]
    steps: list[Said]
    tokens: tuple[Token, ...]  # of the steps, with their spans in the text
    text: str
    finished: bool  # it ends with the end of a text; else it is as long as was asked


@torch.inference_mode()
def generate(
    loaded: Loaded,
    text: str,
    *,
    sampling: Sampling,
    max_new_tokens: int,
    forced: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    top: int = 10,
) -> Generator[tuple[Token, ...] | Said, None, Continuation]:
    """First the prompt's tokens, then each new one; the end of the text, if said, is the last."""
    prompt = prompt_of(loaded, text, max_new_tokens)
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, Decoder)
    for i in forced:
        if i >= tokenizer.vocab_size:
            there = f"{loaded.name} has tokens 0 to {tokenizer.vocab_size - 1}"
            raise BadInput("forced", f"token {i} is not there: {there}")
    check_spec(loaded, Spec(text, edits=tuple(edits)))
    yield prompt
    found: list[Said] = []
    ids: list[int] = []
    with edits_that_fit():
        for step in generating(
            model,
            batch_of(loaded, prompt),
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            end=tokenizer.end_id,
            forced=forced,
            edits=edits,
        ):
            ids.append(step.id)
            found.append(said(loaded, ids, step, top, forced=len(ids) <= len(forced)))
            yield found[-1]
    finished = ids[-1:] == [tokenizer.end_id]
    return Continuation(prompt, found, tokenizer.label(ids), tokenizer.decode(ids), finished)


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


class Guess(NamedTuple):
    """A distribution over tokens: its most probable ones, and how sure it is."""

    candidates: list[dict[str, Any]]
    entropy: float  # in nats


def guess(loaded: Loaded, logits: Tensor, top: int) -> Guess:
    """Logits (V,) in words."""
    entropy = torch.special.entr(logits.float().softmax(-1)).sum().item()
    return Guess(candidates(loaded, logits, top), entropy)


class Surprise(NamedTuple):
    """How a text looks to the model that reads it: of each token but the first."""

    tokens: tuple[Token, ...]
    log_probabilities: list[float]
    entropies: list[float]  # of the distribution before the token, in nats
    ranks: list[int]
    following: Guess  # what comes after the text


@torch.inference_mode()
def surprise(loaded: Loaded, text: str, edits: Sequence[Edit] = (), top: int = 10) -> Surprise:
    """The probability of each token of a text after those before it, in one pass."""
    check_task(loaded, "next-token", "generate")
    check_spec(loaded, Spec(text, edits=tuple(edits)))
    model = loaded.model
    assert isinstance(model, Decoder)
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
        guess(loaded, logits[-1], top),
    )


# Fill in the blank.


class Filled(NamedTuple):
    text: str  # with a [MASK] in place of each word that was to be hidden
    tokens: tuple[Token, ...]
    masks: dict[int, Guess]  # by their position


@torch.inference_mode()
def fill(
    loaded: Loaded,
    text: str,
    text_pair: str | None = None,
    *,
    words: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    top: int = 10,
) -> Filled:
    """What the model would write for each [MASK], and for each of the words to be hidden."""
    check_task(loaded, "fill-mask")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, Bert | HubEncoder)
    text = masked(loaded, text, words)
    tokens = tokenize(loaded, text, text_pair)
    check_spec(loaded, Spec(text, text_pair, edits=tuple(edits)))
    places = [i for i, token in enumerate(tokens) if token.id == tokenizer.mask_id]
    if not places:
        assert tokenizer.mask_id is not None
        mask = tokenizer.raw(tokenizer.mask_id)
        message = f"the text has no {mask}; write {mask} where a word is to be filled in"
        raise BadInput("text", message)
    x = _read(loaded, tokens, Tape(layers=(), edits=edits))
    logits = model.masked_words(x[places])  # (masks, V)
    guesses = [guess(loaded, row, top) for row in logits]
    return Filled(text, tokens, dict(zip(places, guesses, strict=True)))


def masked(loaded: Loaded, text: str, words: Sequence[int]) -> str:
    """The text with [MASK] in place of some words, numbered as its tokens have them."""
    tokens, mask_id = tokenize(loaded, text), loaded.tokenizer.mask_id
    assert mask_id is not None
    mask, spans = loaded.tokenizer.raw(mask_id), _word_spans(tokens)
    for word in words:
        if word not in spans:
            message = f"word {word} is not there: the text has words 0 to {max(spans, default=0)}"
            raise BadInput("words", message)
    for word in sorted(set(words), reverse=True):
        start, end = spans[word]
        text = f"{text[:start]}{mask}{text[end:]}"
    return text


def _word_spans(tokens: Sequence[Token]) -> dict[int, tuple[int, int]]:
    """Where each word of a text begins and ends, in characters."""
    spans: dict[int, tuple[int, int]] = {}
    for token in tokens:
        if token.word is not None:
            start, _ = spans.get(token.word, (token.start, token.end))
            spans[token.word] = (start, token.end)
    return spans


def _read(loaded: Loaded, tokens: tuple[Token, ...], tape: Tape | None = None) -> Tensor:
    """The last hidden states of BERT: (T, D)."""
    model = loaded.model
    assert isinstance(model, Bert | HubEncoder)
    segments = torch.tensor([[token.segment for token in tokens]], device=loaded.device)
    return model.encode(batch_of(loaded, tokens), segments, tape)[0]


class Hidden(NamedTuple):
    """A place that BERT has to predict."""

    position: int
    fate: Fate
    shown: str  # what it reads there
    log_probability: float  # of the right token
    guess: Guess


@torch.inference_mode()
def corrupt(
    loaded: Loaded, text: str, text_pair: str | None, seed: int, top: int = 5
) -> tuple[tuple[Token, ...], list[Hidden]]:
    """A text as BERT sees it in training, and what it makes of it."""
    check_task(loaded, "fill-mask")
    model, tokenizer = loaded.model, loaded.tokenizer
    assert isinstance(model, Bert | HubEncoder) and tokenizer.mask_id is not None
    tokens = tokenize(loaded, text, text_pair)
    ids, chosen, fates = corrupted(
        np.array([token.id for token in tokens]),
        np.array([not token.special for token in tokens]),
        np.random.default_rng(seed),
        mask=tokenizer.mask_id,
        first=len(tokenizer.special_ids),
        vocab_size=tokenizer.vocab_size,
    )
    noisy = tuple(token._replace(id=int(i)) for token, i in zip(tokens, ids, strict=True))
    logits = model.masked_words(_read(loaded, noisy)[chosen.tolist()])  # (chosen, V)
    found = []
    for place, fate, row in zip(chosen.tolist(), fates, logits, strict=True):
        log_p = row.float().log_softmax(-1)[tokens[place].id].item()
        shown = tokenizer.readable(int(ids[place]))
        found.append(Hidden(place, fate, shown, log_p, guess(loaded, row, top)))
    return tokens, found


@torch.inference_mode()
def next_sentence(loaded: Loaded, text: str, text_pair: str) -> float:
    """The probability that the second text follows the first (Devlin et al. 2019)."""
    check_task(loaded, "next-sentence")
    model = loaded.model
    assert isinstance(model, Bert | HubEncoder)
    tokens = tokenize(loaded, text, text_pair)
    if not any(token.segment == 1 and not token.special for token in tokens):
        raise BadInput("text_pair", "the second text is empty; type at least one word")
    return model.next_sentence(_read(loaded, tokens)[None]).softmax(-1)[0, 0].item()
