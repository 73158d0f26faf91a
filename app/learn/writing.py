"""Numbers of GPT at work: next words, prompts, examples, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from attention_atlas.app import errors
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.generate import NextTokenRequest, next_token
from attention_atlas.app.learn import diagrams, formats
from attention_atlas.app.learn.figures import Numbers, scientific
from attention_atlas.app.learn.measures import WORD
from attention_atlas.app.learn.tasks import (
    MOST,
    PROBABILITY,
    address_of,
    no_words,
    page_of,
    text_of,
)
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import decoding
from attention_atlas.model.generate import Sampling, returned
from attention_atlas.model.messages import Message
from attention_atlas.model.spec import check_length, tokenize
from attention_atlas.model.zoo import Loaded

NEW = 12  # tokens of a continuation
END = "<|endoftext|>"  # where nothing else is written
LISTS = (  # each is written twice: the model has to give the last word
    ("farm", "sea", "island", "doctor", "month"),
    ("king", "song", "flower", "word", "dance"),
    ("old", "village", "war", "hour", "river"),
    ("voice", "wind", "iron", "week", "garden"),
    ("paper", "horse", "summer", "door", "friend"),
    ("window", "country", "number", "music", "book"),
)
SHOTS = 3  # examples at most
ENDINGS = (  # the first is none, the second asks for a form, the others for a task
    ("", Message("prompt", "nothing")),
    (" She said,", "She said,"),
    ("\nTL;DR:", "TL;DR:"),
    ("\nQuestion: Who was it?\nAnswer:", "Question: Who was it? Answer:"),
)
OTHER_ANSWER = "The river was dry."  # beside the reader's second sentence
MARKS = 3  # new tokens: start, delimiter and extract
N_LABEL = 3  # of entailment: it follows, it contradicts, neither
COMPARED = 5  # most probable tokens after each of two prompts
PUBLISHED = (  # layers, heads, width, context, parameters in millions
    ("GPT (2018)", 12, 12, 768, 512, 117),
    ("GPT-2 (2019)", 48, 25, 1600, 1024, 1542),
    ("GPT-3 (2020)", 96, 96, 12_288, 2048, 175_000),
)


def next_words(service: Service, text: str) -> Numbers:
    """GPT's candidates for the next token."""
    answer = _next(service, text)
    rows = tuple((text_of(c), c["probability"]) for c in answer["candidates"][:MOST])
    values = {
        "best": str(rows[0][0]),
        "p": f"{rows[0][1]:.2f}",
        "entropy": f"{answer['entropy']:.2f}",
    }
    parameters = {"model": "gpt", "text": text}
    return Numbers(
        (WORD, PROBABILITY),
        rows,
        address_of("next-token", **parameters),
        page_of("generate", **parameters),
        values,
    )


def _next(service: Service, text: str) -> Mapping[str, Any]:
    with service.lent("gpt", text=text) as loaded:
        request = NextTokenRequest(model="gpt", text=text)
        return next_token(service, request, loaded).fields


def tied_head(service: Service, text: str) -> Numbers:
    """Candidates' logits beside the dot products of the last state and the words' embeddings."""
    answer = _next(service, text)
    with service.lent("gpt", text=text) as loaded, torch.inference_mode():
        model = loaded.decoder
        ids = torch.tensor([[t["id"] for t in answer["tokens"]]], device=loaded.device)
        state = model.hidden(ids)[0, -1]
        table = model.get_parameter("embedding.weight")
        rows = tuple(
            (text_of(c), c["logit"], float(table[c["id"]] @ state))
            for c in answer["candidates"][:MOST]
        )
        V, D = table.shape
    error = max(abs(a - b) for _, a, b in rows)
    columns = (
        Message("column", "candidate"),
        Message("column", "logit"),
        Message("column", "last state · word vector"),
    )
    values = {
        "V": f"{V:,}",
        "D": str(D),
        "n": f"{V * D:,}",
        "error": scientific(error),
    }
    parameters = {"model": "gpt", "text": text}
    return Numbers(
        columns,
        rows,
        address_of("next-token", **parameters),
        page_of("generate", **parameters),
        values,
        error < 1e-3,
    )


