"""Every figure of the course by its name: the same in all languages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attention_atlas.app.learn import (
    batches,
    effects,
    layers,
    measures,
    more,
    opponent,
    patterns,
    preference,
    tasks,
    transfer,
    writing,
)
from attention_atlas.app.learn.figures import Draw, Figure, Heads, Measured, Numbers, Panel
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.observations import Claim

RIVER = "He sat on the river bank and watched the water."
MONEY = "She opened an account at the bank to save money."
CLOSED = "El banco está cerrado."
CHECK = "Bob cashed a check at the bank."

BANK = Panel("bert", RIVER, Claim("bank", ("river",)), least=0.4)
BANK_MONEY = Panel("bert", MONEY, Claim("bank", ("account",)), least=0.3)
CERRADO = Panel("translator", CLOSED, Claim("closed", ("cerrado",), "cross"), least=0.5)
CASHED = Panel("bert", CHECK, Claim("check", ("cashed",)), least=0.3, takes_any=True)
TEST = "This is a test"
STORY = "Once upon a time there was a little girl who lived in a village near the forest."
DOG = "The dog ran home."
TWICE = "The river bank is closed. The river bank is closed."
LIST = "red house green tree blue stone red house green tree"
NEXT = Panel("gpt", CHECK, Claim("check", ("cashed",)), least=0.2, takes_any=True)
COPY = Panel("gpt", TWICE, Claim("river", ("bank",), occurrence=1), least=0.5)
LISTED = Panel("gpt", LIST, Claim("green", ("tree",), occurrence=1), least=0.4)
SPANISH = "El perro negro duerme en la casa."
ENGLISH = "The black dog is sleeping in the house."
MASKED = "He put his money in the [MASK]."
PASSAGE = (
    "The old man walked slowly along the river every morning, because he liked to watch the "
    "boats and to talk with the people who lived near the water."
)
WENT, PLAYED = "The children went to the river.", "They played in the water all day."
BORN = "The president of the United"
STREAM = "The children played on the bank of the stream."
KNOWN, INVENTED = "Paris is the capital of", "Zubrowka is the capital of"
SOURCE = Panel("translator", CLOSED, Claim("está", ("banco",), "encoder"), takes_any=True)
WRITTEN = Panel("translator", CLOSED, Claim("closed", ("bank",), "decoder"), takes_any=True)
CROSSED = replace(CERRADO, takes_any=True)
NEGRO = Panel("translator", SPANISH, Claim("black", ("negro",), "cross"), 0.5, takes_any=True)
SCHOOL = "The children went to the [MASK] to learn."
MASK = Panel("bert", SCHOOL, Claim("[MASK]", ("children", "learn")), least=0.4)
FULL = Panel("bert", "The river bank was full of [MASK].", Claim("[MASK]", ("river",)), least=0.2)
ACCOUNT = "She opened an account at the [MASK]."
PLAYING, WET = "Children played in the river.", "Some children got wet."
ALIGNED = Panel("recurrent", CLOSED, Claim("is", ("cerrado",), "cross"), least=0.5)


def of_head(
    measure: Callable[[Service, Panel, str], Numbers],
    panel: Panel,
    draw: Draw = "table",
    text: str = "",
) -> Measured:
    """Numbers of the head that a panel's claim chooses."""

    def measured(service: Service, text: str) -> Numbers:
        return measure(service, panel, text)

    return Measured(measured, draw, panel.text)


