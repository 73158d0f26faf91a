"""Numbers of GPT at work: next words, prompts, examples, sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from attention_atlas.app.api.common import PREFIX
from attention_atlas.app.api.generate import NextTokenRequest, next_token
from attention_atlas.app.learn import diagrams
from attention_atlas.app.learn.figures import Numbers
from attention_atlas.app.learn.measures import WORD
from attention_atlas.app.learn.tasks import MOST, PROBABILITY, address_of, page_of, text_of
from attention_atlas.app.service import Service
from attention_atlas.model.analysis import decoding
from attention_atlas.model.generate import Sampling, returned
from attention_atlas.model.messages import Message

NEW = 12  # tokens of a continuation
LISTS = (  # each is written twice: the model has to give the last word
    ("farm", "sea", "island", "doctor", "month"),
    ("king", "song", "flower", "word", "dance"),
    ("old", "village", "war", "hour", "river"),
    ("voice", "wind", "iron", "week", "garden"),
    ("paper", "horse", "summer", "door", "friend"),
    ("window", "country", "number", "music", "book"),
)
SHOTS = 3  # examples at most
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
    values = {"V": f"{V:,}", "D": str(D), "n": f"{V * D / 1e6:.1f}", "error": f"{error:.0e}"}
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
    """One text, continued as it is and after prompts that ask for something."""
    endings = (
        ("", Message("prompt", "as it is")),
        ("\nTL;DR:", "TL;DR:"),
        ("\nQuestion: Who was it?\nAnswer:", "Question: … Answer:"),
    )
    rows = []
    with service.lent("gpt", text=text) as loaded:
        for ending, name in endings:
            steps = decoding.generate(
                loaded, text + ending, sampling=Sampling(0), max_new_tokens=NEW
            )
            rows.append((name, returned(steps, lambda step: None).text.strip().replace("\n", " ")))
    parameters = {"model": "gpt", "text": text + "\nTL;DR:", "temperature": "0"}
    columns = (Message("column", "prompt"), Message("column", "continuation"))
    page = page_of("generate", **parameters)
    with service.lent("gpt") as loaded:
        million = loaded.n_parameters / 1e6
    values = {
        "n": str(NEW),
        "million": f"{million:.1f}",
        "gpt2": f"{PUBLISHED[1][-1] / million:,.0f}",
        "times": f"{PUBLISHED[-1][-1] / million:,.0f}",
    }
    return Numbers(
        columns,
        tuple(rows),
        address_of("generate", **parameters, max_new_tokens=str(NEW)),
        page,
        values,
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
        "ours": f"{n:.1f}",
        "times": f"{PUBLISHED[-1][-1] / n:,.0f}",
        "d": str(config.d_model // config.n_head),
    }
    return Numbers(columns, (ours, *PUBLISHED), f"{PREFIX}/models/gpt", "/models/gpt", values)


def input_formats(service: Service, text: str) -> Numbers:
    """The four tasks of the first GPT, each as one sequence or more."""
    rows = (
        (Message("row", "classification"), Message("cell", "Start · Text · Extract"), "1"),
        (
            Message("row", "entailment"),
            Message("cell", "Start · Premise · Delimiter · Hypothesis · Extract"),
            "1",
        ),
        (
            Message("row", "similarity"),
            Message("cell", "Start · Text 1 · Delimiter · Text 2 · Extract, and the other order"),
            "2",
        ),
        (
            Message("row", "multiple choice"),
            Message("cell", "Start · Context · Delimiter · Answer · Extract, for each answer"),
            "n",
        ),
    )
    columns = (
        Message("column", "task"),
        Message("column", "input"),
        Message("column", "passes through the model"),
    )
    return Numbers(columns, rows, "", "", {}, drawing=diagrams.input_formats())


def known_and_invented(service: Service, text: str, text_b: str) -> Numbers:
    """How sure the model is after a known name and after an invented one."""
    rows = []
    for prompt in (text, text_b):
        answer = _next(service, prompt)
        best = answer["candidates"][0]
        rows.append((prompt, text_of(best), answer["entropy"], best["probability"]))
    columns = (
        Message("column", "prompt"),
        Message("column", "most probable next token"),
        Message("column", "entropy, nats"),
        PROBABILITY,
    )
    values = {
        "known": f"{rows[0][3]:.2f}",
        "invented": f"{rows[1][3]:.2f}",
        "entropy": f"{rows[0][2]:.2f}",
        "entropy2": f"{rows[1][2]:.2f}",
    }
    parameters = {"model": "gpt", "text": text_b}
    holds = rows[1][2] < 2 * rows[0][2]  # not much less sure
    choices = (
        (Message("choice", "after the known name"), float(rows[0][3])),
        (Message("choice", "after the invented name"), float(rows[1][3])),
    )
    return Numbers(
        columns,
        tuple(rows),
        address_of("next-token", **parameters),
        page_of("generate", **parameters),
        values,
        holds,
        choices=choices,
    )


def stages_of_alignment(service: Service, text: str) -> Numbers:
    """Pre-training and the three steps by which a language model becomes an assistant."""
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
    return Numbers(columns, rows, "", "", {}, drawing=diagrams.alignment())
