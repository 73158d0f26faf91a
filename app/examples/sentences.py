"""What an example's observation says, in a sentence made of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attention_atlas.app.examples.catalogue import Example
from attention_atlas.model.analysis import claims
from attention_atlas.model.analysis.class_claims import Classifies
from attention_atlas.model.analysis.restores import Restores
from attention_atlas.model.messages import Message


def sentence(example: Example) -> Message:
    """The observation of an example that is offered."""
    claim = example.checked
    return SENTENCES[type(claim)](claim, example, {**example.inputs, **_rounded(example)})


def _rounded(example: Example) -> dict[str, Any]:
    values = {**(example.address or {}), **example.values}
    return {k: f"{v:.2f}" if isinstance(v, float) and v > 0.005 else v for k, v in values.items()}


def quoted(words: Sequence[str]) -> str:
    """“river”; “check” and “Bob”."""
    if len(words) == 1:
        return Message("quoted", "“{word}”", word=words[0])
    first, second = words
    return Message("quoted-two", "“{first}” and “{second}”", first=first, second=second)


Values = dict[str, Any]


def _attends(claim: claims.Attends, example: Example, values: Values) -> Message:
    return Message(
        "attends",
        "In layer {layer}, head {head}, “{query}” gives {attn} of its attention to {keys}; with "
        "equal attention to every token it would be {even}.",
        **{**values, "query": claim.query, "keys": quoted(claim.keys)},
    )


def _scores(claim: claims.Scores, example: Example, values: Values) -> Message:
    return Message(
        "scores",
        "In layer {layer}, head {head}, q·k of “{query}” and “{key}” is {dot}; divided by √{width} "
        "it is {score}, the largest score of this query. Softmax turns it into {attn} of the "
        "attention; equal attention to every token would be {even}.",
        **{**values, "query": claim.query, "key": values["token"]},
    )


def _fills(claim: claims.Fills, example: Example, values: Values) -> Message:
    if not values["right"]:
        return Message(
            "fills-wrong",
            "The model's first guess for the blank is “{guess}”, with probability {probability}; "
            "“{answer}” would fit. The model is wrong here.",
            **{**values, "answer": claim.answers[0]},
        )
    return Message(
        "fills",
        "The model's first guess for the blank is “{guess}”, with probability {probability}: it "
        "fits. In layer {layer}, head {head}, the blank gives {attn} of its attention to {keys}.",
        **{**values, "keys": quoted(claim.keys)},
    )


def _follows(claim: claims.Follows, example: Example, values: Values) -> Message:
    if claim.truth and values["right"]:
        return Message(
            "follows",
            "The second sentence follows the first. The model agrees: it gives that a probability "
            "of {is_next}.",
            **values,
        )
    if claim.truth:
        return Message(
            "follows-wrong",
            "The second sentence follows the first, but the model gives that a probability of only "
            "{is_next}: the model is wrong here.",
            **values,
        )
    if values["right"]:
        return Message(
            "does-not-follow",
            "The second sentence does not follow the first. The model agrees: it gives a "
            "probability of only {is_next} that it does.",
            **values,
        )
    return Message(
        "does-not-follow-wrong",
        "The second sentence does not follow the first, but the model gives a probability of "
        "{is_next} that it does: the model is wrong here.",
        **values,
    )


def _continues(claim: claims.Continues, example: Example, values: Values) -> Message:
    if not values["right"]:
        return Message(
            "continues-wrong",
            "The most probable next word is “{guess}”, with probability {probability}; “{answer}” "
            "would be right. The model is wrong here.",
            **{**values, "answer": claim.answers[0]},
        )
    return Message(
        "continues",
        "The most probable next word is “{guess}”, with probability {probability}. In layer "
        "{layer} the heads give on average {attn} of their attention to {keys}.",
        **{**values, "keys": quoted(claim.keys)},
    )


def _aligns(claim: claims.Aligns, example: Example, values: Values) -> Message:
    return Message(
        "aligns",
        "At the step that gives “{word}”, layer {layer}, head {head} gives {attn} of its attention "
        "to “{source}”, the word that it translates.",
        **{**values, "source": claim.source},
    )


def _pair(claim: claims.Pair, example: Example, values: Values) -> Message:
    heads = Message(
        "pair",
        "In layer {layer}, head {head}, “{word}” gives {attn_a} of its attention to {keys_a} in A, "
        "and {attn_b} to {keys_b} in B.",
        **{**values, "keys_a": quoted(claim.keys_a), "keys_b": quoted(claim.keys_b)},
    )
    if not claim.a:
        return heads
    senses = {"a": Message("sense", claim.a), "b": Message("sense", claim.b)}
    if values["right"]:
        return Message(
            "pair-right", "{heads} The senses found, “{a}” in A and “{b}” in B, are right.",
            heads=heads, **senses,
        )  # fmt: skip
    return Message(
        "pair-wrong",
        "{heads} The right senses are “{a}” in A and “{b}” in B: the model is wrong here.",
        heads=heads,
        **senses,
    )


def _switched_off(claim: claims.SwitchedOff, example: Example, values: Values) -> Message:
    return Message(
        "switched-off",
        "B is without layer {layer}, head {head}. Of all heads it changes “{word}” most: after the "
        "last layer the cosine of its hidden states in A and B is {cosine}.",
        **values,
    )


def _leaks(claim: claims.Leaks, example: Example, values: Values) -> Message:
    is_off = claim.off in example.inputs.get("off", "")
    if claim.off == "padding" and is_off:
        return Message(
            "padding-seen",
            "Without the padding mask, layer {layer}, head {head} gives {leak} of its attention to "
            "padding.",
            **values,
        )
    if claim.off == "padding":
        return Message(
            "padding-masked",
            "Padding gets no attention. Without the padding mask, layer {layer}, head {head} would "
            "give it {leak} of its attention.",
            **values,
        )
    if is_off:
        return Message(
            "later-seen",
            "Without the causal mask, layer {layer}, head {head} gives {leak} of its attention to "
            "later tokens. The model sees the word that it has to predict: its loss, {loss_off} "
            "in place of {loss_on}, means nothing.",
            **values,
        )
    return Message(
        "later-masked",
        "No token attends to a later one. Without the causal mask, layer {layer}, head {head} "
        "would give later tokens {leak} of its attention.",
        **values,
    )


def _reorders(claim: claims.Reorders, example: Example, values: Values) -> Message:
    if values["causal"]:
        return Message(
            "reorders-causal",
            "Without positions the other order still changes the tokens' vectors, by up to "
            "{without}; with positions by up to {with_positions}. The causal mask tells order too.",
            **values,
        )
    return Message(
        "reorders",
        "Without positions the other order changes no token's vector: at most by {without}, "
        "which is rounding. With positions it changes them by up to {with_positions}.",
        **values,
    )


def _restores(claim: Restores, example: Example, values: Values) -> Message:
    return Message(
        "restores",
        "In the clean text the logit of “{answer}” is {clean} above that of “{other}”, in the "
        "corrupted text {below} below it. Of all heads, layer {layer}, head {head} of {kind} "
        "attention matters most: its output from the clean text, put into the corrupted run, "
        "restores {share} of that difference.",
        **{
            **values,
            "kind": Message("kind", str(values["kind"])),
            "below": f"{-float(example.values['corrupted']):.2f}",
        },
    )


def _classifies(claim: Classifies, example: Example, values: Values) -> Message:
    values = {**values, "probability": f"{example.values['probability']:.3f}"}
    if not values["right"]:
        return Message(
            "classifies-wrong",
            "The head says {label}, with probability {probability}; {truth} would be right. The "
            "model is wrong here.",
            **{**values, "truth": claim.truth},
        )
    return Message(
        "classifies",
        "The head says {label}, with probability {probability}: right. It reads {token} alone, "
        "which in layer {layer}, head {head} gives {attn} of its attention to {keys}.",
        **{**values, "keys": quoted(claim.keys)},
    )


SENTENCES: dict[type[Any], Callable[[Any, Example, Values], Message]] = {
    claims.Attends: _attends,
    claims.Scores: _scores,
    claims.Fills: _fills,
    claims.Follows: _follows,
    claims.Continues: _continues,
    claims.Aligns: _aligns,
    claims.Pair: _pair,
    claims.SwitchedOff: _switched_off,
    claims.Leaks: _leaks,
    claims.Reorders: _reorders,
    Restores: _restores,
    Classifies: _classifies,
}
