"""What an example is to show, and the head that shows it best with the weights at hand.

An example claims that one word attends to certain others. The head is looked up in the weights, not
chosen by hand, so newly trained weights get their own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from attention_atlas.model.analysis.roles import roles_of_card
from attention_atlas.model.messages import Message
from attention_atlas.model.record import AttentionRecord, Run, Selection, axes
from attention_atlas.model.run import run
from attention_atlas.model.spec import BadInput, Spec
from attention_atlas.model.tape import Kind
from attention_atlas.model.words import Word, merged, occurrences, words_of
from attention_atlas.model.zoo import Loaded
from torch import Tensor

Place = tuple[Kind, int, int]  # kind, layer, head
BY_POSITION = ("previous_token", "next_token", "self", "positional")


@dataclass(frozen=True)
class Claim:
    """A word, and the words that it attends to in some head.

    `occurrence` says which `query` is meant where the text has several, -1 the last, and
    `key_occurrence` likewise.
    `by_position` admits heads whose card says that they follow position, not meaning.
    """

    query: str
    keys: tuple[str, ...]
    kind: Kind | None = None  # None: the model's first
    occurrence: int = 0
    key_occurrence: int = 0
    by_position: bool = False


@dataclass(frozen=True)
class Observation:
    """A head, the token to choose in it, and the attention from the query word to the key words."""

    kind: Kind
    layer: int
    head: int
    query: int  # index of the word's last token on the query axis
    attn: float
    even: float  # what the key words had if the query gave every token it sees the same


def best_head(loaded: Loaded, spec: Spec, claim: Claim) -> Observation:
    """The head with the most attention from the claim's query word to its key words."""
    kind = claim.kind or loaded.kinds[0]
    skipped = set() if claim.by_position else heads_by_position(loaded)
    result = run(loaded, spec, Selection(kind=kind))
    attn, query = word_attention(result, kind, claim)
    for layer, head in ((layer, head) for other, layer, head in skipped if other == kind):
        attn[layer, head] = -1
    layer, head = divmod(int(attn.argmax()), attn.size(1))
    even = even_share(result, kind, claim, query)
    return Observation(kind, layer, head, query, round(attn[layer, head].item(), 4), even)


def observed(loaded: Loaded, spec: Spec, claim: Claim, place: Place) -> Observation:
    """The same of one head, whichever it is."""
    kind, layer, head = place
    selection = Selection(kind=kind, layers=(layer,), heads=(head,))
    result = run(loaded, spec, selection)
    attn, query = word_attention(result, kind, claim)
    even = even_share(result, kind, claim, query)
    return Observation(kind, layer, head, query, round(attn.item(), 4), even)


def word_attention(result: Run, kind: Kind, claim: Claim) -> tuple[Tensor, int]:
    """(L, H): attention from the query word to the key words together, and the query's token.

    Word pieces are summed over keys and averaged over queries (Clark et al. 2019). BadInput names
    a word that the text does not have.
    """
    record = result.records[kind]
    q, k = words(result, record)
    query = _occurrence(q, claim.query, claim.occurrence)
    keys = [_occurrence(k, key, claim.key_occurrence) for key in claim.keys]
    by_word = merged(record.attn, [word.tokens for word in q], [word.tokens for word in k])
    return by_word[:, :, query, keys].sum(-1), q[query].tokens[-1]


def even_share(result: Run, kind: Kind, claim: Claim, query: int) -> float:
    """The share of the key words' tokens among all those that the query token may attend to."""
    record = result.records[kind]
    k = words(result, record)[1]
    keys = [k[_occurrence(k, key, claim.key_occurrence)] for key in claim.keys]
    n_seen = int(record.mask.expand(record.attn.shape)[0, 0, query].sum())
    return round(sum(len(word.tokens) for word in keys) / n_seen, 4)


def words(result: Run, record: AttentionRecord) -> tuple[list[Word], list[Word]]:
    """The words of a record's query axis and of its key axis."""
    texts = {"source": [result.text, result.text_pair or ""], "target": [result.target or ""]}
    q_name, k_name = axes(record.kind, result.sequences)
    q_words = words_of(record.q_tokens, texts[q_name])
    return q_words, words_of(record.k_tokens, texts[k_name])


def _occurrence(words: list[Word], word: str, occurrence: int) -> int:
    places = occurrences(words, word)
    if word.startswith("["):  # a special token, such as [MASK]
        places = [i for i, other in enumerate(words) if other.text == word]
    if not -len(places) <= occurrence < len(places):
        raise BadInput(
            "text",
            Message(
                "not-a-word",
                "{word!r} is in the text {n_places} times",
                word=word,
                n_places=len(places),
            ),
        )
    return places[occurrence]


def heads_by_position(loaded: Loaded) -> Collection[Place]:
    """Heads that follow position rather than meaning, by the model's card."""
    roles = roles_of_card(loaded.card.heads, loaded.card.metrics, loaded.family)
    return {(r.kind, r.layer, r.head) for r in roles if r.role in BY_POSITION}
