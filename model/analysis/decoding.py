"""Models at work, step by step: what their tasks share, and how a text goes on.

Each step is labelled and given out as it is made, with the attention that led to it; who stops
asking stops the work. Raises BadInput, naming the limit. Translating is in `translation.py`,
filling in the blank in `blanks.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from attention_atlas.model.generate import DecodedToken, Sampling, generating
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

HALF = "\ufffd"  # what stands for part of a character


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


class Voice:
    """What a model has said so far, token by token, after what it was given."""

    def __init__(self, loaded: Loaded, given: Sequence[int] = ()) -> None:
        self.loaded, self.given = loaded, list(given)
        self.ids: list[int] = []
        self.before = loaded.tokenizer.decode(self.given)
        self.text = ""

    def say(self, i: int) -> Token:
        """One more token: as it is read behind the text so far."""
        tokenizer, start = self.loaded.tokenizer, len(self.text)
        self.ids.append(i)
        self.text = self.after(tokenizer.decode([*self.given, *self.ids]))
        piece, raw = self.text[start:], tokenizer.raw(i)
        special = i in tokenizer.special_ids and i != tokenizer.unknown_id
        shown = raw if special else tokenizer.readable(i) if HALF in piece or not piece else piece
        return Token(i, raw, shown, min(start, len(self.text)), len(self.text), special)

    def after(self, whole: str) -> str:
        """The text without what was given."""
        return whole.removeprefix(self.before)

    def tokens(self) -> tuple[Token, ...]:
        """All that was said, with its spans in the text."""
        n, shift = len(self.given), len(self.before)
        found = self.loaded.tokenizer.label([*self.given, *self.ids])[n:]
        return tuple(
            token._replace(start=max(0, token.start - shift), end=max(0, token.end - shift))
            for token in found
        )


def check_task(loaded: Loaded, task: str, *others: str) -> None:
    """The model does what is asked of it."""
    if not {task, *others} & set(loaded.tasks):
        there = ", ".join(loaded.tasks) or "nothing but attention"
        raise BadInput("model", f"{loaded.name} does not {task}; it has {there}")


def check_head(loaded: Loaded, head: int | None) -> None:
    """A head that every layer has, or none."""
    check_heads(loaded, None, (), () if head is None else (head,))


def check_edits(loaded: Loaded, edits: Sequence[Edit], lengths: Mapping[str, int]) -> None:
    """Edits of layers, heads and tokens that are there; of a text that grows, that there may be."""
    check_spec(loaded, Spec("", edits=tuple(edits)))
    room = {name: (NO_TOKEN,) * n for name, n in lengths.items()}
    for edit in edits:
        check_tokens(loaded, edit, room)


NO_TOKEN = Token(0, "", "")


@contextmanager
def edits_that_fit() -> Iterator[None]:
    """An edit that does not fit the text is the user's mistake."""
    try:
        yield
    except ValueError as error:
        raise BadInput("edits", str(error)) from None


def said(voice: Voice, step: DecodedToken, top: int, *, forced: bool = False) -> Said:
    """A step in words: how sure the model was, and what else it might have said."""
    log_p = step.logits.float().log_softmax(-1)
    found = candidates(voice.loaded, step.logits, top)
    for candidate in found:
        at = candidate["id"]
        candidate |= {name: p[at].item() for name, p in step.filtered.items()}
    drawn = step.filtered.get("top_p")
    return Said(
        token=voice.say(step.id),
        log_probability=log_p[step.id].item(),
        probability=(log_p[step.id].exp() if drawn is None else drawn[step.id]).item(),
        entropy=torch.special.entr(log_p.exp()).sum().item(),
        rank=int((log_p > log_p[step.id]).sum()),
        candidates=found,
        attn=step.attn.cpu(),
        text=voice.text,
        forced=forced,
        n_kept={name: int((p > 0).sum()) for name, p in step.filtered.items()},
    )


class Guess(NamedTuple):
    """A distribution over tokens: its most probable ones, and how sure it is."""

    candidates: list[dict[str, Any]]
    entropy: float  # in nats


def guess(loaded: Loaded, logits: Tensor, top: int) -> Guess:
    """Logits (V,) in words."""
    entropy = torch.special.entr(logits.float().softmax(-1)).sum().item()
    return Guess(candidates(loaded, logits, top), entropy)


# How a text goes on.


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
    model, tokenizer = loaded.decoder, loaded.tokenizer
    check_ids(loaded, forced, "forced")
    check_edits(loaded, edits, {"source": len(prompt) + max_new_tokens})
    yield prompt
    found: list[Said] = []
    voice = Voice(loaded, [token.id for token in prompt])
    with edits_that_fit():
        for step in generating(
            model,
            batch_of(loaded, prompt),
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            end=tokenizer.end_id,
            forced=forced,
            tape=Tape(edits=edits),
        ):
            found.append(said(voice, step, top, forced=len(found) < len(forced)))
            yield found[-1]
    finished = voice.ids[-1:] == [tokenizer.end_id]
    return Continuation(prompt, found, voice.tokens(), voice.text, finished)


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
    following: Guess  # what comes after the text


@torch.inference_mode()
def surprise(loaded: Loaded, text: str, edits: Sequence[Edit] = (), top: int = 10) -> Surprise:
    """The probability of each token of a text after those before it, in one pass."""
    check_task(loaded, "next-token", "generate")
    model = loaded.decoder
    tokens = tokenize(loaded, text)
    check_edits(loaded, edits, {"source": len(tokens)})
    ids = batch_of(loaded, tokens)
    with edits_that_fit():
        x = model.hidden(ids, Tape(layers=(), edits=edits))
    logits = model.logits(x)[0].float()  # (T, V)
    log_p = logits[:-1].log_softmax(-1)
    own = log_p.gather(-1, ids[0, 1:, None])  # (T - 1, 1)
    return Surprise(
        tokens,
        own[:, 0].tolist(),
        torch.special.entr(log_p.exp()).sum(-1).tolist(),
        (log_p > own).sum(-1).tolist(),
        guess(loaded, logits[-1], top),
    )
