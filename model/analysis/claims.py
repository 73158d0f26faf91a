"""What the examples of the pages claim, and where it is seen with the weights at hand.

A claim is checked on the models of an example. Without a place it looks for the place where it is
seen best: the head, the layer or the step. With one it says what is seen there. Nothing here is
random: the same weights give the same places and values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

import torch
from attention_atlas.model.analysis import blanks
from attention_atlas.model.analysis import masks as padding
from attention_atlas.model.analysis.anatomy import anatomy
from attention_atlas.model.analysis.compare import hidden_states, similarity, word_states
from attention_atlas.model.analysis.observations import (
    Claim,
    Place,
    best_head,
    heads_by_position,
    observed,
    word_attention,
    words,
)
from attention_atlas.model.analysis.permutation import permutation
from attention_atlas.model.analysis.senses import nearer, reference_words, senses, shipped
from attention_atlas.model.record import Selection
from attention_atlas.model.run import run
from attention_atlas.model.spec import Spec, tokenize
from attention_atlas.model.tape import Edit, Kind
from attention_atlas.model.words import occurrences, words_of
from attention_atlas.model.zoo import Loaded
from torch import Tensor

Inputs = Mapping[str, str]  # what a person typed, as the page's address names it
Address = dict[str, str | int]
Models = Callable[[str], Loaded]
LEAST = 0.3  # of a word's attention; less is not worth looking at


@dataclass(frozen=True)
class Seen:
    """Where a claim is seen, the numbers and words seen there, and whether the claim is true."""

    address: Address
    values: dict[str, Any]
    holds: bool


class Checked(Protocol):
    """A claim. With `address` it is checked there, else where it is seen best."""

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen: ...


def spec_of(inputs: Inputs) -> Spec:
    return Spec(inputs["text"], inputs.get("text_pair") or None)


def place_of(address: Address) -> Place:
    return address["kind"], int(address["layer"]), int(address["head"])  # type: ignore[return-value]


@dataclass(frozen=True)
class Attends:
    """In some head a word gives much of its attention to certain others."""

    query: str
    keys: tuple[str, ...]
    kind: Kind | None = None
    occurrence: int = 0
    key_occurrence: int = 0
    by_position: bool = False

    @property
    def claim(self) -> Claim:
        return Claim(**{field.name: getattr(self, field.name) for field in fields(Claim)})

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, spec = models(inputs["model"]), spec_of(inputs)
        if address is None:
            best = best_head(loaded, spec, self.claim)
        else:
            best = observed(loaded, spec, self.claim, place_of(address))
        where: Address = {"kind": best.kind, "layer": best.layer, "head": best.head}
        values = {"attn": best.attn, "even": best.even}
        return Seen({**where, "query": best.query}, values, best.attn >= LEAST)


@dataclass(frozen=True)
class Scores:
    """In some head a query's largest score is with a certain word's key."""

    query: str
    key: str
    occurrence: int = 0

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, spec = models(inputs["model"]), spec_of(inputs)
        claim = Claim(self.query, (self.key,), occurrence=self.occurrence)
        if address is None:
            best = best_head(loaded, spec, claim)
        else:
            best = observed(loaded, spec, claim, place_of({"kind": loaded.kinds[0], **address}))
        seen = anatomy(loaded, spec, kind=None, layer=best.layer, head=best.head, query=best.query)
        largest = int(seen.scores.argmax())
        of_text = words_of(seen.k_tokens, [spec.text])
        is_key = largest in of_text[occurrences(of_text, self.key)[0]].tokens
        share = round(seen.attn[largest].item(), 4)
        values = {
            "dot": round(seen.dots[largest].item(), 2),
            "score": round(seen.scores[largest].item(), 2),
            "width": loaded.config.d_head,
            "token": seen.k_tokens[largest].text.strip(),  # of the key word, or a piece of it
            "attn": share,
            "even": round(1 / int(seen.mask.sum()), 4),
        }
        where: Address = {"layer": best.layer, "head": best.head, "word": best.query}
        return Seen(where, values, is_key and share >= LEAST)


@dataclass(frozen=True)
class Fills:
    """The model's first guess for the blank is one of the words that fit."""

    answers: tuple[str, ...]
    keys: tuple[str, ...]  # words that help to guess

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded = models(inputs["model"])
        hidden = tuple(map(int, inputs["words"].split(",")))
        text_pair = inputs.get("text_pair") or None
        filled = blanks.fill(loaded, inputs["text"], text_pair, words=(hidden, ()))
        first = next(iter(filled.masks.values())).candidates[0]
        claim = Claim(loaded.mask or "", self.keys)
        spec = Spec(*filled.texts)
        if address is None:
            best = best_head(loaded, spec, claim)
        else:
            place = {"kind": loaded.kinds[0], **address}
            best = observed(loaded, spec, claim, place_of(place))
        guess = first["text"].strip()
        values = {
            "guess": guess,
            "probability": round(first["probability"], 4),
            "attn": best.attn,
            "right": guess in self.answers,
        }
        return Seen({"layer": best.layer, "head": best.head}, values, True)


