"""Sentences before a text: each guess is that of the text read by itself."""

from __future__ import annotations

import pytest
import torch
from attention_atlas.model.analysis.blanks import fill
from attention_atlas.model.analysis.distraction import distracted
from attention_atlas.model.spec import BadInput
from attention_atlas.model.zoo import load

TEXT = "He put his money in the [MASK]."
SENTENCES = ("It rained.", "The old door of the house was green and heavy.")


def test_texts_of_different_lengths_are_read_as_each_alone() -> None:
    bert = load("bert", torch.device("cpu"))
    alone, *after = distracted(bert, TEXT, SENTENCES)
    for one in (alone, *after):
        [guess] = fill(bert, f"{one.sentence} {TEXT}".strip(), top=1000).masks.values()
        shares = {each["id"]: each["probability"] for each in guess.candidates}
        assert guess.candidates[0]["id"] == one.guess
        assert shares[alone.guess] == pytest.approx(one.probability, abs=1e-5)


def test_a_text_without_a_blank_is_refused() -> None:
    bert = load("bert", torch.device("cpu"))
    with pytest.raises(BadInput, match=r"no \[MASK\]"):
        distracted(bert, "He put his money there.", SENTENCES)
