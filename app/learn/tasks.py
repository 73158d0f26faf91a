"""Numbers of models at work: translations and blanks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.fill import (
    CorruptionRequest,
    FillMaskRequest,
    NextSentenceRequest,
    corruption,
    fill_mask,
    next_sentence,
)
from attention_atlas.app.learn.figures import Cell, Numbers
from attention_atlas.app.learn.measures import WORD
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import translation
from attention_atlas.model.analysis.decoding import LabelledToken
from attention_atlas.model.generate import returned
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import Spec
from markupsafe import Markup

PROBABILITY = Message("column", "probability")
MOST = 6  # candidates shown
SURE = 0.95  # of a token that the model could copy
SEED = 53  # of a draw of the masking procedure in which each of the three fates occurs
FATES = {
    "masked": Message("fate", "replaced by [MASK]"),
    "replaced": Message("fate", "replaced by a random token"),
    "kept": Message("fate", "kept as it is"),
}
# Devlin et al. 2019, table 5, BERT base: MNLI-m, QNLI, MRPC, SST-2 accuracy, SQuAD F1
TASKS = ("MNLI-m", "QNLI", "MRPC", "SST-2", "SQuAD")
ABLATIONS = (
    ("base", 84.4, 88.4, 86.7, 92.7, 88.5),
    ("without next sentence", 83.9, 84.9, 86.5, 92.6, 87.9),
    ("left to right, without next sentence", 82.1, 84.3, 77.5, 92.1, 77.8),
)


def translated(
    service: Service, text: str, reference: str | None = None
) -> translation.Translation:
    with service.lent("translator", text=text, reference=reference) as loaded:
        steps = translation.translate(loaded, Spec(text), reference=reference, top=2)
        return returned(steps, lambda step: None)


def address_of(path: str, **parameters: object) -> str:
    return f"{PREFIX}/{path}?{urlencode(parameters)}"


def page_of(path: str, **parameters: object) -> str:
    return f"/{path}?{urlencode(parameters)}"


def no_words() -> Message:
    return Message("step-needs-words", "this step needs a text with words, not only special tokens")


def text_of(token: dict[str, str] | str) -> str:
    text = token if isinstance(token, str) else token["text"]
    return text.strip() or text


def choices_of_decoder(service: Service, text: str) -> Numbers:
    """Each token as it was written, with its probability and that of the next best."""
    steps = translated(service, text).steps
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        first, second = step.candidates[:2]
        rows.append(
            (
                text_of(first["text"]),
                text_of(second["text"]),
                first["probability"],
                second["probability"],
            )
        )
    least = min(rows, key=lambda row: float(row[2] or 0))
    columns = (
        Message("column", "token written"),
        Message("column", "second choice"),
        PROBABILITY,
        Message("column", "of the second choice"),
    )
    parameters = {"model": "translator", "text": text}
    values = {"least": str(least[0]), "p": f"{least[2]:.2f}", "second": str(least[1])}
    return Numbers(
        columns,
        tuple(rows),
        address_of("translate", **parameters),
        page_of("translate", **parameters),
        values,
        options={"bars": 2, "most": rows.index(least)},
    )


def teacher_forcing(service: Service, text: str, reference: str) -> Numbers:
    """The model's own translation beside a given one, token by token."""
    result = translated(service, text, reference)
    written, given = result.steps, result.reference
    n = max(len(written), len(given))

    def part(steps: list[LabelledToken], i: int) -> tuple[Cell, Cell]:
        if i >= len(steps):
            return None, None
        return text_of(steps[i].token.text or steps[i].token.raw), math.exp(
            steps[i].log_probability
        )

    pairs = [(part(written, i), part(given, i)) for i in range(n)]
    rows = tuple((str(i), a[0], b[0], a[1], b[1]) for i, (a, b) in enumerate(pairs))
    columns = (
        Message("column", "step"),
        Message("column", "free running"),
        Message("column", "given by the teacher"),
        Message("column", "probability, free running"),
        Message("column", "of the given token"),
    )
    parameters = {"model": "translator", "text": text, "reference": reference}
    least = min(given, key=lambda step: step.log_probability)
    values = {
        "own": result.hypotheses[0].text,
        "given": reference,
        "least": text_of(least.token.text or least.token.raw),
        "p": f"{math.exp(least.log_probability):.2f}",
        "loss": f"{-sum(s.log_probability for s in given) / len(given):.2f}",
        "own_loss": f"{-sum(s.log_probability for s in written) / len(written):.2f}",
    }
    page, api = page_of("translate", **parameters), address_of("translate", **parameters)
    options = {"bars": 2, "most": given.index(least)}
    return Numbers(columns, rows, api, page, values, options=options)


