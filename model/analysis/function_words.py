"""Words that carry grammar more than meaning, of each language: what "content words only" omits."""

from __future__ import annotations

from collections.abc import Sequence

from attention_atlas.model.words import Word, folded
from attention_atlas.model.zoo import Loaded

ENGLISH = """
a an the this that these those some any no every each all both
i you he she it we they me him her us them my your his its our their
who whom whose which what
and or but nor so because if when while although though as than
of to in on at by for with from into onto about over under after before between through
during without within against toward towards up down out off
am is are was were be been being do does did have has had having
will would shall should can could may might must not n't there here very too also then
"""
SPANISH = """
el la los las un una unos unas este esta estos estas ese esa esos esas lo
yo tú él ella nosotros ellos ellas me te se nos os le les mi mis tu tus su sus nuestro
que quien cual cuyo
y e o u pero ni porque si cuando mientras aunque como
de del a al en por para con sin sobre entre hasta desde contra hacia durante
es son era eran fue fueron ser sido está están estaba estar ha han había he haber
no muy también ya más
"""
FUNCTION_WORDS = {"en": frozenset(ENGLISH.split()), "es": frozenset(SPANISH.split())}


def language_of(loaded: Loaded, sequence: str) -> str:
    """The bundled translators read Spanish; every other text counts as English."""
    reads_spanish = loaded.source == "bundled" and "cross" in loaded.kinds
    return "es" if reads_spanish and sequence == "source" else "en"


def is_content(word: Word, language: str) -> bool:
    """Whether a word has a letter or digit, is no special token, and is not on the list."""
    has_letter = any(map(str.isalnum, word.text))
    return has_letter and not word.special and folded(word.text) not in FUNCTION_WORDS[language]


def content(words: Sequence[Word], language: str) -> list[bool]:
    return [is_content(word, language) for word in words]