@dataclass(frozen=True)
class Follows:
    """Whether the second sentence follows the first, which the model is asked for."""

    truth: bool
    query: str  # a word of the second sentence
    keys: tuple[str, ...]  # words of the first

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, spec = models(inputs["model"]), spec_of(inputs)
        claim = Claim(self.query, self.keys)
        if address is None:
            best = best_head(loaded, spec, claim)
        else:
            best = observed(loaded, spec, claim, place_of({"kind": loaded.kinds[0], **address}))
        is_next = blanks.next_sentence(loaded, inputs["text"], inputs["text_pair"])
        values = {
            "is_next": round(is_next, 4),
            "attn": best.attn,
            "right": (is_next >= 0.5) == self.truth,
        }
        where: Address = {"layer": best.layer, "head": best.head, "query": best.query}
        return Seen(where, values, True)


@dataclass(frozen=True)
class Continues:
    """The model's first guess for the next word is one of those that fit."""

    answers: tuple[str, ...]
    keys: tuple[str, ...]  # words of the prompt that help to guess
    key_occurrence: int = 0

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, spec = models(inputs["model"]), spec_of(inputs)
        result = run(loaded, spec)
        first = result.predictions["next_token"][0]
        record = result.records["decoder"]
        last = words(result, record)[0][-1].text
        claim = Claim(last, self.keys, occurrence=-1, key_occurrence=self.key_occurrence)
        attn = word_attention(result, "decoder", claim)[0].mean(1)  # (L,), as the page shows them
        layer = int(attn.argmax()) if address is None else int(address["layer"])
        guess = first["text"].strip()
        values = {
            "guess": guess,
            "probability": round(first["probability"], 4),
            "attn": round(attn[layer].item(), 4),
            "right": guess in self.answers,
        }
        return Seen({"step": 0, "layer": layer}, values, True)


@dataclass(frozen=True)
class Aligns:
    """At the step that gives a word, some head of cross-attention is on the word it translates."""

    source: str
    targets: tuple[str, ...]  # how it may be translated

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded = models(inputs["model"])
        result = run(loaded, spec_of(inputs), Selection(kind="cross"))
        record = result.records["cross"]
        q_words, k_words = words(result, record)
        targets = [i for word in self.targets for i in occurrences(q_words, word)]
        if not targets:
            return Seen({}, {"translation": result.target}, False)
        word = q_words[targets[0]]
        step = word.tokens[0] - 1  # <s> is the input of the first step
        keys = k_words[occurrences(k_words, self.source)[0]].tokens
        attn = record.attn[:, :, step, list(keys)].sum(-1)  # (L, H)
        layer, head = best_place(attn, address)
        share = round(attn[layer, head].item(), 4)
        values = {"word": word.text, "translation": result.target, "attn": share}
        return Seen({"layer": layer, "head": head, "step": step}, values, share >= LEAST)


def best_place(attn: Tensor, address: Address | None) -> tuple[int, int]:
    """The address's layer and head, else those of the largest of (L, H)."""
    if address is not None:
        return int(address["layer"]), int(address["head"])
    return divmod(int(attn.argmax()), attn.size(1))


@dataclass(frozen=True)
class Pair:
    """A word of A and of B gives its attention to certain words, in one head of both.

    With `a` and `b`, senses of the reference sentences: A's word is nearer the first, B's the
    second, after the last layer.
    """

    keys_a: tuple[str, ...]
    keys_b: tuple[str, ...]
    a: str = ""
    b: str = ""
    kind: Kind | None = None

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        names = inputs["model"], inputs.get("model_b", inputs["model"])
        texts, keys = (inputs["text"], inputs["text_b"]), (self.keys_a, self.keys_b)
        loaded = [models(name) for name in names]
        kind = self.kind or loaded[0].kinds[0]
        shares = []
        for model, text, to in zip(loaded, texts, keys, strict=True):
            its_kind = kind if kind in model.kinds else model.kinds[0]
            result = run(model, Spec(text), Selection(kind=its_kind))
            attn = word_attention(result, its_kind, Claim(inputs["word"], to))[0]
            for _, layer, head in (x for x in heads_by_position(model) if x[0] == its_kind):
                attn[layer, head] = -1
            shares.append(attn)
        L, H = (min(attn.size(axis) for attn in shares) for axis in (0, 1))
        both = torch.stack([attn[:L, :H] for attn in shares])  # (2, L, H)
        layer, head = best_place(both.amin(0), address)
        attn_a, attn_b = (round(x, 4) for x in both[:, layer, head].tolist())
        values: dict[str, Any] = {"attn_a": attn_a, "attn_b": attn_b}
        if self.a:
            values |= self._senses(loaded[0], texts, inputs["word"])
        where: Address = {"layer": layer, "head": head}
        if len(loaded[0].kinds) > 1:
            where = {"kind": kind, **where}
        return Seen(where, values, self.a != "" or min(attn_a, attn_b) >= LEAST / 2)

    def _senses(self, loaded: Loaded, texts: Sequence[str], word: str) -> dict[str, Any]:
        """The sense that the word is nearer to in each text, and from which hidden state on."""
        sentences = shipped(loaded, word)
        known = reference_words(loaded, word, lambda spec: hidden_states(loaded, spec), sentences)
        in_a, in_b = (state_of(loaded, text, word) for text in texts)
        nearness = senses(in_a, in_b, known)
        a, b = nearer(nearness.a), nearer(nearness.b)
        return {
            "sense_a": a.sense,
            "from_a": a.since,
            "sense_b": b.sense,
            "from_b": b.since,
            "right": (a.sense, b.sense) == (self.a, self.b),
        }


