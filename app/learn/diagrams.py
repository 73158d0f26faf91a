"""Diagrams of the course without numbers: how an assistant is trained."""

from __future__ import annotations

from attention_atlas.app.learn.svg import arrow, box, path, svg, text
from attention_atlas.model.messages import Message
from markupsafe import Markup

WIDTH = 400  # of a drawing: on a phone its text is still read without scrolling sideways


# From a language model to an assistant.

INSTRUCTION = Message("part", "Instruction")
MODEL = Message("part", "Language model")
TUNED = Message("part", "Tuned model π₀")
JUDGE = Message("part", "Reward model")
POLICY = Message("part", "Model in training π")


def alignment() -> Markup:
    """Figure 2 of Ouyang et al. 2022, in the words of this course."""
    parts = [*_tuning(), *_comparisons(), *_optimisation()]
    about = Message(
        "drawing",
        "Three steps after pre-training. 1: people write answers to instructions, and the language "
        "model is trained on them. 2: the tuned model writes several answers, people say which is "
        "better, and a reward model learns to give the better one the higher score. 3: the model "
        "writes answers and is trained towards a high reward; a KL penalty keeps its "
        "distribution close to the tuned model's.",
    )
    title = Message("drawing", "From a language model to an assistant")
    return svg("alignment", (WIDTH, 416), title, about, parts)


def _tuning() -> list[Markup]:
    title = Message("drawing", "1 Fine-tuning: answers that people wrote")
    return [
        text(0, 14, title, "drawn-strong"),
        box(0, 24, (180, 28), Message("part", "Instruction + good answer"), "text"),
        arrow(180, 38, 206, 38),
        box(206, 24, (130, 28), MODEL, "model"),
        text(0, 72, Message("drawing", "next-token loss on the answer gives π₀"), "drawn-small"),
    ]


def _comparisons() -> list[Markup]:
    title = Message("drawing", "2 Reward model: what people prefer")
    return [
        text(0, 108, title, "drawn-strong"),
        box(0, 136, (84, 28), INSTRUCTION, "text"),
        arrow(84, 150, 108, 150),
        box(108, 136, (122, 28), TUNED, "model"),
        path("M230 150L262 132M230 150L262 168", "drawn-line"),
        box(262, 118, (76, 28), Message("part", "Answer A"), "text"),
        box(262, 154, (76, 28), Message("part", "Answer B"), "text"),
        path("M338 132H366V216M338 168H366", "drawn-line"),
        arrow(366, 216, 338, 216),
        box(198, 202, (140, 28), Message("part", "A is better than B"), "extract"),
        arrow(198, 216, 174, 216),
        box(66, 202, (108, 28), JUDGE, "judge"),
        text(120, 196, "r(A) > r(B)", "drawn-small", text_anchor="middle"),
    ]


def _optimisation() -> list[Markup]:
    title = Message("drawing", "3 Optimisation: towards a high reward")
    aim = Message("drawing", "make r − β · KL large")
    return [
        text(0, 262, title, "drawn-strong"),
        box(0, 284, (84, 28), INSTRUCTION, "text"),
        arrow(84, 298, 108, 298),
        box(108, 284, (140, 28), POLICY, "model"),
        arrow(248, 298, 272, 298),
        box(272, 284, (76, 28), Message("part", "Answer"), "text"),
        box(0, 336, (122, 28), TUNED, "model"),
        arrow(122, 350, 142, 350),
        arrow(190, 312, 190, 336),
        box(142, 336, (96, 28), "KL(π ∥ π₀)", "text"),
        arrow(310, 312, 310, 336),
        box(256, 336, (108, 28), JUDGE, "judge"),
        arrow(190, 364, 190, 388),
        arrow(310, 364, 310, 388),
        text(316, 380, Message("drawing", "reward r"), "drawn-small"),
        box(160, 388, (170, 28), aim, "extract"),
        path("M330 402H390V274H178V277", "drawn-line back"),
        arrow(178, 274, 178, 284, "back"),
        text(390, 266, Message("drawing", "gradient"), "drawn-small", text_anchor="end"),
    ]