def prompts(service: Service, text: str) -> Numbers:
    """One text, continued as it is and after endings that ask for a form or for a task."""
    rows = []
    with service.lent("gpt", text=text) as loaded:
        for ending, name in ENDINGS:
            best = decoding.surprise(loaded, text + ending).following.candidates[0]
            steps = decoding.generate(
                loaded, text + ending, sampling=Sampling(0), max_new_tokens=NEW
            )
            continuation = returned(steps).text.strip().replace("\n", " ")
            rows.append((name, continuation or best["token"], best["probability"]))  # or the end
        million = loaded.n_parameters / 1e6
    columns = (
        Message("column", "after the text"),
        Message("column", "continuation"),
        Message("column", "probability of its first token"),
    )
    parameters = {"model": "gpt", "text": text + ENDINGS[-1][0], "temperature": "0"}
    speech, *tasks = (probability for _, _, probability in rows[1:])
    values = {
        "n": str(NEW),
        "speech": f"{speech:.2f}",
        "tasks": f"{max(tasks):.2f}",
        "gpt2": f"{PUBLISHED[1][-1] / million:,.0f}",
        "times": f"{PUBLISHED[-1][-1] / million:,.0f}",
    }
    return Numbers(
        columns,
        tuple(rows),
        address_of("generate", **parameters, max_new_tokens=str(NEW)),
        page_of("generate", **parameters),
        values,
        speech > 2 * max(tasks),
    )


def shots(service: Service, text: str) -> Numbers:
    """The probability of the right word by the number of examples in the prompt."""
    rows = []
    with service.lent("gpt") as loaded:
        for n in range(SHOTS + 1):
            right = []  # probabilities
            for i in range(len(LISTS)):
                prompt = few_shot_prompt(i, n)
                read = decoding.surprise(loaded, prompt)
                right.append(math.exp(read.log_probabilities[-1]))
            rows.append((str(n), sum(right) / len(right)))
    columns = (Message("column", "examples"), Message("column", "probability of the right word"))
    values = {
        "zero": f"{rows[0][1]:.2f}",
        "one": f"{rows[1][1]:.2f}",
        "few": f"{rows[-1][1]:.2f}",
        "n": str(SHOTS),
        "prompts": str(len(LISTS)),
        "list": " ".join(LISTS[0]),
    }
    parameters = {"model": "gpt", "text": few_shot_prompt(0, SHOTS)}
    first, later = rows[1][1] - rows[0][1], rows[-1][1] - rows[1][1]
    holds = first > max(0, later)
    return Numbers(
        columns, tuple(rows), address_of("next-token", **parameters), "/generate", values, holds
    )


def few_shot_prompt(i: int, n: int) -> str:
    """n lists said twice, then one more; its last word is the last of the prompt."""
    order = [LISTS[(i + k) % len(LISTS)] for k in range(n, -1, -1)]
    return "\n".join(f"{' '.join(words)} | {' '.join(words)}" for words in order)