def state_of(loaded: Loaded, text: str, word: str) -> Tensor:
    """The word's hidden states in a text: (L + 1, D)."""
    words = words_of(tokenize(loaded, text), [text])
    index = occurrences(words, word)[0]
    return word_states(hidden_states(loaded, Spec(text)), words[index].tokens)


@dataclass(frozen=True)
class SwitchedOff:
    """Without one head of B the word has another hidden state after the last layer."""

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, text, word = models(inputs["model"]), inputs["text"], inputs["word"]
        whole = state_of(loaded, text, word)[-1]
        n_layer, n_head = loaded.shape(loaded.kinds[0])
        every = [(layer, head) for layer in range(n_layer) for head in range(n_head)]
        if address is not None:
            layer, head = map(int, str(address["off"]).split("."))
            every = [(layer, head)]
        cosines = [self._cosine(loaded, text, word, place, whole) for place in every]
        least = min(range(len(every)), key=cosines.__getitem__)
        layer, head = every[least]
        where: Address = {"off": f"{layer}.{head}", "layer": layer, "head": head}
        return Seen(where, {"cosine": round(cosines[least], 4)}, cosines[least] < 0.99)

    def _cosine(
        self, loaded: Loaded, text: str, word: str, place: tuple[int, int], whole: Tensor
    ) -> float:
        layer, head = place
        spec = Spec(text, edits=(Edit("ablate", layer=layer, head=head),))
        of_text = words_of(tokenize(loaded, text), [text])
        tokens = of_text[occurrences(of_text, word)[0]].tokens
        return similarity(whole, word_states(hidden_states(loaded, spec), tokens)[-1]).item()


@dataclass(frozen=True)
class Leaks:
    """With a mask switched off, a head attends to what the mask hides."""

    off: Literal["padding", "causal"]

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded, texts = models(inputs["model"]), inputs["texts"].split("\n")
        kind, row = loaded.kinds[0], int(inputs.get("row", 0))
        places = [place_of(address)] if address else self._places(loaded, kind)
        leaks = [self._leak(loaded, texts, place, row) for place in places]
        best = max(range(len(leaks)), key=lambda i: float(leaks[i]["leak"]))
        _, layer, head = places[best]
        values = leaks[best]
        where: Address = {"kind": kind, "layer": layer, "head": head}
        return Seen(where, values, values["leak"] >= LEAST)

    def _places(self, loaded: Loaded, kind: Kind) -> list[Place]:
        n_layer, n_head = loaded.shape(kind)
        return [(kind, layer, head) for layer in range(n_layer) for head in range(n_head)]

    def _leak(self, loaded: Loaded, texts: list[str], place: Place, row: int) -> dict[str, float]:
        kind, layer, head = place
        result = padding.masks(loaded, texts, kind=kind, layer=layer, head=head, off=(self.off,))
        if self.off == "padding":
            return {"leak": round(result.to_padding[row].item(), 4)}
        ahead = result.attn[row].triu(1).sum(-1)  # (Tq,)
        real = result.q.real[row].cpu()
        losses = {f"loss_{name}": round(value, 3) for name, value in result.losses.items()}
        return {"leak": round(ahead[real][:-1].mean().item(), 4), **losses}


@dataclass(frozen=True)
class Reorders:
    """The same words in another order: with positions their vectors change."""

    def check(self, models: Models, inputs: Inputs, address: Address | None = None) -> Seen:
        loaded = models(inputs["model"])
        result = permutation(loaded, inputs["text"], inputs["text_b"])
        is_causal = loaded.family == "decoder"
        values: dict[str, Any] = {
            "with_positions": round(result.with_positions.max().item(), 2),
            "without": float(f"{result.without.max().item():.0e}"),
            "causal": is_causal,
        }
        is_seen = bool(values["with_positions"] > 0.1)
        return Seen({}, values, is_seen and (is_causal or bool(values["without"] < 1e-3)))
