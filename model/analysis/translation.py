"""Translation token by token: greedy, by beam search, or a given reference by teacher forcing.

A generator yields each step as soon as it is computed. Row n of cross-attention belongs to the
query that chose token n; its input is the token before.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from attention_atlas.model.analysis.decoding import (
    LabelledToken,
    Transcript,
    check_edits,
    check_task,
    edits_that_fit,
    labelled,
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
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of
from attention_atlas.model.spec import (
    BadInput,
    Spec,
    beginning,
    check_length,
    direction_of,
    frame,
    tokenize,
)
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

GREEDY = Beam(1)


class Node(NamedTuple):
    """A node in the tree of a beam search: a hypothesis extended by one token."""

    id: int
    parent: int | None  # None: it follows <s>
    step: int
    token: Token
    log_probability: float  # of the token
    total: float  # of the hypothesis
    ended: bool


class BeamUpdate(NamedTuple):
    """One step of a beam: its new nodes, the best text so far, and the attention of the best."""

    nodes: list[Node]
    text: str
    attn: Tensor  # (L, H, Tk)


class FinalHypothesis(NamedTuple):
    """A hypothesis at the end of the search, complete or cut off by the limit."""

    score: float  # log-probability / length ** length_penalty
    log_probability: float
    ids: list[int]  # with </s>, if it is complete
    text: str


class Source(NamedTuple):
    """A text to translate, and the limits of its translation."""

    tokens: tuple[Token, ...]
    ids: Tensor  # (1, Tk)
    longest: int
    frame: Frame  # of its translation


class Translation(NamedTuple):
    """A translation, its steps, and the other hypotheses."""

    sequences: dict[str, tuple[Token, ...]]  # source and target, as in a `Run`
    steps: list[LabelledToken]
    tokens: tuple[Token, ...]  # of the steps, with their spans in the whole text
    finished: bool  # it ends with </s>, not at the limit
    hypotheses: list[FinalHypothesis]  # the best first
    tree: list[Node]  # of the beam search; empty if greedy
    reference: list[LabelledToken]  # the steps of a given translation


@torch.inference_mode()
def translate(
    loaded: Loaded,
    spec: Spec,
    beam: Beam = GREEDY,
    *,
    max_new_tokens: int | None = None,
    reference: str | None = None,
    top: int = 5,
) -> Generator[Source | LabelledToken | BeamUpdate, None, Translation]:
    """Yields the source, then each step. `spec` gives the text, the languages and the edits."""
    direction = direction_of(loaded, spec.text, spec.source_lang, spec.target_lang)
    source = source_of(loaded, spec.text, max_new_tokens, direction)
    forced = reference_ids(loaded, reference, direction) if reference else []
    check_length(loaded, "reference", len(forced))  # <s> replaces the last
    n_target = max(source.longest, len(forced)) + 1
    check_edits(loaded, spec.edits, {"source": len(source.tokens), "target": n_target})
    yield source
    options: dict[str, Any] = {"edits": spec.edits, "top": top}
    tree: list[Node] = []
    with edits_that_fit():
        if beam.n_beam == 1:
            steps = yield from _greedy(loaded, source, spec.edits, top)
            hypotheses = [_hypothesis(steps, beam)]
        else:
            hypotheses, tree = yield from _beam(loaded, source, beam, spec.edits)
            steps = teacher_forced(loaded, source, hypotheses[0].ids, **options)
        given = teacher_forced(loaded, source, forced, forced=True, **options) if forced else []
    ids = hypotheses[0].ids
    finished = ids[-1] == source.frame.end
    tokens = loaded.tokenizer.label(ids)
    target = (beginning(loaded, source.frame), *(tokens[:-1] if finished else tokens))
    sequences = {"source": source.tokens, "target": target}
    return Translation(sequences, steps, tokens, finished, hypotheses, tree, given)


def _hypothesis(steps: Sequence[LabelledToken], beam: Beam) -> FinalHypothesis:
    """The hypothesis of a greedy translation, scored as in a beam search."""
    total = sum(step.log_probability for step in steps)
    ids = [step.token.id for step in steps]
    return FinalHypothesis(total / len(ids) ** beam.length_penalty, total, ids, steps[-1].text)


def source_of(
    loaded: Loaded, text: str, max_new_tokens: int | None, direction: Direction | None = None
) -> Source:
    """Raises BadInput for an empty or too long text, and for too many new tokens."""
    check_task(loaded, "translate")
    tokens = tokenize(loaded, text, direction=direction)
    model = loaded.translator
    most = longest(model, None)
    if max_new_tokens is not None and max_new_tokens > most:
        message = Message(
            "too-many-tokens",
            "{value} tokens are too many: {model} generates at most {limit}",
            value=max_new_tokens,
            model=loaded.name,
            limit=most,
        )
        raise BadInput("max_new_tokens", message)
    usual = model.usual_length(len(tokens))
    ids, framed = batch_of(loaded, tokens), frame(loaded, direction)
    return Source(tokens, ids, max_new_tokens or usual, framed)


def _greedy(
    loaded: Loaded, source: Source, edits: Sequence[Edit], top: int
) -> Generator[LabelledToken, None, list[LabelledToken]]:
    """The most probable token at each step, up to </s> or the limit."""
    model = loaded.translator
    steps: list[LabelledToken] = []
    transcript = Transcript(loaded)
    for step in translating(
        model,
        source.ids,
        source.frame,
        max_tokens=source.longest + 1,
        edits=edits,
    ):
        steps.append(labelled(transcript, step, top))
        yield steps[-1]
    return steps


def _beam(
    loaded: Loaded, source: Source, beam: Beam, edits: Sequence[Edit]
) -> Generator[BeamUpdate, None, tuple[list[FinalHypothesis], list[Node]]]:
    """Yields the steps of a beam search. Returns its hypotheses, the best first, and its tree."""
    beam = beam._replace(max_tokens=source.longest + 1)
    tape = Tape(kinds=CROSS, edits=edits)
    steps = beam_steps(loaded.translator, source.ids, source.frame, beam, tape=tape)
    tree = Tree(loaded, beam.n_beam, source.frame.end)
    nodes: list[Node] = []
    while True:
        try:
            update = tree.grow(next(steps))
        except StopIteration as stop:
            [hypotheses] = stop.value
            return [tree.final(each, beam.length_penalty) for each in hypotheses], nodes
        nodes += update.nodes
        yield update


class Tree:
    """The tree of a beam search, with the node of each of the K running hypotheses."""

    def __init__(self, loaded: Loaded, n_beam: int, end: int) -> None:
        self.loaded, self.n_beam, self.end = loaded, n_beam, end
        self.running: list[tuple[int | None, list[int], float]] = [(None, [], 0.0)] * n_beam
        self.n = self.step = 0
        self.complete: set[tuple[int, ...]] = set()

    def grow(self, step: BeamStep) -> BeamUpdate:
        """Add a step's nodes: those that end among the K best, and those that are continued."""
        total, parent, token = (x[0].tolist() for x in (step.total, step.parent, step.token))
        ending = [i for i in range(self.n_beam) if token[i] == self.end]
        nodes: list[Node] = []
        running: list[tuple[int | None, list[int], float]] = []
        for i in [*ending, *step.kept[0].tolist()]:
            parent_node, ids, before = self.running[parent[i]]
            label, is_end = self._label(ids, token[i]), token[i] == self.end
            log_p = total[i] - before
            nodes.append(Node(self.n, parent_node, self.step, label, log_p, total[i], is_end))
            if is_end:
                self.complete.add(tuple(ids))
            else:
                running.append((self.n, [*ids, token[i]], total[i]))
            self.n += 1
        self.running = running
        self.step += 1
        best = int(step.kept[0, 0])
        assert step.attn is not None
        text = self.loaded.tokenizer.decode(running[0][1])
        return BeamUpdate(nodes, text, step.attn[0, int(step.parent[0, best])])

    def _label(self, ids: Sequence[int], i: int) -> Token:
        """The token of an id after others."""
        transcript = Transcript(self.loaded)
        transcript.ids, transcript.text = list(ids), self.loaded.tokenizer.decode(ids)
        return transcript.append(i)

    def final(self, hypothesis: Hypothesis, length_penalty: float) -> FinalHypothesis:
        """A hypothesis with its log-probability and text."""
        score, ids = hypothesis
        complete = [*ids, self.end] if tuple(ids) in self.complete else ids
        total = score * len(complete) ** length_penalty
        return FinalHypothesis(score, total, complete, self.loaded.tokenizer.decode(ids))


