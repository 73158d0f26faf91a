"""What BERT learned by filling blanks, used for another task: the meaning of a word by examples."""

from __future__ import annotations

import torch
from attention_atlas.app.api.hidden_states import HiddenRequest, hidden
from attention_atlas.app.language import in_words
from attention_atlas.app.learn.figures import Numbers
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.model.messages import Message
from attention_atlas.model.zoo import Loaded
from torch import Tensor
from torch.nn import functional

WORD = "bank"
WATER = Message("choice", "beside water")
MONEY = Message("choice", "for money")
EXAMPLES = {
    WATER: (
        "He sat on the river bank and watched the water.",
        "They walked along the bank of the river.",
    ),
    MONEY: ("The bank lent him the money.", "The bank paid the loan."),
}


def meaning_by_examples(service: Service, text: str) -> Numbers:
    """After each layer, the cosine of the word's state with those of each meaning's examples."""
    with service.lent("bert", text=text) as loaded:
        state = _state(service, loaded, text)  # (L + 1, D)
        cosines = {
            meaning: _likeness(state, [_state(service, loaded, x) for x in examples])
            for meaning, examples in EXAMPLES.items()
        }
    water, money = cosines[WATER].tolist(), cosines[MONEY].tolist()
    rows = tuple((i, a, b) for i, (a, b) in enumerate(zip(water, money, strict=True)))
    apart = [abs(a - b) for a, b in zip(water, money, strict=True)]
    values = {
        "sense": in_words(WATER if water[-1] > money[-1] else MONEY),
        "near": f"{max(water[-1], money[-1]):.2f}",
        "far": f"{min(water[-1], money[-1]):.2f}",
        "before": f"{apart[0]:.2f}",
        "after": f"{apart[-1]:.2f}",
    }
    columns = (Message("column", "layers passed"), WATER, MONEY)
    options = {"y": in_words(Message("legend", "cosine")), "zero": False}
    parameters = {"model": "bert", "text": text, "word": WORD}
    sentences = {"text": text, "text_b": EXAMPLES[MONEY][0], "word": WORD}
    return Numbers(
        columns,
        rows,
        address_of("hidden-states", **parameters),
        page_of("compare", model="bert", **sentences),
        values,
        apart[-1] > 2 * apart[0],
        options,
        choices=((WATER, water[-1]), (MONEY, money[-1])),
    )


def _state(service: Service, loaded: Loaded, text: str) -> Tensor:
    request = HiddenRequest(model="bert", text=text, word=WORD)
    return torch.tensor(hidden(service, request, loaded).tensors["hidden"])


def _likeness(state: Tensor, others: list[Tensor]) -> Tensor:
    """The mean cosine with other states, layer by layer: (L + 1,)."""
    return functional.cosine_similarity(state, torch.stack(others), dim=-1).mean(0)
