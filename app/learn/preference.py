"""GPT's next token re-weighted by a reward: the optimum that training with feedback aims at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from attention_atlas.app.language import in_words
from attention_atlas.app.learn.figures import Cell, Numbers
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import decoding
from attention_atlas.model.analysis.preference import Reweighted, reweighted
from attention_atlas.model.messages import Message
from torch import Tensor

BETAS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
FIRST = BETAS.index(0.2)  # the slider begins there
TABLE = (1.0, 0.2, 0.05, 0.01)  # of the table that is read without a script
PER_LETTER = 0.1
SHOWN = {0.01: 3, BETAS[FIRST]: 4, 5.0: 5}  # most probable tokens that are listed, by β
UNLIKELY = 0.001  # a token that the text does not call for
ROUNDING = 1e-9
Rule = Callable[[list[str], Tensor], list[float]]


def begins_word(token: str) -> bool:
    return token.startswith(" ") and token[1:].isalpha()


def longer(tokens: list[str], p: Tensor) -> list[float]:
    return [PER_LETTER * len(token[1:]) if begins_word(token) else 0.0 for token in tokens]


def vowel(tokens: list[str], p: Tensor) -> list[float]:
    return [float(begins_word(token) and token[1].lower() in "aeiou") for token in tokens]


def surprising(tokens: list[str], p: Tensor) -> list[float]:
    best = int(p.argmax())
    return [float(i != best) for i in range(len(tokens))]


RULES: Mapping[Message, Rule] = {
    Message("rule", "0.1 for each letter of a word, 0 for anything else"): longer,
    Message("rule", "1 for a word that begins with a vowel, 0 for anything else"): vowel,
    Message("rule", "1 for every token but the most probable one"): surprising,
}


class Judged(NamedTuple):
    """A rule's rewards of all tokens, and the optimum at each β."""

    reward: Tensor  # (V,)
    best: dict[float, Reweighted]


def rewarded(service: Service, text: str) -> Numbers:
    """GPT's next token, re-weighted for each rule and each β."""
    tokens, log_p = _next(service, text)
    p = log_p.exp()
    judged = []
    for rule in RULES.values():
        reward = torch.tensor(rule(tokens, p), dtype=torch.double)
        judged.append(Judged(reward, {beta: reweighted(log_p, reward, beta) for beta in BETAS}))
    options = {
        "hand": "preference",
        "betas": list(BETAS),
        "beta": FIRST,
        "rule": 0,
        "rules": [
            {"name": in_words(name), **_drawn(tokens, p, each)}
            for name, each in zip(RULES, judged, strict=True)
        ],
    }
    columns = (
        Message("column", "candidate"),
        Message("column", "reward r"),
        "π₀",
        *(f"π, β = {beta:g}" for beta in TABLE),
    )
    parameters = {"model": "gpt", "text": text}
    values, holds = _values(tokens, p, judged[0])
    return Numbers(
        columns,
        _rows(tokens, p, judged[0]),
        address_of("next-token", **parameters),
        page_of("generate", **parameters),
        values,
        holds,
        options,
        _choices(tokens, p, judged[0]),
    )


def _next(service: Service, text: str) -> tuple[list[str], Tensor]:
    """All tokens, each spelling once, and the logarithms of their probabilities."""
    with service.lent("gpt", text=text) as loaded:
        n_token = loaded.config.vocab_size
        following = decoding.surprise(loaded, text, (), n_token).following
    logits: dict[str, float] = {}
    for candidate in following.candidates:
        logits.setdefault(candidate["text"], candidate["logit"])
    return list(logits), torch.tensor(list(logits.values()), dtype=torch.double).log_softmax(-1)


def _listed(p: Tensor, judged: Judged) -> list[int]:
    """The tokens that are most probable at first, at the first β and at the smallest."""
    indices = p.topk(SHOWN[5.0]).indices.tolist()
    for beta in (BETAS[FIRST], BETAS[0]):
        indices += judged.best[beta].probabilities.topk(SHOWN[beta]).indices.tolist()
    return list(dict.fromkeys(indices))


def _drawn(tokens: list[str], p: Tensor, judged: Judged) -> dict[str, Any]:
    """What the page draws of a rule: a slider moves through `after`, a list for each β."""
    indices = _listed(p, judged)
    best = judged.best.values()
    return {
        "tokens": [spelled(tokens[i]) for i in indices],
        "rewards": judged.reward[indices].tolist(),
        "before": p[indices].tolist(),
        "after": [each.probabilities[indices].tolist() for each in best],
        "reward": float(p @ judged.reward),
        "means": [each.reward for each in best],
        "kl": [each.kl for each in best],
    }


def spelled(token: str) -> str:
    return token.strip() or repr(token).strip("'")


def _rows(tokens: list[str], p: Tensor, judged: Judged) -> tuple[tuple[Cell, ...], ...]:
    best = [judged.best[beta].probabilities for beta in TABLE]
    return tuple(
        (spelled(tokens[i]), float(judged.reward[i]), float(p[i]), *(float(q[i]) for q in best))
        for i in _listed(p, judged)
    )


def _values(tokens: list[str], p: Tensor, judged: Judged) -> tuple[dict[str, str], bool]:
    soft, hard = judged.best[BETAS[FIRST]], judged.best[BETAS[0]]
    i, j = int(soft.probabilities.argmax()), int(hard.probabilities.argmax())
    kl = [each.kl for each in judged.best.values()]
    values = {
        "beta": f"{BETAS[FIRST]:g}",
        "best": spelled(tokens[i]),
        "p": f"{p[i]:.2f}",
        "p2": f"{soft.probabilities[i]:.2f}",
        "kl": f"{soft.kl:.1f}",
        "least": f"{BETAS[0]:g}",
        "extreme": spelled(tokens[j]),
        "p3": f"{hard.probabilities[j]:.2f}",
        "once": f"{math.ceil(1 / max(float(p[j]), 1e-12)):,}",
        "kl2": f"{hard.kl:.1f}",
    }
    falls = all(a > b - ROUNDING for a, b in zip(kl, kl[1:], strict=False))
    holds = i != j and float(p[j]) < UNLIKELY and float(hard.probabilities[j]) > 0.5 and falls
    return values, holds


def _choices(tokens: list[str], p: Tensor, judged: Judged) -> tuple[tuple[str, float], ...]:
    """Two tokens that are probable at first, two that are worth more; by the smallest β."""
    soft, hard = (judged.best[beta].probabilities for beta in (BETAS[FIRST], BETAS[0]))
    first = p.topk(2).indices.tolist()
    worth = [i for i in soft.topk(4).indices.tolist() if i not in first][:1]
    indices = dict.fromkeys([*first, *worth, int(hard.argmax())])
    return tuple((spelled(tokens[i]), float(hard[i])) for i in indices)
