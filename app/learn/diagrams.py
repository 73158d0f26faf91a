"""Diagrams of the course without numbers: GPT's input formats, and how an assistant is trained."""

from __future__ import annotations

from collections.abc import Sequence

from attention_atlas.app.learn.svg import arrow, box, element, path, svg, text
from attention_atlas.model.messages import Message
from markupsafe import Markup

START = Message("part", "Start")
BETWEEN = Message("part", "Delimiter")
EXTRACT = Message("part", "Extract")
TRANSFORMER = "Transformer"
LINEAR = Message("part", "Linear")
SPECIAL, FREE = 56, 82  # widths of a special token's box, and of a text's
HIGH = 26
Parts = tuple[Message, ...]  # of one sequence, Start and Extract apart

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
    parts: list[Markup] = []
    y = 8.0
    for name, sequences, joined in TASKS:
        parts += [text(0, y + 17, name, "drawn-strong"), *_task(sequences, joined, y + 26)]
        y += 26 + 34 * len(sequences) + 16
    about = Message(
        "drawing",
        "Four tasks as sequences that begin with a start token and end with an extract token; "
        "two texts are separated by a delimiter. The linear layer reads the state at the extract "
        "token. Similarity reads both orders and adds the two states; multiple choice reads each "
        "answer by itself and compares the scores by a softmax.",
    )
    title = Message("drawing", "The four input formats of the first GPT")
    return svg("formats", (640, int(y)), title, about, parts)


def _task(sequences: Sequence[Parts], joined: str, y: float) -> list[Markup]:
    """The sequences of a task, each through the model, and how their outputs are joined."""
    parts: list[Markup] = []
    middle = y + 17 * len(sequences) - 4
    for i, sequence in enumerate(sequences):
        line = y + 34 * i
        parts += [*_sequence(sequence, line), box(372, line, (92, HIGH), TRANSFORMER, "model")]
        if joined == "+":
            parts.append(path(f"M464 {line + 13}L489 {middle}", "drawn-line"))
        else:
            parts += [arrow(464, line + 13, 490, line + 13), box(490, line, (58, HIGH), LINEAR, "")]
        if joined == "softmax":
            parts.append(path(f"M548 {line + 13}L576 {middle}", "drawn-line"))
    if joined == "+":
        plus = element("circle", cx=499, cy=middle, r=10, class_="drawn-circle")
        parts += [plus, text(499, middle + 5, "+", text_anchor="middle")]
        parts += [arrow(509, middle, 531, middle), box(531, middle - 13, (58, HIGH), LINEAR, "")]
    if joined == "softmax":
        parts.append(box(576, middle - 13, (64, HIGH), "softmax", ""))
    return parts


def _sequence(texts: Parts, y: float) -> list[Markup]:
    """Start, the texts with delimiters between them, Extract; then the arrow to the model."""
    row: list[tuple[Message, str]] = [(START, "special")]
    for i, words in enumerate(texts):
        row += [(BETWEEN, "special")] * (i > 0) + [(words, "text")]
    row.append((EXTRACT, "extract"))
    x, parts = 0.0, []
    for words, class_ in row:
        width = FREE if class_ == "text" else SPECIAL
        parts.append(box(x, y, (width, HIGH), words, class_))
        x += width + 4
    return [*parts, arrow(x, y + 13, 372, y + 13)]


# From a language model to an assistant.

MODEL = Message("part", "Language model")
TUNED = Message("part", "Tuned model")
JUDGE = Message("part", "Reward model")
POLICY = Message("part", "Model in training")


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
    return svg("alignment", (700, 420), title, about, parts)


def _tuning() -> list[Markup]:
    title = Message("drawing", "1 Supervised fine-tuning (SFT): learn from answers people wrote")
    return [
        text(0, 18, title, "drawn-strong"),
        box(0, 34, (190, 30), Message("part", "Instruction + good answer"), "text"),
        arrow(190, 49, 230, 49),
        box(230, 34, (140, 30), MODEL, "model"),
        arrow(370, 49, 410, 49),
        text(416, 54, Message("drawing", "next-token loss on the answer gives the tuned model")),
    ]


def _comparisons() -> list[Markup]:
    title = Message("drawing", "2 Reward model: learn what people prefer")
    return [
        text(0, 116, title, "drawn-strong"),
        box(0, 150, (110, 30), Message("part", "Instruction"), "text"),
        arrow(110, 165, 140, 165),
        box(140, 150, (130, 30), TUNED, "model"),
        path("M270 165L300 145M270 165L300 185", "drawn-line"),
        box(300, 130, (90, 30), Message("part", "Answer A"), "text"),
        box(300, 170, (90, 30), Message("part", "Answer B"), "text"),
        arrow(390, 165, 420, 165),
        box(420, 150, (120, 30), Message("part", "A is better than B"), "extract"),
        arrow(540, 165, 570, 165),
        box(570, 150, (130, 30), JUDGE, "judge"),
        text(700, 198, "r(A) > r(B)", text_anchor="end"),
    ]


def _optimisation() -> list[Markup]:
    title = Message("drawing", "3 Policy optimisation: write what gets a high reward")
    kl = Message("drawing", "KL: how far from the tuned model")
    aim = Message("drawing", "make r − β · KL large")
    return [
        text(0, 250, title, "drawn-strong"),
        box(0, 266, (110, 30), Message("part", "Instruction"), "text"),
        arrow(110, 276, 140, 276),
        box(140, 266, (150, 30), POLICY, "model"),
        arrow(290, 281, 320, 281),
        box(320, 266, (90, 30), Message("part", "Answer"), "text"),
        arrow(410, 281, 440, 281),
        box(440, 266, (130, 30), JUDGE, "judge"),
        arrow(570, 281, 600, 281),
        box(600, 266, (100, 30), Message("part", "Reward r"), "extract"),
        path("M650 296V376", "drawn-line"),
        box(140, 322, (150, 30), TUNED, "model"),
        arrow(290, 337, 320, 337),
        box(320, 322, (250, 30), kl, "text"),
        path("M540 352V376", "drawn-line"),
        box(490, 376, (210, 30), aim, "extract"),
        path("M490 391H126V290H133", "drawn-line back"),
        arrow(130, 290, 140, 290, "back"),
        text(310, 386, Message("drawing", "gradient"), "drawn-small", text_anchor="middle"),
    ]
