"""The input formats of the first GPT: tasks as sequences of real tokens, for its fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attention_atlas.app.learn.svg import arrow, box, element, path, svg, text, width_of
from attention_atlas.model.messages import Message
from markupsafe import Markup

START, BETWEEN, EXTRACT = "⟨s⟩", "$", "⟨e⟩"  # as the paper writes them
LEGEND = Message("drawing", "⟨s⟩ start · $ delimiter · ⟨e⟩ extract")
LINEAR = Message("part", "Linear")
WIDTH = 400  # of a drawing: on a phone its text is still read without scrolling sideways
STRIP = 316  # of a strip of tokens, which goes on in the next line
LINEAR_X, LINEAR_WIDE = 332, 54
LINE, HIGH = 23, 20  # from line to line, and of a box
APART = 6  # between two sequences of a task
LETTERS, ROOM = 12.5, 9  # size of a token's letters, and what its box has beside them
MOST, FIRST, LAST = 14, 9, 4  # tokens of a text; if there are more, those at its ends
Text = Sequence[str]  # its tokens


class Task(NamedTuple):
    """A task as one sequence or more, each of one or two texts."""

    name: Message
    sequences: tuple[tuple[Text, ...], ...]
    joined: str = ""  # what joins the sequences

    def labels(self) -> list[list[str]]:
        """Each sequence with ⟨s⟩, $ and ⟨e⟩."""
        return [[label for label, _ in _marked(texts)] for texts in self.sequences]


def tasks(first: Text, second: Text, other: Text) -> tuple[Task, ...]:
    """The four of the paper, of two texts and another answer."""
    return (
        Task(Message("row", "classification"), ((first,),)),
        Task(Message("row", "entailment"), ((first, second),)),
        Task(Message("row", "similarity"), ((first, second), (second, first)), "+"),
        Task(Message("row", "multiple choice"), ((first, second), (first, other)), "softmax"),
    )


def _marked(texts: Sequence[Text]) -> Iterator[tuple[str, str]]:
    """Each token, and its class."""
    yield START, "special"
    for i, tokens in enumerate(texts):
        if i:
            yield BETWEEN, "special"
        yield from ((token, "text") for token in tokens)
    yield EXTRACT, "extract"


def input_formats(shown: Sequence[Task]) -> Markup:
    """Figure 1 (right) of Radford et al. 2018, with the tokens of a text."""
    parts: list[Markup] = [text(0, 14, LEGEND, "drawn-small")]
    y = 24.0
    for task in shown:
        parts.append(text(0, y + 15, task.name, "drawn-strong"))
        drawn, y = _task(task, y + 22)
        parts += drawn
        y += 10
    about = Message(
        "drawing",
        "Four tasks as sequences that begin with a start token and end with an extract token; "
        "two texts are separated by a delimiter. The linear layer reads the state at the extract "
        "token. Similarity reads both orders and adds the two states; multiple choice reads each "
        "answer by itself and compares the scores by a softmax.",
    )
    title = Message("drawing", "The four input formats of the first GPT")
    return svg("formats", (WIDTH, int(y)), title, about, parts)


def _task(task: Task, y: float) -> tuple[list[Markup], float]:
    """The strips of a task and how they are joined; and where they end."""
    parts: list[Markup] = []
    ends: list[tuple[float, float]] = []  # of each strip: right of its last box, in its middle
    for texts in task.sequences:
        strip, x, y = _strip(texts, y)
        parts += strip
        ends.append((x, y - LINE + HIGH / 2))
        y += APART
    if task.joined == "+":
        return parts + _sum(ends, y), y + HIGH
    for x, middle in ends:
        parts.append(arrow(x, middle, LINEAR_X, middle))
        parts.append(box(LINEAR_X, middle - HIGH / 2, (LINEAR_WIDE, HIGH), LINEAR, ""))
    if task.joined:
        return parts + _compared(task.joined, ends, y), y + HIGH
    return parts, y - APART


Ends = Sequence[tuple[float, float]]


def _sum(ends: Ends, y: float) -> list[Markup]:
    """The states at the ends of the strips added, and the linear layer."""
    x, middle, linear_x = LINEAR_X + 28, y + HIGH / 2, LINEAR_X - 76
    lines = [path(f"M{end} {own}H{x}V{y}", "drawn-line") for end, own in ends]
    circle = element("circle", cx=x, cy=middle, r=10, class_="drawn-circle")
    plus = text(x, middle + 4.5, "+", text_anchor="middle")
    to_linear = arrow(x - 10, middle, linear_x + LINEAR_WIDE, middle)
    return [*lines, circle, plus, to_linear, box(linear_x, y, (LINEAR_WIDE, HIGH), LINEAR, "")]


def _compared(how: str, ends: Ends, y: float) -> list[Markup]:
    """The scores of the strips, compared."""
    right, middle = LINEAR_X + LINEAR_WIDE, y + HIGH / 2
    lines = [path(f"M{right} {own}H{right + 12}V{middle}H{right}", "drawn-line") for _, own in ends]
    return [*lines, box(LINEAR_X - 8, y, (LINEAR_WIDE + 8, HIGH), how, "")]


def _strip(texts: Sequence[Text], y: float) -> tuple[list[Markup], float, float]:
    """The boxes of a sequence, line by line; where the last one ends, and the next line."""
    x, parts = 0.0, []
    for label, class_ in _marked([_short(tokens) for tokens in texts]):
        width = max(18.0, 1.08 * width_of(label, LETTERS) + ROOM)
        if x + width > STRIP:
            x, y = 0.0, y + LINE
        parts.append(box(x, y, (width, HIGH), label, class_))
        x += width + 2
    return parts, x, y + LINE


def _short(tokens: Text) -> Text:
    return tokens if len(tokens) <= MOST else [*tokens[:FIRST], "…", *tokens[-LAST:]]
