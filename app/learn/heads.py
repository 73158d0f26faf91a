"""A panel on a sentence: its head, its query word, and where that word looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attention_atlas.app import errors
from attention_atlas.app.learn.figures import Heads, Panel
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.observations import Place, best_head, words
from attention_atlas.model.messages import Message
from attention_atlas.model.record import Selection
from attention_atlas.model.spec import Spec
from attention_atlas.model.words import Word, merged, occurrences
from attention_atlas.model.zoo import Loaded

PUNCTUATION = ".,;:!?。，；：！？"


class Share(NamedTuple):
    """A word that is looked at, and its share of the attention."""

    word: str
    attn: float
    special: bool


class Look(NamedTuple):
    """Where the query word looks in one head."""

    head_place: Place  # kind, layer, head
    query: int  # index of the word's last token
    number: int  # of the word among those of the query axis
    word: str
    shares: tuple[Share, ...]
    target: str | None
    holds: bool  # the panel's claim, in this sentence

    @property
    def top(self) -> Share:
        """The word with the most attention; a special token only where there is nothing else."""
        plain = [share for share in self.shares if not share.special] or list(self.shares)
        return max(plain, key=lambda share: share.attn)


def is_observed(figure: Heads, looks: Sequence[Look]) -> bool:
    """Whether the figure's observation is made in what its panels show."""
    pairs = list(zip(figure.panels, looks, strict=True))
    if figure.rule == "claim":
        return all(look.holds for look in looks)
    if figure.rule == "copy":
        return all(look.holds or _looks_behind_copy(panel, look) for panel, look in pairs)
    if figure.rule == "different" and len({look.top.word for look in looks}) < len(looks):
        return False
    return figure.rule == "any" or all(_looks_at_one(panel, look) for panel, look in pairs)


def _looks_at_one(panel: Panel, look: Look) -> bool:
    """Whether the query word looks at one other word as much as the claim's does at its own."""
    is_itself = look.head_place[0] != "cross" and look.shares.index(look.top) == look.number
    return look.word == panel.claim.query and look.top.attn >= panel.least and not is_itself


def _looks_behind_copy(panel: Panel, look: Look) -> bool:
    """Whether the word looked at follows an earlier copy of the query word."""
    before = look.shares.index(look.top) - 1
    is_copy = 0 <= before < look.number and look.shares[before].word == look.word
    return is_copy and look.top.attn >= panel.least


def looked(service: Service, panel: Panel, text: str, head_place: Place | None = None) -> Look:
    """The panel on a sentence. Invalid says what is wrong with it: too long, or lacks a word."""
    with service.lent(panel.model, text=text) as loaded:
        kind, layer, head = head_place or chosen_head(loaded, panel)
        spec = Spec(text, text_pair=panel.text_pair)
        run, record = service.record(loaded, spec, Selection("attn", kind, (layer,), (head,)))
        q, k = words(run, record)
        number = _query(panel, q)
        by_word = merged(record.attn, [w.tokens for w in q], [w.tokens for w in k])
    row = by_word[0, 0, number].tolist()
    shares = tuple(Share(w.text, attn, w.special) for w, attn in zip(k, row, strict=True))
    total = sum(row[i] for i in _keys(panel, k))
    word = q[number]
    holds = word.text == panel.claim.query and total >= panel.least
    return Look((kind, layer, head), word.tokens[-1], number, word.text, shares, run.target, holds)


def chosen_head(loaded: Loaded, panel: Panel) -> Place:
    """The head that shows the panel's claim best, in the panel's own sentence."""
    key = (loaded.identity, panel)
    if key not in _chosen:
        best = best_head(loaded, Spec(panel.text, text_pair=panel.text_pair), panel.claim)
        _chosen[key] = (best.kind, best.layer, best.head)
    return _chosen[key]


_chosen: dict[tuple[tuple[str, str, str], Panel], Place] = {}  # one for each panel and weights


def _query(panel: Panel, q: Sequence[Word]) -> int:
    """The claim's query word, else the last word if any will do. Invalid names what is missing."""
    indices = _indices(q, panel.claim.query)
    if panel.claim.occurrence < len(indices):
        return indices[panel.claim.occurrence]
    plain = [i for i, w in enumerate(q) if not w.special and w.text not in PUNCTUATION]
    if panel.takes_any and plain:
        return plain[-1]
    raise errors.Invalid(needs(panel.claim.query, panel.claim.occurrence + 1), "text")


def needs(word: str, n: int = 1) -> Message:
    """What a step lacks in the reader's sentence."""
    if n == 1:
        return Message(
            "step-needs-word", "this step needs a sentence with the word “{word}”", word=word
        )
    return Message(
        "step-needs-word-again",
        "this step needs a sentence with the word “{word}” at least {n} times",
        word=word,
        n=n,
    )


def _keys(panel: Panel, k: Sequence[Word]) -> list[int]:
    """The words that the claim's query is to attend to, those that the sentence has."""
    by_key = [_indices(k, key) for key in panel.claim.keys]
    n = panel.claim.key_occurrence
    return [indices[n] for indices in by_key if n < len(indices)]


def _indices(words_of_axis: Sequence[Word], word: str) -> list[int]:
    if word.startswith("["):  # a special token, such as [MASK]
        return [i for i, other in enumerate(words_of_axis) if other.text == word]
    return occurrences(words_of_axis, word)