def teacher_forced(
    loaded: Loaded,
    source: Source,
    ids: Sequence[int],
    *,
    edits: Sequence[Edit],
    top: int,
    forced: bool = False,
) -> list[LabelledToken]:
    """The steps of a given translation: each token's probability after those before it."""
    model = loaded.translator
    tape = Tape(kinds=CROSS, edits=edits)
    target = torch.tensor([[source.frame.begin, *ids[:-1]]], device=loaded.device)
    logits = model(source.ids, target, tape)[0]  # (Tq, V)
    rows = torch.cat([step.attn for step in tape])  # (L, H, Tq, Tk)
    transcript = Transcript(loaded)
    decoded = (DecodedToken(i, logits[n], rows[:, :, n]) for n, i in enumerate(ids))
    steps = [labelled(transcript, step, top, forced=forced) for step in decoded]
    pairs = zip(steps, transcript.tokens(), strict=True)
    return [replace(step, token=token) for step, token in pairs]


def reference_ids(loaded: Loaded, text: str, direction: Direction | None = None) -> list[int]:
    """The ids of a given translation, </s> included."""
    if not text.strip():
        raise BadInput(
            "reference", Message("no-tokens", "the reference has no tokens: only spaces")
        )
    tokens = loaded.tokenizer.encode_target(text, direction)
    return [*(token.id for token in tokens), frame(loaded, direction).end]