def blank(service: Service, text: str) -> Numbers:
    """What BERT would write for the first [MASK]."""
    parameters = {"model": "bert", "text": text}
    with service.lent("bert", text=text) as loaded:
        answer = fill_mask(service, FillMaskRequest(**parameters, top=MOST), loaded).fields
    mask = answer["masks"][0]
    rows = tuple((text_of(c), c["probability"]) for c in mask["candidates"])
    values = {
        "best": str(rows[0][0]),
        "p": f"{rows[0][1]:.2f}",
        "n": str(len(rows)),
        "together": f"{sum(probability for _, probability in rows):.2f}",
    }
    columns = (WORD, PROBABILITY)
    page = page_of("fill", model="bert", text=text)
    return Numbers(columns, rows, address_of("fill-mask", **parameters), page, values)


def masking_procedure(service: Service, text: str) -> Numbers:
    """What BERT's training does to a text: which tokens it chose, and what became of them."""
    parameters = {"model": "bert", "text": text}
    with service.lent("bert", text=text) as loaded:
        answer = corruption(service, CorruptionRequest(**parameters, seed=SEED), loaded).fields
    tokens = answer["tokens"]
    rows = tuple(
        (
            text_of(tokens[c["position"]]),
            FATES[c["fate"]],
            c["shown"],
            c["probability"],
        )
        for c in answer["chosen"]
    )
    columns = (
        Message("column", "token chosen"),
        Message("column", "what becomes of it"),
        Message("column", "what the model reads"),
        Message("column", "probability of the right token"),
    )
    n = sum(not token["special"] for token in tokens)
    if n == 0:
        raise errors.Invalid(no_words(), "text")
    values = {
        "chosen": str(len(rows)),
        "n": str(n),
        "share": f"{100 * len(rows) / n:.0f}",
        "reads": _as_read(tokens, {c["position"]: c["shown"] for c in answer["chosen"]}),
    }
    kept = [c["probability"] for c in answer["chosen"] if c["fate"] == "kept"]
    is_replaced = any(c["fate"] == "replaced" for c in answer["chosen"])
    page = page_of("fill", model="bert", text=text, seed=str(SEED))
    return Numbers(
        columns,
        rows,
        address_of("corruption", **parameters, seed=str(SEED)),
        page,
        values,
        is_replaced and bool(kept) and max(kept) < SURE,
    )


def _as_read(tokens: Sequence[Mapping[str, Any]], shown: Mapping[int, str]) -> Markup:
    """The text as the model reads it, what is shown at the chosen places in bold."""
    words = Markup("")
    for i, token in enumerate(tokens):
        if token["special"] and i not in shown:
            continue
        space = "" if token["raw"].startswith("##") or not words else " "
        word = text_of(dict(token))
        words += space + (Markup("<b>{}</b>").format(shown[i]) if i in shown else word)
    return words


def following(service: Service, text: str, text_b: str) -> Numbers:
    """Whether the second sentence follows the first, and the other way round."""
    parameters = {"model": "bert", "text": text, "text_pair": text_b}
    with service.lent("bert", text=text, text_pair=text_b) as loaded:
        answer = next_sentence(service, NextSentenceRequest(**parameters), loaded).fields
        other = NextSentenceRequest(model="bert", text=text, text_pair=UNRELATED)
        unrelated = next_sentence(service, other, loaded).fields
    rows = (
        (Message("row", "the second after the first"), answer["is_next"]),
        (Message("row", "the first after the second"), answer["swapped"]),
        (Message("row", "an unrelated sentence after the first"), unrelated["is_next"]),
    )
    values = {
        "next": f"{answer['is_next']:.2f}",
        "swapped": f"{answer['swapped']:.2f}",
        "unrelated": f"{unrelated['is_next']:.2f}",
        "other": UNRELATED,
    }
    columns = (Message("column", "order"), Message("column", "probability of following"))
    by_order, by_topic = (
        abs(answer["is_next"] - other) for other in (answer["swapped"], unrelated["is_next"])
    )
    return Numbers(
        columns,
        rows,
        address_of("next-sentence", **parameters),
        page_of("fill", **parameters),
        values,
        by_order < 0.2 < by_topic,
        choices=(
            (Message("choice", "the two sentences in the other order"), by_order),
            (Message("choice", "an unrelated second sentence"), by_topic),
        ),
    )


UNRELATED = "The company sold its shares in March."


def ablations_of_bert(service: Service, text: str) -> Numbers:
    """The paper's ablations, and what our own BERT reaches at its two tasks."""
    with service.lent("bert") as loaded:
        measures = loaded.card.metrics
        n_parameter = loaded.n_parameters
    columns = (
        Message("column", "task"),
        Message("column", "BERT base"),
        Message("column", "loses without next sentence"),
        Message("column", "loses more when it reads left to right"),
    )
    base, without, one_way = (row[1:] for row in ABLATIONS)
    rows = tuple(
        (task, a, round(a - b, 1), round(b - c, 1))
        for task, a, b, c in zip(TASKS, base, without, one_way, strict=True)
    )
    values = {
        "size": f"{n_parameter:,}",
        "ours": f"{100 * measures['masked_word_accuracy']['value']:.0f}",
        "next": f"{100 * measures['next_sentence_accuracy']['value']:.0f}",
    }
    options = {"bars": 2}
    return Numbers(columns, rows, f"{PREFIX}/models/bert", "/models/bert", values, options=options)
