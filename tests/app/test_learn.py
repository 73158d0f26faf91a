"""The course: equal in both languages; its observations and answers come from the models."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from attention_atlas.app.learn.answers import ANSWERS
from attention_atlas.app.learn.catalogue import FIGURES
from attention_atlas.app.learn.course import HERE, Chapter, Step, course, glossary, returned
from attention_atlas.app.learn.figures import written
from attention_atlas.app.learn.markdown import SYMBOLS
from attention_atlas.app.learn.out import defaults
from attention_atlas.app.learn.source import lines_of
from attention_atlas.app.learn.tasks import ABLATIONS
from attention_atlas.app.learn.transfer import EXAMPLES, MONEY, WATER
from attention_atlas.app.main import create_app
from attention_atlas.app.navigation import LESSONS, LINKS
from attention_atlas.app.settings import Settings
from fastapi.testclient import TestClient

LANGUAGES = ("en", "zh")
TEMPLATES = HERE.parents[1] / "templates"
FORMULA = re.compile(r"\$\$?(.+?)\$\$?")
TERM = re.compile(r"\]\(term:([\w-]+)\)")
STEPS = [(chapter.number, step.id) for chapter in course("en") for step in chapter.steps]
SHOWN = [
    (chapter.number, step.id) for chapter in course("en") for step in chapter.steps if step.figure
]


def figure_name(chapter: int, step: str) -> str:
    [name] = [s.figure.name for s in course("en")[chapter].steps if s.id == step and s.figure]
    return name


MOST_LINES = 45  # of code that a student reads


def twin(client: TestClient, chapter: int, step: str, **query: str) -> dict[str, Any]:
    answer = client.get(f"/learn/{chapter}/{step}.json", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def outline(chapter: Chapter) -> list[Any]:
    """What both languages have alike in a chapter."""
    return [chapter.number, *(alike(step) for step in chapter.steps)]


def alike(step: Step) -> tuple[object, ...]:
    questions = [(q.id, [key for key, _ in q.options], bool(q.feedback)) for q in step.questions]
    figure = step.figure
    blanks = sorted(re.findall(r"\{\w+", f"{figure.always} {figure.observed}")) if figure else []
    name = figure.name if figure else None
    code = [symbol for symbol, _ in step.code]
    return (step.id, name, blanks, bool(step.predict), bool(step.attempt), questions, code)


def test_both_languages_have_the_same_steps_figures_and_questions() -> None:
    english, chinese = (course(code) for code in LANGUAGES)
    assert [outline(chapter) for chapter in english] == [outline(chapter) for chapter in chinese]


@pytest.mark.parametrize("path", sorted((HERE / "en").glob("*.md")), ids=lambda path: path.name)
def test_both_languages_have_the_same_formulas_and_terms(path: Any) -> None:
    english, chinese = (path.read_text("utf-8"), (HERE / "zh" / path.name).read_text("utf-8"))
    for pattern in (FORMULA, TERM):
        assert sorted(set(pattern.findall(english))) == sorted(set(pattern.findall(chinese)))


def test_no_file_is_in_one_language_alone() -> None:
    english, chinese = ({p.name for p in (HERE / code).glob("*.md")} for code in LANGUAGES)
    assert english == chinese


def test_chapters_have_four_to_eight_steps_then_two_questions_and_code() -> None:
    for chapter in course("en"):
        *steps, questions, code = chapter.steps
        assert 4 <= len(steps) <= 8, chapter.title
        assert [questions.id, code.id] == ["questions", "code"]
        assert len(questions.questions) == 2
        assert code.code
        assert any(step.predict for step in steps), f"chapter {chapter.number} predicts nothing"


def test_figures_and_answers_are_those_that_the_text_names() -> None:
    steps = [step for chapter in course("en") for step in chapter.steps]
    assert {step.figure.name for step in steps if step.figure} == FIGURES.keys()
    assert {q.id for step in steps for q in step.questions} == ANSWERS.keys()


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_term_is_in_the_glossary(code: str) -> None:
    entries = {entry.id for entry in glossary(code)}
    used = {term for path in (HERE / code).glob("*.md") for term in TERM.findall(path.read_text())}
    assert used | set(SYMBOLS.values()) <= entries
    assert [e.id for e in glossary("en")] == [e.id for e in glossary(code)]
    assert all(entry.english for entry in glossary(code)) or code == "en"


def test_chinese_is_not_set_in_italics() -> None:
    """Only foreign words are: oblique Chinese characters are hard to read."""
    pages = [step.prose for chapter in course("zh") for step in chapter.steps]
    assert re.findall("<em>[^<]*[\u4e00-\u9fff]", "".join(pages)) == []


def test_questions_come_back_one_and_three_chapters_later() -> None:
    chapters = course("en")
    first = chapters[0]
    by_number = {chapter.number: chapter for chapter in chapters}
    for later in (1, 3):
        if later in by_number:
            back = returned(chapters, by_number[later])
            assert {q.id for q in first.questions} <= {q.id for _, q in back}
    if 2 in by_number:
        assert not {0} & {number for number, _ in returned(chapters, by_number[2])}


@pytest.mark.parametrize(("chapter", "step"), SHOWN)
def test_a_step_shows_what_it_says(client: TestClient, chapter: int, step: str) -> None:
    """On its own sentence every observation is made, and its numbers are the API's."""
    figure = twin(client, chapter, step)["step"]["figure"]
    assert figure["problem"] is None
    assert figure["holds"], figure["values"]
    assert "{" not in figure["always"] + figure["observed"]
    options = figure["options"]
    assert len({option["word"] for option in options}) == len(options), "two look the same"
    for panel in figure["panels"]:
        answer = client.get(panel["api"]).json()
        row = answer["attn"][0][0][panel["number"]]
        assert row == pytest.approx([share["attn"] for share in panel["shares"]], abs=1e-4)
        assert sum(row) == pytest.approx(1, abs=1e-3)
    for address in [figure["link"], *figure["api"]]:
        assert not address or client.get(address).status_code == 200, address


