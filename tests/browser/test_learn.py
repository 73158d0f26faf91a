"""The course in a browser: every step in both languages, predictions, questions, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from attention_atlas.app.learn.course import Step, course
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from tests.browser.complete import count_of, evaluated, text_of, width_of
from tests.browser.screens import violations

LANGUAGES = ("en", "zh")
CHAPTERS = [chapter.number for chapter in course("en")]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
SMALLEST = 0.6  # of a column in a presentation: 10 px for the text of a table
NO_SCRIPT = {"viewport": {"width": 1440, "height": 900}, "java_script_enabled": False}


def open_step(page: Page, address: str) -> None:
    """A step with its picture drawn, its prediction made if there is one."""
    page.goto(address)
    page.locator("#theme button").wait_for()
    reveal = page.locator(".reveal:not([open]) > summary")
    if count_of(reveal):
        reveal.click()
    if count_of(page.locator(".picture")):
        page.locator(".picture[data-ready]").wait_for()


def steps_of(number: int) -> Iterator[tuple[str, Step]]:
    """The address of each step of a chapter, and the step."""
    [chapter] = [chapter for chapter in course("en") if chapter.number == number]
    for step in chapter.steps:
        yield f"/learn/{number}/{step.id}", step


LOOKS = """async (panel) => {
  const {attn} = await (await fetch(panel.api, {headers: {accept: "application/json"}})).json();
  return attn[0][0][panel.number];
}"""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", CHAPTERS)
def test_every_step_shows_its_observation(page: Page, number: int, language: str) -> None:
    """Each figure is drawn, what is said of it is what the API answers, and axe is content.

    In English, where the formulas are the same, each term of one lights its cells too.
    """
    for address, step in steps_of(number):
        open_step(page, f"{address}?lang={language}")
        assert violations(page, contrast=language == "en") == [], address
        expect(page.locator("#problem")).to_be_empty()
        if not step.figure:
            continue
        figure = evaluated(
            page, "JSON.parse(document.getElementById('page').textContent).step.figure"
        )
        expect(page.locator(".annotation")).to_be_visible()
        assert count_of(page.locator(".picture .mount")) >= 1
        assert text_of(page.locator("#figure-problem")) == ""
        for panel in figure["panels"]:
            row = evaluated(page, LOOKS, panel)
            best = max(s["attn"] for s in panel["shares"] if not s["special"])
            assert best == pytest.approx(panel["top"]["attn"])
            assert row == pytest.approx([s["attn"] for s in panel["shares"]], abs=1e-4), address
        if step.terms and language == "en":
            check_terms(page, step.terms, address)


LIT = """() => [...document.querySelectorAll(".picture *")]
  .filter((el) => el.getClientRects().length)
  .map((el) => { const s = getComputedStyle(el); return s.outlineStyle + s.boxShadow; })"""


def check_terms(page: Page, terms: tuple[str, ...], address: str) -> None:
    page.locator("h1").hover()
    dark = page.evaluate(LIT)
    for term in terms:
        page.locator(f".terms a[data-term={term}]").focus()
        expect(page.locator(".learn-columns")).to_have_attribute("data-lit", term)
        assert page.evaluate(LIT) != dark, f"{address}: {term} by keyboard"
    page.locator(".math [data-term]").first.hover()
    assert page.evaluate(LIT) != dark, f"{address}: by the pointer"


@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_no_violation_in_a_chapter(page: Page, language: str) -> None:
    for number in CHAPTERS:
        open_step(page, f"/learn/{number}?lang={language}")
        assert violations(page, contrast=language == "en") == [], number


@pytest.mark.parametrize("path", ["/learn", "/learn/glossary", "/learn/99"])
def test_axe_finds_no_violation(page: Page, path: str) -> None:
    page.goto(path)
    page.locator("#theme button").wait_for()
    assert violations(page) == []


def test_a_prediction_is_answered_by_the_run(page: Page) -> None:
    page.goto("/learn/0/two-banks")
    expect(page.locator(".picture")).to_be_hidden()
    options = page.locator(".predict-options button")
    options.first.click()
    verdict = page.locator(".predict .verdict")
    figure = evaluated(page, "JSON.parse(document.getElementById('page').textContent).step.figure")
    best = figure["options"][figure["answer"]]
    expect(verdict).to_contain_text(f"The largest is {best['word']} ({best['value']:.2f})")
    expect(page.locator(".picture")).to_be_visible()
    page.locator(".picture[data-ready]").wait_for()
    expect(options.first).to_be_disabled()


def test_the_readers_own_sentence_is_shown(page: Page) -> None:
    open_step(page, "/learn/0/look")
    page.get_by_label("Your sentence").fill("They met at the savings bank.")
    page.get_by_label("Your sentence").press("Enter")
    page.wait_for_url(re.compile("text=They"))
    page.locator(".picture[data-ready]").wait_for()
    expect(page.locator(".tokens-text").first).to_contain_text("savings")
    page.get_by_label("Your sentence").fill("It rained.")
    page.get_by_label("Your sentence").press("Enter")
    expect(page.locator("#figure-problem")).to_contain_text("needs a sentence with the word")
    expect(page.locator(".picture")).to_have_count(0)
    page.get_by_role("link", name="Use “He sat on the river bank").click()
    expect(page.locator(".annotation")).to_contain_text("river")
    expect(page.get_by_label("Your sentence")).to_have_value(re.compile("^He sat on the river"))


def test_another_sentence_leaves_the_page_where_it_is(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 600})  # either figure is longer
    open_step(page, "/learn/0/two-banks")
    page.evaluate("document.body.dataset.mark = 'the same page'; scrollTo(0, 90)")
    position = page.evaluate("scrollY")
    assert position == 90
    field = page.get_by_label("Sentence 2")
    field.fill("They met at the blood bank.")
    field.press("Enter")
    expect(page.locator("#figure-body[aria-busy=false] .picture[data-ready]")).to_contain_text(
        "blood"
    )
    expect(page.locator("body")).to_have_attribute("data-mark", "the same page")
    assert page.evaluate("scrollY") == position
    expect(field).to_be_focused()
    expect(page.locator(".predict .verdict")).to_contain_text("Here the largest is")
    expect(page.locator(".predict-options button").first).to_be_disabled()
    expect(page.locator("a.twin")).to_have_attribute("href", re.compile(r"\.json\?.*text_b=They"))
    page.go_back()
    expect(page.locator(".picture[data-ready]")).to_contain_text("account")
    expect(field).to_have_value(re.compile("account"))
    expect(page.locator("body")).to_have_attribute("data-mark", "the same page")


def test_a_prediction_is_still_open_on_a_sentence_of_ones_own(page: Page) -> None:
    page.goto("/learn/0/two-banks")
    page.locator(".predict-options button").first.wait_for()
    page.get_by_label("Sentence 2").fill("They met at the blood bank.")
    page.get_by_label("Sentence 2").press("Enter")
    choice = page.locator(".predict-options").get_by_role("button", name="blood", exact=True)
    expect(page.locator(".picture")).to_be_hidden()
    choice.click()
    expect(page.locator(".picture[data-ready]")).to_contain_text("blood")


def test_a_server_that_does_not_answer_leaves_no_picture(page: Page) -> None:
    open_step(page, "/learn/0/look")
    page.route("**/learn/0/look?**", lambda route: route.abort())
    page.get_by_label("Your sentence").fill("They met at the savings bank.")
    page.get_by_label("Your sentence").press("Enter")
    expect(page.locator("#figure-problem")).to_contain_text("does not answer")
    expect(page.locator(".picture")).to_have_count(0)


def test_arrow_keys_turn_pages_but_not_inside_a_picture(page: Page) -> None:
    open_step(page, "/learn/0/look")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("/learn/0/two-banks"))
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(re.compile("/learn/0/look"))
    page.locator(".picture[data-ready]").wait_for()
    page.locator(".tokens-text button").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("/learn/0/look"))


def test_a_formula_lights_up_its_part_of_the_picture(page: Page) -> None:
    open_step(page, "/learn/2/formula")
    page.locator(".terms a[data-term=value]").focus()
    expect(page.locator(".learn-columns")).to_have_attribute("data-lit", "value")
    expect(page.locator(".math [data-term=value].lit").first).to_be_visible()
    heading = page.locator(".anatomy thead th").nth(6)
    shadow = evaluated(heading, "(el) => getComputedStyle(el).boxShadow")
    assert shadow != "none"


def test_a_price_for_the_reward_is_set_by_hand(page: Page) -> None:
    """The largest β leaves GPT's token, the smallest writes the judge's; each rule has its own."""
    open_step(page, "/learn/9/reward")
    figure = evaluated(page, "JSON.parse(document.getElementById('page').textContent).step.figure")
    best = page.locator(".picture tr.most th")
    slider = page.locator(".preference input[type=range]")
    slider.focus()
    slider.press("Home")
    expect(best).to_have_text(figure["values"]["extreme"])
    expect(slider).to_have_attribute("aria-valuetext", "0.01")
    slider.press("End")
    expect(best).to_have_text("hospital")
    slider.press("Home")
    page.get_by_label("reward r").select_option(index=2)
    expect(best).to_have_text("house")
    expect(page.locator(".preference-sums")).to_contain_text("KL 0.09 nats")


@pytest.mark.parametrize("setting", [{"color_scheme": "dark"}], ids=["dark"])
def test_a_chapter_is_printed_on_white_without_its_answers(page: Page, setting: object) -> None:
    page.goto("/learn/4")
    page.locator("#theme button").wait_for()
    expect(page.locator(".drawn-table summary").first).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")
    expect(page.locator(".answer").first).to_be_hidden()
    expect(page.locator(".drawn").first).to_be_visible()


def test_progress_is_kept_in_the_browser_and_can_be_forgotten(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    open_step(page, "/learn/0/questions")
    page.locator("[data-question=row-sum] input").first.check()
    expect(page.locator("[data-question=row-sum] .verdict")).to_have_text("Right.")
    page.goto("/learn")
    expect(page.locator(".chapter-steps .seen")).to_have_count(1)
    expect(page.locator(".learn-resume a")).to_have_attribute(
        "href", re.compile("/learn/0/questions")
    )
    assert set(sent) == {"GET"}
    page.get_by_role("button", name="Forget it").click()
    expect(page.locator(".seen")).to_have_count(0)
    page.reload()
    expect(page.locator(".learn-resume")).to_be_empty()


def test_a_presentation_hides_answers_until_a_key(page: Page) -> None:
    page.goto("/learn/0/two-banks?lecture=1")
    page.locator(".predict-options button").first.wait_for()
    expect(page.locator("header.top")).to_be_hidden()
    expect(page.locator(".picture")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".picture")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile(r"/learn/0/closed\?lecture=1"))


SCROLLING = """() => {
  const may = /auto|scroll/;
  const over = (el) => {
    const {overflowX, overflowY} = getComputedStyle(el);
    return (may.test(overflowX) && el.scrollWidth > el.clientWidth + 1)
      || (may.test(overflowY) && el.scrollHeight > el.clientHeight + 1);
  };
  const {scrollWidth, scrollHeight} = document.documentElement;
  const inside = [...document.querySelectorAll(".learn *")].filter((el) =>
    el instanceof HTMLElement && el.getClientRects().length && over(el));
  const fits = scrollWidth <= innerWidth && scrollHeight <= innerHeight && !inside.length;
  const zooms = [...document.querySelectorAll(".learn-columns > *")].map((el) => el.style.zoom);
  return {fits, zoom: Math.min(...zooms)};
}"""
# In the first of two frames the columns are fitted.
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# The smallest zoom once nothing scrolls. Not async: what is waited for would be the promise.
FITS = f"""() => {{
  const {{fits, zoom}} = ({SCROLLING})();
  return fits && zoom;
}}"""
SCREENS: dict[str, list[ViewportSize]] = {
    "en": [{"width": 1440, "height": 900}, {"width": 1024, "height": 768}],
    "zh": [{"width": 1024, "height": 768}],
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", CHAPTERS)
def test_no_step_of_a_presentation_scrolls(page: Page, language: str, number: int) -> None:
    """With everything shown, and each question and piece of code after the other."""
    for address, step in steps_of(number):
        page.goto(f"{address}?lang={language}&lecture=1")
        page.locator(".lecture-place").wait_for(state="attached")
        hidden = page.locator(".reveal:not([open]), .question:not([hidden]) .answer:not([open])")
        n = count_of(page.locator(".question, .learn-text > .code")) or 1
        for i in range(n):
            page.keyboard.press("Enter")
            expect(hidden).to_have_count(0)
            if step.figure:
                page.locator(".picture[data-ready]").wait_for()
            for screen in SCREENS[language]:
                page.set_viewport_size(screen)
                page.evaluate(FRAMES)
                zoom = page.wait_for_function(FITS).json_value()
                assert zoom >= SMALLEST, (address, screen)
            if i + 1 < n:
                page.keyboard.press("ArrowRight")


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_a_step_works_without_a_script(context: BrowserContext, setting: object) -> None:
    page = context.new_page()
    page.goto("/learn/0/two-banks")
    page.locator(".reveal summary").click()
    expect(page.locator(".picture table").first).to_contain_text("river")
    page.locator(".turn [rel=next]").click()
    expect(page.locator("h1")).to_have_text("From one language to another")


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
@pytest.mark.parametrize("address", ["/learn", "/learn/0/look", "/learn/2/formula", "/learn/2"])
def test_nothing_is_wider_than_a_phone(page: Page, setting: object, address: str) -> None:
    open_step(page, address)
    assert width_of(page) <= 390
