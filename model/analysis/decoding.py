"""Decoding with labels: what all tasks share, continuations, and the surprise of a text.

A generator yields each token as soon as it is decoded, with the attention that led to it; closing
the generator stops the computation. Raises BadInput, naming the limit. Translation is in
`translation.py`, masked words are in `blanks.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from attention_atlas.model.generate import DecodedToken, Sampling, generating
from attention_atlas.model.messages import Message, Refused
from attention_atlas.model.record import Token
from attention_atlas.model.run import batch_of, candidates
from attention_atlas.model.spec import (
    BadInput,
    Spec,
    check_heads,
    check_ids,
    check_spec,
    check_tokens,
    tokenize,
)
from attention_atlas.model.tape import Edit, Tape
from attention_atlas.model.zoo import Loaded
from torch import Tensor

INCOMPLETE = "\ufffd"  # a decoder's replacement for part of a character
NO_TOKEN = Token(0, "", "")


@dataclass(frozen=True)
class LabelledToken:
    """A decoded token, or a given one, with its text and its probability."""

    token: Token
    log_probability: float  # in the model's own distribution, before any filter
    probability: float  # in the distribution it was drawn from
    entropy: float  # of the model's own distribution, in nats
    rank: int  # 0: the most probable
    candidates: list[dict[str, Any]]
    attn: Tensor  # (L, H, Tk): attention of the query before it
    text: str  # so far, this token included
    forced: bool = False  # given, not chosen
    n_kept: dict[str, int] = field(default_factory=dict)  # tokens after each filter


class Transcript:
    """The text decoded so far, token by token, after a prompt."""

    def __init__(self, loaded: Loaded, prompt: Sequence[int] = ()) -> None:
        self.loaded, self.prompt = loaded, list(prompt)
        self.ids: list[int] = []
        self.prompt_text = loaded.tokenizer.decode(self.prompt)
        self.text = ""

    def append(self, i: int) -> Token:
        """Append an id; its token has the text that it adds."""
        tokenizer, start = self.loaded.tokenizer, len(self.text)
        self.ids.append(i)
        decoded = tokenizer.decode([*self.prompt, *self.ids])
        self.text = decoded.removeprefix(self.prompt_text)
        piece, raw = self.text[start:], tokenizer.raw(i)
        special = i in tokenizer.special_ids and i != tokenizer.unknown_id
        is_incomplete = INCOMPLETE in piece or not piece
        text = raw if special else tokenizer.readable(i) if is_incomplete else piece
        return Token(i, raw, text, min(start, len(self.text)), len(self.text), special)

    def tokens(self) -> tuple[Token, ...]:
        """The decoded tokens, with their spans in the decoded text."""
        n, shift = len(self.prompt), len(self.prompt_text)
        tokens = self.loaded.tokenizer.label([*self.prompt, *self.ids])[n:]
        return tuple(
            token._replace(start=max(0, token.start - shift), end=max(0, token.end - shift))
            for token in tokens
        )


def check_task(loaded: Loaded, task: str, *others: str) -> None:
    """The model has one of the tasks."""
    if not {task, *others} & set(loaded.tasks):
        tasks = ", ".join(loaded.tasks) or "–"
        raise BadInput(
            "model",
            Message(
                "task-not-available",
                "{model} is not for {task}; its tasks: {tasks}",
                model=loaded.name,
                task=task,
                tasks=tasks,
            ),
        )


def check_head(loaded: Loaded, head: int | None) -> None:
    """The head exists, or is None."""
    check_heads(loaded, None, (), () if head is None else (head,))


def check_edits(loaded: Loaded, edits: Sequence[Edit], lengths: Mapping[str, int]) -> None:
    """The edits' layers, heads and tokens exist, for sequences of at most these lengths."""
    check_spec(loaded, Spec("", edits=tuple(edits)))
    room = {name: (NO_TOKEN,) * n for name, n in lengths.items()}
    for edit in edits:
        check_tokens(loaded, edit, room)


@contextmanager
def edits_that_fit() -> Iterator[None]:
    """Raise BadInput for an edit that does not fit the text."""
    try:
        yield
    except Refused as error:
        raise BadInput("edits", error.message) from None