@pytest.mark.parametrize(("chapter", "step"), STEPS)
def test_a_step_reads_without_a_script(client: TestClient, chapter: int, step: str) -> None:
    page = client.get(f"/learn/{chapter}/{step}?lang=zh").text
    body = page.split("<main")[1]
    assert "problem" not in re.findall(r'<p [^>]*role="alert">([^<]+)<', body)
    assert (chapter, step) not in SHOWN or "<table" in body
    assert not re.search(r"\$[^$\n]*\\", body), "a formula that is not rendered"
    assert ":::" not in body


@pytest.mark.parametrize("chapter", range(10))
def test_a_printed_chapter_escapes_no_markup_of_its_own(client: TestClient, chapter: int) -> None:
    text = client.get(f"/learn/{chapter}").text
    assert "=&#34;" not in text
    assert 'class="numbers' in text


def test_answers_are_options(client: TestClient) -> None:
    for chapter in course("en"):
        for question in twin(client, chapter.number, "questions")["step"]["questions"]:
            keys = {option["key"] for option in question["options"]}
            assert question["answer"] in keys, question["id"]


def test_the_readers_sentence_is_run(client: TestClient) -> None:
    text = "They met at the savings bank."
    figure = twin(client, 0, "look", text=text)["step"]["figure"]
    answer = twin(client, 0, "look")["step"]["figure"]
    [panel], [first] = figure["panels"], answer["panels"]
    assert panel["text"] == text
    assert (panel["layer"], panel["head"]) == (first["layer"], first["head"])
    assert "savings" in {share["word"] for share in panel["shares"]}
    assert parse_qs(urlsplit(panel["api"]).query)["text"] == [text]


def test_no_observation_stands_under_a_sentence_that_does_not_show_it(client: TestClient) -> None:
    figure = twin(client, 0, "look", text="The bank.")["step"]["figure"]
    assert not figure["holds"]
    assert figure["observed"] == ""
    page = client.get("/learn/0/look", params={"text": "The bank."}).text
    assert "Use “He sat on the river bank" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It rained all day.", "needs a sentence with the word “bank”"),
        ("bank " * 600, "tokens"),
        ("bank " * 10_000, "characters"),
    ],
)
def test_a_sentence_that_does_not_fit_is_refused(client: TestClient, text: str, said: str) -> None:
    page = client.get("/learn/0/look", params={"text": text})
    assert page.status_code == 200
    assert said in page.text
    assert "Use “He sat on the river bank" in page.text
    assert 'class="annotation"' not in page.text


OWN = [place for place in SHOWN if defaults(FIGURES[figure_name(*place)])]


