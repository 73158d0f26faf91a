"""Texts of a wanted number of tokens."""

from __future__ import annotations

from itertools import count

from attention_atlas.model.tokenizers import Tokenizer
from attention_atlas.model.zoo import WEIGHTS

PASSAGE = (
    "He sat on the river bank and watched the water while they opened an account . "
    "The old man had worked in a small town near the sea for most of his life , and every day "
    "he went down to the station to see the people come home . When the money was gone , his "
    "daughter wrote a long letter to the bank and asked them for one more year . Nobody answered . "
    "In the end she took the last train to the city , found the right street , and told the story "
    "to a woman who did not know what to say ."
)
WORDS = PASSAGE.split()


def of_bert() -> Tokenizer:
    return Tokenizer.load(WEIGHTS / "bert" / "tokenizer.json")


def passage(n: int, tokenizer: Tokenizer) -> str:
    """A text of just n tokens, special ones counted in."""
    text = ""
    for i in count():
        longer = f"{text} {WORDS[i % len(WORDS)]}".strip()
        if len(tokenizer.encode(longer)) > n:
            return text + " ." * (n - len(tokenizer.encode(text)))
        text = longer
    raise AssertionError