def sizes(service: Service, text: str) -> Numbers:
    """The GPTs of the papers beside ours."""
    with service.lent("gpt") as loaded:
        config, n = loaded.config, loaded.n_parameters / 1e6
    ours = (
        Message("row", "ours"),
        config.n_layer,
        config.n_head,
        config.d_model,
        config.n_ctx,
        round(n, 1),
    )
    columns = (
        Message("column", "model"),
        Message("column", "layers"),
        Message("column", "heads"),
        Message("column", "width"),
        Message("column", "context"),
        Message("column", "million parameters"),
    )
    values = {
        "ours": f"{loaded.n_parameters:,}",
        "times": f"{PUBLISHED[-1][-1] / n:,.0f}",
        "d": str(config.d_model // config.n_head),
    }
    return Numbers(columns, (ours, *PUBLISHED), f"{PREFIX}/models/gpt", "/models/gpt", values)


def input_formats(service: Service, text: str, text_b: str) -> Numbers:
    """The four tasks of the first GPT, as sequences of the tokens that ours reads."""
    with service.lent("gpt", text=text, text_b=text_b) as loaded:
        first, second, other = (
            _pieces(loaded, text, "text"),
            _pieces(loaded, text_b, "text_b"),
            _pieces(loaded, OTHER_ANSWER, "text"),
        )
        n = len(first) + max(len(second), len(other)) + MARKS
        check_length(loaded, "text", n)
        D, n_number = loaded.config.d_model, loaded.n_parameters
    shown = formats.tasks(first, second, other)
    rows = tuple(
        (task.name, " ".join(labels), len(labels)) for task in shown for labels in task.labels()
    )
    columns = (
        Message("column", "task"),
        Message("column", "one pass through the model"),
        Message("column", "tokens"),
    )
    new = MARKS * D + N_LABEL * (D + 1)
    values = {
        "n": str(len(first) + len(second) + MARKS),
        "passes": str(len(rows)),
        "D": str(D),
        "labels": str(N_LABEL),
        "new": f"{new:,}",
        "all": f"{n_number:,}",
        "share": f"{100 * new / n_number:.2f}",
        "other": OTHER_ANSWER,
    }
    parameters = {"model": "gpt", "text": text}
    return Numbers(
        columns,
        rows,
        address_of("tokenize", **parameters),
        page_of("explore", **parameters),
        values,
        drawing=formats.input_formats(shown),
    )


def _pieces(loaded: Loaded, text: str, field: str) -> list[str]:
    """A text's tokens as they are read, without special ones. Raises Invalid if there is none."""
    pieces = [text_of(t._asdict()) for t in tokenize(loaded, text) if not t.special]
    if not pieces:
        raise errors.Invalid(no_words(), field)
    return pieces


def known_and_invented(service: Service, text: str, text_b: str) -> Numbers:
    """The most probable tokens after a known name and after an invented one, side by side."""
    after_known, after_invented = (_distribution(service, prompt) for prompt in (text, text_b))
    known, invented = after_known.probabilities, after_invented.probabilities
    shown = dict.fromkeys([*list(known)[:COMPARED], *list(invented)[:COMPARED]])
    rows = tuple((token.strip() or token, known[token], invented[token]) for token in shown)
    most = max(shown, key=lambda token: known[token] - invented[token])
    columns = (
        Message("column", "candidate"),
        Message("column", "after the known name"),
        Message("column", "after the invented name"),
    )
    ratio = min(max(invented.values()) / max(known.values()), 1.0)
    values = {
        "known": f"{max(known.values()):.2f}",
        "invented": f"{max(invented.values()):.2f}",
        "entropy": f"{after_known.entropy:.2f}",
        "entropy2": f"{after_invented.entropy:.2f}",
        "most": most.strip(),
        "p": f"{known[most]:.3f}",
        "p2": f"{invented[most]:.3f}",
    }
    parameters = {"model": "gpt", "text": text_b}
    return Numbers(
        columns,
        rows,
        address_of("next-token", **parameters),
        page_of("generate", **parameters),
        values,
        ratio > 0.5 and after_invented.entropy < 1.25 * after_known.entropy,
        {"bars": 2},
        choices=(
            (Message("choice", "at least half as sure"), ratio),
            (Message("choice", "less than half as sure"), 1 - ratio),
        ),
    )


class Distribution(NamedTuple):
    """The probabilities of the next token, the largest first, and their entropy in nats."""

    probabilities: dict[str, float]
    entropy: float


def _distribution(service: Service, text: str) -> Distribution:
    with service.lent("gpt", text=text) as loaded:
        n_token = loaded.config.vocab_size
        following = decoding.surprise(loaded, text, (), n_token).following
    probabilities: dict[str, float] = {}
    for candidate in following.candidates:
        probabilities.setdefault(candidate["text"], candidate["probability"])
    return Distribution(probabilities, following.entropy)


def stages_of_alignment(service: Service, text: str) -> Numbers:
    """Pre-training and the three steps by which a language model becomes an assistant."""
    with service.lent("gpt", text=text) as loaded:
        steps = decoding.generate(loaded, f"{text}\n", sampling=Sampling(0), max_new_tokens=NEW)
        goes_on = returned(steps).text.strip().replace("\n", " ") or END
    rows = (
        (
            Message("row", "pre-training"),
            Message("cell", "any text"),
            Message("cell", "which token comes next"),
        ),
        (
            Message("row", "1 supervised fine-tuning"),
            Message("cell", "instructions with answers that people wrote"),
            Message("cell", "to answer instead of continuing the text"),
        ),
        (
            Message("row", "2 reward model"),
            Message("cell", "two answers, and which one people prefer"),
            Message("cell", "a score r, higher for the preferred answer"),
        ),
        (
            Message("row", "3 policy optimisation"),
            Message("cell", "its own answers, scored by the reward model"),
            Message("cell", "answers with a high r − β · KL"),
        ),
    )
    columns = (
        Message("column", "stage"),
        Message("column", "what the model is given"),
        Message("column", "what it learns"),
    )
    parameters = {"model": "gpt", "text": f"{text}\n", "temperature": "0"}
    return Numbers(
        columns,
        rows,
        address_of("generate", **parameters, max_new_tokens=str(NEW)),
        page_of("generate", **parameters),
        {"asked": text, "goes_on": goes_on},
        drawing=diagrams.alignment(),
    )