@pytest.mark.parametrize("text", ["[SEP]", ".", "🙂 你好"])
@pytest.mark.parametrize(("chapter", "step"), OWN)
def test_an_odd_sentence_is_shown_or_refused(
    client: TestClient, chapter: int, step: str, text: str
) -> None:
    """Never a fault of the server, and nothing said of a picture that is not there."""
    figure = twin(client, chapter, step, text=text)["step"]["figure"]
    if figure["problem"] is None:
        assert figure["panels"] or figure["numbers"]
    else:
        assert figure["problem"]["status"] == 422, figure["problem"]
        assert figure["always"] == figure["observed"] == ""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", ["/learn/99", "/learn/x", "/learn/0/nope", "/learn/99/look"])
def test_an_unknown_step_says_which_there_are(client: TestClient, path: str, language: str) -> None:
    answer = client.get(path, headers={"accept-language": language})
    assert answer.status_code == client.get(f"{path}.json").status_code == 404
    have = "look, two-banks" if path == "/learn/0/nope" else "0"
    assert have in client.get(f"{path}.json").json()["problem"]["detail"]


def test_a_step_whose_model_is_not_loaded_is_still_read() -> None:
    app = create_app(Settings(threads=1, models="bert"))
    with TestClient(app) as client:
        figure = twin(client, 0, "closed")["step"]["figure"]
        assert "translator" in figure["problem"]["detail"]
        page = client.get("/learn/0/closed").text
        assert "encoder" in page and "translator" in page
        assert client.get("/learn/0").status_code == 200
        questions = twin(client, 0, "questions")["step"]["questions"]
        assert {q["id"]: q["answer"] for q in questions}["cross-keys"] == ""


@pytest.mark.parametrize("chapter", course("en"), ids=lambda chapter: f"{chapter.number}")
def test_code_is_short_and_in_the_source(chapter: Chapter) -> None:
    for name, _ in chapter.steps[-1].code:
        line, code = lines_of(*name.split(" "))
        path = HERE.parents[1] / name.split(" ")[0]
        assert (
            code.splitlines()[0].strip() == path.read_text("utf-8").splitlines()[line - 1].strip()
        )
        assert len(code.splitlines()) <= MOST_LINES, name


def test_code_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match=r"model/attention.py has no nothing"):
        lines_of("model/attention.py", "nothing")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", ["/learn", "/learn/glossary", "/learn/0", "/learn/0/questions"])
def test_a_page_of_the_course_has_a_twin(client: TestClient, path: str, language: str) -> None:
    page = client.get(path, params={"lang": language})
    [content] = re.findall(r'id="page">(.*?)</script>', page.text, re.DOTALL)
    assert json.loads(content) == client.get(f"{path}.json", params={"lang": language}).json()


def test_pages_lead_to_the_steps_that_explain_them(client: TestClient) -> None:
    steps = {(chapter.number, step.id) for chapter in course("en") for step in chapter.steps}
    assert set(LESSONS.values()) <= steps
    paths = [name for name in LESSONS if name.startswith("/")]
    for path in paths:
        chapter, step = LESSONS[path]
        assert f'href="/learn/{chapter}/{step}?lang=zh"' in client.get(f"{path}?lang=zh").text
    pages = [client.get(path).text for path in (*paths, "/models/bert")]
    for name in LESSONS.keys() - set(paths):
        chapter, step = LESSONS[name]
        assert any(f'href="/learn/{chapter}/{step}"' in page for page in pages), name


def test_every_page_with_controls_leads_to_the_course() -> None:
    """Each page of the bar that computes something; and each lesson is asked for once."""
    templates = {path.stem: path.read_text("utf-8") for path in TEMPLATES.glob("*.html")}
    computing = {link.path for link in LINKS} - {"/learn", "/models", "/docs"}
    for path in computing:
        assert re.search(r"(lesson|heading)\(here", templates[path.strip("/")]), path
    request = re.findall(r'lesson\("([\w-]+)"\)', "".join(templates.values()))
    assert sorted(request) == sorted(LESSONS.keys() - computing)


@pytest.mark.parametrize(
    ("text", "sense"),
    [("", "beside water"), ("The bank raised its interest rates.", "for money")],
)
def test_frozen_vectors_tell_two_meanings_apart(client: TestClient, text: str, sense: str) -> None:
    """The nearest examples are those of the API's hidden states."""
    figure = twin(client, 9, "transfer", text=text)["step"]["figure"]
    assert figure["values"]["sense"] == sense and figure["observed"]
    states = [_state(client, x) for x in (figure["texts"][0], *EXAMPLES[WATER], *EXAMPLES[MONEY])]
    expected, *others = [state / np.linalg.norm(state) for state in states]
    water, money = (others[0] + others[1]) @ expected / 2, (others[2] + others[3]) @ expected / 2
    assert figure["numbers"]["rows"][-1][1:] == pytest.approx([water, money], abs=1e-4)


