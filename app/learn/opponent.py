"""An opponent of BERT: sentences before a text, so that the guess for its blank is another."""

from __future__ import annotations

from attention_atlas.app.learn.figures import Cell, Numbers
from attention_atlas.app.learn.tasks import address_of, page_of
from attention_atlas.app.service import Service
from attention_atlas.model.analysis.distraction import Distracted, distracted
from attention_atlas.model.messages import Message

SENTENCES = (  # none says anything about a text that follows
    "The school was closed.",
    "The church was white.",
    "The river was wide.",
    "The street was empty.",
    "The garden was quiet.",
    "The bread was fresh.",
    "The train was late.",
    "The window was open.",
    "The moon was bright.",
    "The boat was old.",
    "The king was dead.",
    "The kitchen was warm.",
)
SHOWN = 5  # that mislead most
OFFERED = (0, 3, 7, 11)  # of a prediction, by rank
HALF = 0.5


def misled(service: Service, text: str) -> Numbers:
    """The sentences that make BERT's guess least probable when they are put before the text."""
    with service.lent("bert", text=text) as loaded:
        alone, *after = distracted(loaded, text, SENTENCES)
        spelled = {
            one.guess: loaded.tokenizer.readable(one.guess).strip() for one in (alone, *after)
        }
    ranked = sorted(after, key=lambda one: one.probability)
    worst = ranked[0]
    rows: list[tuple[Cell, ...]] = [
        (one.sentence or Message("row", "nothing"), spelled[one.guess], one.probability)
        for one in (alone, *ranked[:SHOWN])
    ]
    answer = spelled[alone.guess]
    columns = (
        Message("column", "put before the text"),
        Message("column", "BERT's guess"),
        Message("column", "probability of “{word}”", word=answer),
    )
    values = {
        "answer": answer,
        "p": f"{alone.probability:.2f}",
        "sentence": worst.sentence,
        "p2": f"{worst.probability:.3f}",
        "now": spelled[worst.guess],
        "n": str(len(SENTENCES)),
        "changed": str(sum(one.guess != alone.guess for one in after)),
    }
    parameters = {"model": "bert", "text": f"{worst.sentence} {text}"}
    return Numbers(
        columns,
        tuple(rows),
        address_of("fill-mask", **parameters),
        page_of("fill", **parameters),
        values,
        worst.guess != alone.guess and worst.probability < HALF * alone.probability,
        choices=tuple(_choice(alone, ranked[i]) for i in OFFERED),
    )


def _choice(alone: Distracted, one: Distracted) -> tuple[str, float]:
    """A sentence, and what it takes from the guess."""
    return one.sentence, alone.probability - one.probability