CHAPTER_0: dict[str, Figure] = {
    "bank-river": Heads((BANK,), "tokens", "word"),
    "two-banks": Heads((BANK, BANK_MONEY), "tokens", "different", same_head=True, predicts=1),
    "closed": Heads((CERRADO,), "lines", "word"),
    "self-and-cross": Heads((BANK, CERRADO), "matrix", "any"),
    "rows": of_head(patterns.every_row, BANK, "drawn"),
}
CHAPTER_1: dict[str, Figure] = {
    "alignment": Heads((ALIGNED,), "matrix", "any"),
    "context": Heads((ALIGNED,), "anatomy", "any"),
    "vectors": Measured(more.vectors, "hand"),
    "temperature": Measured(more.temperature, "hand"),
    "qkv": Heads((CASHED,), "anatomy"),
    "variance": Measured(more.variance_by_width, "curves"),
    "shapes": Measured(more.shapes, "drawn", CHECK),
    "why": Measured(more.recurrent_or_not, "table", CHECK),
}
CHAPTER_2: dict[str, Figure] = {
    "one-head": Heads((CASHED,), "anatomy", "any"),
    "scores": Heads((CASHED,), "scores", "any"),
    "scale": of_head(measures.with_and_without_scale, CASHED, "bars"),
    "softmax-row": of_head(measures.softmax_of_row, CASHED, "bars"),
    "values": of_head(measures.weights_and_values, CASHED, "bars"),
    "all-queries": Heads((CASHED,), "matrix", "any"),
}
CHAPTER_3: dict[str, Figure] = {
    "batch": Measured(batches.padded, "table", TEST),
    "to-padding": Measured(batches.to_padding, "bars", TEST),
    "causal": Heads((NEXT,), "matrix", "any"),
    "infinity": of_head(batches.masked_row, NEXT, "bars"),
    "both": Measured(batches.both_masks, "map", TEST),
    "look-ahead": Measured(batches.look_ahead, "bars", DOG),
}
CHAPTER_4: dict[str, Figure] = {
    "all-heads": Heads((BANK,), "grid", "any"),
    "named": Measured(patterns.named_heads, "drawn", TWICE, CLOSED),
    "induction": Heads((COPY,), "tokens", "copy"),
    "parts": of_head(layers.parts_of_a_layer, BANK, "drawn"),
    "without": of_head(layers.without_a_head, LISTED, "bars"),
    "matters": of_head(effects.effects_of_heads, FULL, "bars"),
    "regrouped": Measured(layers.other_numbers_of_heads, "bars", RIVER),
}
CHAPTER_5: dict[str, Figure] = {
    "activations": Measured(layers.activations, "drawn", RIVER),
    "norms": Measured(layers.states, "drawn", RIVER),
    "lengths": Measured(layers.lengths_by_layer, "curves", CHECK),
    "gradients": Measured(layers.gradients_by_depth, "curves"),
    "order": Measured(layers.another_order, "bars", "I like NLP"),
    "sines": Measured(layers.sines, "map"),
    "learned": Measured(layers.learned_positions, "map"),
    "whole": Measured(layers.whole_model, "diagram", model="translator"),
}
CHAPTER_6: dict[str, Figure] = {
    "three-kinds": Heads((SOURCE, WRITTEN, CROSSED), "matrix"),
    "word-by-word": Heads((NEGRO,), "lines", plays=True),
    "choices": Measured(tasks.choices_of_decoder, "bars", SPANISH),
    "forcing": Measured(tasks.teacher_forcing, "bars", SPANISH, ENGLISH),
}
CHAPTER_7: dict[str, Figure] = {
    "blank": Measured(tasks.blank, "bars", MASKED),
    "both-sides": Heads((MASK,), "lines"),
    "procedure": Measured(tasks.masking_procedure, "bars", PASSAGE),
    "following": Measured(tasks.following, "bars", WENT, PLAYED),
    "ablations": Measured(tasks.ablations_of_bert, "bars"),
}
CHAPTER_8: dict[str, Figure] = {
    "next": Measured(writing.next_words, "bars", BORN),
    "tied": Measured(writing.tied_head, "table", BORN),
    "prompts": Measured(writing.prompts, "bars", STORY),
    "shots": Measured(writing.shots, "bars"),
    "sizes": Measured(writing.sizes, "bars"),
    "formats": Measured(writing.input_formats, "drawn", PLAYING, WET),
}
CHAPTER_9: dict[str, Figure] = {
    "ground": Measured(writing.known_and_invented, "bars", KNOWN, INVENTED),
    "stages": Measured(writing.stages_of_alignment, "drawn", "How old is the king?"),
    "reward": Measured(preference.rewarded, "hand", "The children went to the"),
    "graph": Heads((replace(BANK, takes_any=True),), "lines"),
    "adversarial": Measured(opponent.misled, "bars", ACCOUNT),
    "transfer": Measured(transfer.meaning_by_examples, "curves", STREAM),
}
FIGURES: dict[str, Figure] = {
    **CHAPTER_0,
    **CHAPTER_1,
    **CHAPTER_2,
    **CHAPTER_3,
    **CHAPTER_4,
    **CHAPTER_5,
    **CHAPTER_6,
    **CHAPTER_7,
    **CHAPTER_8,
    **CHAPTER_9,
}
