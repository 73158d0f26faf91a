"""Translating, token by token: greedy or by beam, and a translation that was typed.

A generator gives out each step as it is made. Row n of cross-attention is of the query that chose
token n, which has the token before as its input.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from attention_atlas.model.analysis.decoding import (
    Said,
    Voice,
    check_edits,
    check_task,
    edits_that_fit,
    said,
)
from attention_atlas.model.generate import (
    CROSS,
    Beam,
    BeamStep,
    DecodedToken,
    Hypothesis,
    beam_steps,
    longest,
    translating,
)
from attention_atlas.model.languages import Direction, Frame
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of
from attention_atlas.model.spec import (
    BadInput,
    beginning,
    check_length,
    direction_of,
    frame,
    tokenize,
)
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor


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


class Source(NamedTuple):
    """A text to translate, and how many tokens its translation may have."""

    tokens: tuple[Token, ...]
    ids: Tensor  # (1, Tk)
    longest: int
    frame: Frame  # of its translation


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
    languages: tuple[str | None, str | None] = (None, None),
    edits: Sequence[Edit] = (),
    top: int = 5,
) -> Generator[Source | Said | Grown, None, Translation]:
    """First the source, then each step; n_beam 1 is greedy. Returns the whole."""
    direction = direction_of(loaded, text, *languages)
    source = source_of(loaded, text, max_new_tokens, direction)
    forced = reference_ids(loaded, reference, direction) if reference else []
    check_length(loaded, "reference", len(forced))  # <s> takes the place of the last
    longest_target = max(source.longest, len(forced)) + 1
    check_edits(loaded, edits, {"source": len(source.tokens), "target": longest_target})
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
        options: dict[str, Any] = {"edits": edits, "top": top, "forced": True}
        read = spoken(loaded, source, forced, **options) if forced else []
    tokenizer = loaded.tokenizer
    ids = hypotheses[0].ids
    finished = ids[-1] == tokenizer.end_id
    tokens = tokenizer.label(ids)
    target = (beginning(loaded, source.frame), *(tokens[:-1] if finished else tokens))
    sequences = {"source": source.tokens, "target": target}
    return Translation(sequences, steps, tokens, finished, hypotheses, tree, read)


def source_of(
    loaded: Loaded, text: str, max_new_tokens: int | None, direction: Direction | None = None
) -> Source:
    """Raises BadInput for an empty text, a long one, and more tokens than there can be."""
    check_task(loaded, "translate")
    tokens = tokenize(loaded, text, direction=direction)
    model = loaded.translator
    most = longest(model, None)
    if max_new_tokens is not None and max_new_tokens > most:
        message = f"{max_new_tokens} tokens are too many: {loaded.name} says at most {most}"
        raise BadInput("max_new_tokens", message)
    usual = model.usual_length(len(tokens))
    ids, framed = batch_of(loaded, tokens), frame(loaded, direction)
    return Source(tokens, ids, max_new_tokens or usual, framed)


def _greedy(
    loaded: Loaded, source: Source, edits: Sequence[Edit], top: int
) -> Generator[Said, None, list[Said]]:
    """The most probable token, again and again; </s> is the last unless the limit came first."""
    model = loaded.translator
    found: list[Said] = []
    voice = Voice(loaded)
    for step in translating(
        model,
        source.ids,
        source.frame,
        max_tokens=source.longest + 1,
        edits=edits,
    ):
        found.append(said(voice, step, top))
        yield found[-1]
    return found


def _beam(
    loaded: Loaded, source: Source, n_beam: int, length_penalty: float, edits: Sequence[Edit]
) -> Generator[Grown, None, tuple[list[Ended], list[Node]]]:
    """A step of the beam for each token; the hypotheses, the best first, and the whole tree."""
    beam = Beam(n_beam, length_penalty, source.longest + 1)
    tape = Tape(kinds=CROSS, edits=edits)
    steps = beam_steps(loaded.translator, source.ids, source.frame, beam, tape=tape)
    tree = Tree(loaded, n_beam, source.frame.end)
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

    def grow(self, step: BeamStep) -> Grown:
        """The step's nodes: those that end among the K best, and those that go on."""
        total, parent, token = (x[0].tolist() for x in (step.total, step.parent, step.token))
        ending = [i for i in range(self.n_beam) if token[i] == self.end]
        nodes: list[Node] = []
        running: list[tuple[int | None, list[int], float]] = []
        for i in [*ending, *step.kept[0].tolist()]:
            of, ids, before = self.running[parent[i]]
            grown = [*ids, token[i]]
            label = _last(self.loaded, ids, token[i])
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


def _last(loaded: Loaded, ids: Sequence[int], i: int) -> Token:
    """A token behind others."""
    voice = Voice(loaded)
    voice.ids, voice.text = list(ids), loaded.tokenizer.decode(ids)
    return voice.say(i)


def _ended(loaded: Loaded, found: Hypothesis, length_penalty: float, tree: Tree) -> Ended:
    score, ids = found
    whole = [*ids, tree.end] if tuple(ids) in tree.complete else ids
    total = score * len(whole) ** length_penalty
    return Ended(score, total, whole, loaded.tokenizer.decode(ids))


def spoken(
    loaded: Loaded,
    source: Source,
    ids: Sequence[int],
    *,
    edits: Sequence[Edit],
    top: int,
    forced: bool = False,
) -> list[Said]:
    """Teacher forcing: how probable each of a translation's tokens is after those before it."""
    model = loaded.translator
    tape = Tape(kinds=CROSS, edits=edits)
    target = torch.tensor([[source.frame.begin, *ids[:-1]]], device=loaded.device)
    logits = model(source.ids, target, tape)[0]  # (Tq, V)
    rows = torch.cat([step.attn for step in tape])  # (L, H, Tq, Tk)
    voice = Voice(loaded)
    steps = (DecodedToken(i, logits[n], rows[:, :, n]) for n, i in enumerate(ids))
    found = [said(voice, step, top, forced=forced) for step in steps]
    pairs = zip(found, voice.tokens(), strict=True)
    return [replace(each, token=token) for each, token in pairs]


def reference_ids(loaded: Loaded, text: str, direction: Direction | None = None) -> list[int]:
    """A translation that was typed, as ids with its </s>."""
    if not text.strip():
        raise BadInput("reference", "the reference has no tokens: only spaces")
    tokens = loaded.tokenizer.encode_target(text, direction)
    return [*(token.id for token in tokens), frame(loaded, direction).end]