def labelled(
    transcript: Transcript, step: DecodedToken, top: int, *, forced: bool = False
) -> LabelledToken:
    """Append a decoded token to the transcript, with its probability and the top candidates."""
    log_p = step.logits.float().log_softmax(-1)
    top_candidates = candidates(transcript.loaded, step.logits, top)
    for candidate in top_candidates:
        i = candidate["id"]
        candidate |= {name: p[i].item() for name, p in step.filtered.items()}
    drawn = step.filtered.get("top_p")
    return LabelledToken(
        token=transcript.append(step.id),
        log_probability=log_p[step.id].item(),
        probability=(log_p[step.id].exp() if drawn is None else drawn[step.id]).item(),
        entropy=torch.special.entr(log_p.exp()).sum().item(),
        rank=int((log_p > log_p[step.id]).sum()),
        candidates=top_candidates,
        attn=step.attn.cpu(),
        text=transcript.text,
        forced=forced,
        n_kept={name: int((p > 0).sum()) for name, p in step.filtered.items()},
    )


class Guess(NamedTuple):
    """A distribution over tokens: the most probable ones and its entropy."""

    candidates: list[dict[str, Any]]
    entropy: float  # in nats


def guess(loaded: Loaded, logits: Tensor, top: int) -> Guess:
    """The distribution of logits (V,)."""
    entropy = torch.special.entr(logits.float().softmax(-1)).sum().item()
    return Guess(candidates(loaded, logits, top), entropy)


class Continuation(NamedTuple):
    """What a decoder generated after a prompt."""

    prompt: tuple[Token, ...]
    steps: list[LabelledToken]
    tokens: tuple[Token, ...]  # of the steps, with their spans in the text
    text: str
    finished: bool  # it ends with the end-of-text token, not at the limit


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
) -> Generator[tuple[Token, ...] | LabelledToken, None, Continuation]:
    """Yields the prompt's tokens, then each new one; the last may be the end-of-text token."""
    prompt = prompt_of(loaded, text, max_new_tokens)
    model, tokenizer = loaded.decoder, loaded.tokenizer
    check_ids(loaded, forced, "forced")
    check_edits(loaded, edits, {"source": len(prompt) + max_new_tokens})
    yield prompt
    steps: list[LabelledToken] = []
    transcript = Transcript(loaded, [token.id for token in prompt])
    with edits_that_fit():
        for step in generating(
            model,
            batch_of(loaded, prompt),
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            ends=tokenizer.end_ids,
            forced=forced,
            tape=Tape(edits=edits),
        ):
            steps.append(labelled(transcript, step, top, forced=len(steps) < len(forced)))
            yield steps[-1]
    finished = transcript.ids[-1] in tokenizer.end_ids
    return Continuation(prompt, steps, transcript.tokens(), transcript.text, finished)


def prompt_of(loaded: Loaded, text: str, max_new_tokens: int) -> tuple[Token, ...]:
    """The prompt's tokens. Raises BadInput if the new tokens do not fit after them."""
    check_task(loaded, "generate")
    tokens = tokenize(loaded, text)
    n_ctx = loaded.config.n_ctx
    room = n_ctx - len(tokens)
    if max_new_tokens > room:
        message = Message(
            "too-many-tokens",
            "{value} new tokens are too many: the prompt has {n_tokens} and {model} takes {n_ctx}, "
            "so at most {limit} fit",
            value=max_new_tokens,
            n_tokens=len(tokens),
            model=loaded.name,
            n_ctx=n_ctx,
            limit=room,
        )
        raise BadInput("max_new_tokens", message)
    return tokens


class Surprise(NamedTuple):
    """The probability of each token of a text after those before it, except the first."""

    tokens: tuple[Token, ...]
    log_probabilities: list[float]
    entropies: list[float]  # of the distribution before the token, in nats
    ranks: list[int]
    following: Guess  # of the token after the text


@torch.inference_mode()
def surprise(loaded: Loaded, text: str, edits: Sequence[Edit] = (), top: int = 10) -> Surprise:
    """The surprise of each token of a text, in one forward pass."""
    check_task(loaded, "next-token", "generate")
    model = loaded.decoder
    tokens = tokenize(loaded, text)
    check_edits(loaded, edits, {"source": len(tokens)})
    ids = batch_of(loaded, tokens)
    with edits_that_fit():
        x = model.hidden(ids, Tape(layers=(), edits=edits))
    logits = model.logits(x)[0].float()  # (T, V)
    log_p = logits[:-1].log_softmax(-1)
    chosen = log_p.gather(-1, ids[0, 1:, None])  # (T - 1, 1)
    return Surprise(
        tokens,
        chosen[:, 0].tolist(),
        torch.special.entr(log_p.exp()).sum(-1).tolist(),
        (log_p > chosen).sum(-1).tolist(),
        guess(loaded, logits[-1], top),
    )