def _state(client: TestClient, text: str) -> Any:
    request = {"model": "bert", "text": text, "word": "bank"}
    return np.array(client.get("/api/v1/hidden-states", params=request).json()["hidden"])[-1]


def test_a_text_that_the_model_ends_at_once_shows_the_end(client: TestClient) -> None:
    figure = twin(client, 8, "prompts", text="She bought a new car.")["step"]["figure"]
    assert figure["numbers"]["rows"][0][1] == "<|endoftext|>"


def test_what_is_said_of_a_row_names_no_word_of_another_sentence(client: TestClient) -> None:
    figure = twin(client, 3, "causal", text="He cashed a check.")["step"]["figure"]
    assert figure["panels"][0]["word"] == "check"
    assert "bank" not in figure["always"] + figure["observed"]


def test_the_last_ablation_costs_more_on_four_of_five_tasks() -> None:
    base, without, one_way = (np.array(row[1:], dtype=float) for row in ABLATIONS)
    assert sum(without - one_way > base - without) == 4
    assert base[1] - without[1] == pytest.approx(3.5)
    assert max(np.delete(base - without, 1)) < 1


PREDICTED = [(c.number, step.id) for c in course("en") for step in c.steps if step.predict]


@pytest.mark.parametrize(("chapter", "step"), PREDICTED)
def test_a_prediction_has_one_answer(client: TestClient, chapter: int, step: str) -> None:
    """The largest value leads by more than rounding, or nobody could have known it."""
    options = twin(client, chapter, step)["step"]["figure"]["options"]
    second, best = sorted(option["value"] for option in options)[-2:]
    assert best - second > 0.005, options


def test_the_blank_looks_to_both_sides(client: TestClient) -> None:
    [panel] = twin(client, 7, "both-sides")["step"]["figure"]["panels"]
    plain = [(i, share["attn"]) for i, share in enumerate(panel["shares"]) if not share["special"]]
    for side in (
        [attn for i, attn in plain if i < panel["number"]],
        [attn for i, attn in plain if i > panel["number"]],
    ):
        assert max(side) > 0.15


def test_the_spreads_are_those_of_the_picture(client: TestClient) -> None:
    figure = twin(client, 5, "norms")["step"]["figure"]
    [state] = [np.array(client.get(address).json()["hidden"][1]) for address in figure["api"]]
    shown = np.array([row[1:] for row in figure["numbers"]["rows"]])
    assert shown == pytest.approx(state[:, : shown.shape[1]], abs=1e-4)
    spreads = {"token": state.std(axis=1).mean(), "dimension": state.std(axis=0).mean()}
    for name, spread in spreads.items():
        assert float(figure["values"][name]) == pytest.approx(spread, abs=0.006)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1_622_016.0, "1,622,016"),
        (84.4, "84.4"),
        (-0.53, "−0.530"),
        (2.1e-9, "2 × 10⁻⁹"),
        (0.0, "0"),
    ],
)
def test_a_number_in_a_table_is_written_out(value: float, words: str) -> None:
    assert written(value) == words


@pytest.mark.parametrize(
    ("chapter", "step"),
    [(4, "regrouped"), (8, "shots"), (2, "scale"), (8, "prompts"), (9, "ground")],
)
def test_an_observation_is_that_of_the_numbers(client: TestClient, chapter: int, step: str) -> None:
    rows = twin(client, chapter, step)["step"]["figure"]["numbers"]["rows"]
    if step == "regrouped":  # entropy rises, difference between heads falls
        assert [row[3] for row in rows[1:]] == sorted(row[3] for row in rows[1:])
        assert [row[4] for row in rows[1:]] == sorted((row[4] for row in rows[1:]), reverse=True)
    elif step == "shots":  # the first example helps most
        gains = [after[1] - before[1] for before, after in zip(rows, rows[1:], strict=False)]
        assert max(gains) == gains[0] > 0
    elif step == "prompts":  # sure of a form, not of a task
        _, speech, *tasks = (row[2] for row in rows)
        assert speech > 2 * max(tasks)
    elif step == "ground":  # different candidates, about as sure
        assert max(row[2] for row in rows) > max(row[1] for row in rows) / 2
        assert {row[0]: row[1] > 5 * row[2] for row in rows}["France"]
    else:
        assert max(row[2] for row in rows) > max(row[3] for row in rows)
