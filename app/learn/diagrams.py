"""Diagrams of the course without numbers: GPT's input formats, and how an assistant is trained."""

from __future__ import annotations

from collections.abc import Sequence

from attention_atlas.app.learn.svg import arrow, box, element, path, svg, text
from attention_atlas.model.messages import Message
from markupsafe import Markup

START, BETWEEN, EXTRACT = "⟨s⟩", "$", "⟨e⟩"  # as the paper writes them
LEGEND = Message("drawing", "⟨s⟩ start · $ delimiter · ⟨e⟩ extract")
TRANSFORMER = "Transformer"
LINEAR = Message("part", "Linear")
WIDTH = 400  # of a drawing: on a phone its text is still read without scrolling sideways
SPECIAL, FREE = 22, 72  # widths of a special token's box, and of a text's
MODEL_X, LINEAR_X = 230, 330  # where the model and the linear layer begin
HIGH = 26
Parts = tuple[Message, ...]  # of one sequence, ⟨s⟩ and ⟨e⟩ apart

TASKS: tuple[tuple[Message, tuple[Parts, ...], str], ...] = (  # name, sequences, what joins them
    (Message("row", "classification"), ((Message("part", "Text"),),), ""),
    (
        Message("row", "entailment"),
        ((Message("part", "Premise"), Message("part", "Hypothesis")),),
        "",
    ),
    (
        Message("row", "similarity"),
        (
            (Message("part", "Text 1"), Message("part", "Text 2")),
            (Message("part", "Text 2"), Message("part", "Text 1")),
        ),
        "+",
    ),
    (
        Message("row", "multiple choice"),
        (
            (Message("part", "Context"), Message("part", "Answer 1")),
            (Message("part", "Context"), Message("part", "Answer 2")),
            (Message("part", "Context"), Message("part", "Answer n")),
        ),
        "softmax",
    ),
)


def input_formats() -> Markup:
    """Figure 1 (right) of Radford et al. 2018: every task as one or more sequences."""
    parts: list[Markup] = [text(0, 14, LEGEND, "drawn-small")]
    y = 24.0
    for task, sequences, joined in TASKS:
        parts += [text(0, y + 17, task, "drawn-strong"), *_task(sequences, joined, y + 26)]
        y += 26 + 34 * len(sequences) + (34 if joined else 0) + 8
    about = Message(
        "drawing",
        "Four tasks as sequences that begin with a start token and end with an extract token; "
        "two texts are separated by a delimiter. The linear layer reads the state at the extract "
        "token. Similarity reads both orders and adds the two states; multiple choice reads each "
        "answer by itself and compares the scores by a softmax.",
    )
    title = Message("drawing", "The four input formats of the first GPT")
    return svg("formats", (WIDTH, int(y)), title, about, parts)


def _task(sequences: Sequence[Parts], joined: str, y: float) -> list[Markup]:
    """The sequences of a task, each through the model, and below them how they are joined."""
    parts: list[Markup] = []
    below = y + 34 * len(sequences)
    for i, sequence in enumerate(sequences):
        line = y + 34 * i
        middle = line + HIGH / 2
        parts += [*_sequence(sequence, line), box(MODEL_X, line, (90, HIGH), TRANSFORMER, "model")]
        if joined == "+":
            parts.append(path(f"M320 {middle}H350V{below}", "drawn-line"))
        else:
            parts += [arrow(320, middle, LINEAR_X, middle)]
            parts += [box(LINEAR_X, line, (52, HIGH), LINEAR, "")]
        if joined == "softmax":
            parts.append(path(f"M382 {middle}H394V{below + 13}H382", "drawn-line"))
    if joined == "+":
        plus = element("circle", cx=350, cy=below + 13, r=10, class_="drawn-circle")
        parts += [plus, text(350, below + 17.5, "+", text_anchor="middle")]
        parts += [arrow(340, below + 13, 302, below + 13)]
        parts += [box(244, below, (58, HIGH), LINEAR, "")]
    if joined == "softmax":
        parts.append(box(316, below, (66, HIGH), "softmax", ""))
    return parts


def _sequence(texts: Parts, y: float) -> list[Markup]:
    """⟨s⟩, the texts with delimiters between them, ⟨e⟩; then the arrow to the model."""
    row: list[tuple[str, str]] = [(START, "special")]
    for i, words in enumerate(texts):
        row += [(BETWEEN, "special")] * (i > 0) + [(words, "text")]
    row.append((EXTRACT, "extract"))
    x, parts = 0.0, []
    for label, class_ in row:
        width = FREE if class_ == "text" else SPECIAL
        parts.append(box(x, y, (width, HIGH), label, class_))
        x += width + 2
    return [*parts, arrow(x, y + 13, MODEL_X, y + 13)]


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
