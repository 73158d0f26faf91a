"""The pages of models at work: Translate, Generate, Fill in."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

LIGHT = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"}
DARK = {**LIGHT, "color_scheme": "dark"}
PHONE = {**LIGHT, "viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DOCS = Path(__file__).parents[2] / "docs"
PARK = "Me senté en el banco del parque."


def opened(page: Page, path: str, **query: object) -> Page:
    page.goto(f"{path}?{urlencode(query)}" if query else path)
    page.locator("#work[aria-busy=false]").wait_for()
    return page


def api(server: str, path: str, **body: Any) -> Any:
    headers = {"content-type": "application/json"}
    request = Request(f"{server}/api/v1{path}", json.dumps(body).encode(), headers)
    with urlopen(request) as answer:
        return json.load(answer)


def texts(page: Page, selector: str) -> list[str]:
    return page.locator(f"{selector} .token").all_text_contents()


# Translate.


def test_a_translation_comes_token_by_token(page: Page, server: str) -> None:
    opened(page, "/translate")
    field = page.get_by_role("textbox", name="Text", exact=True)
    field.fill("La casa de mi padre es blanca.")
    found = api(server, "/translate", model="translator", text="La casa de mi padre es blanca.")
    expected = [token["text"].strip() for token in found["tokens"]]
    expect(page.locator("#target .token")).to_have_text(expected)
    expect(page).to_have_url(re.compile("text=La\\+casa"))
    page.go_back()
    expect(page.locator("#target .token").nth(1)).to_have_text("bank")


def test_a_step_lights_its_row_and_its_candidates(page: Page, server: str) -> None:
    opened(page, "/translate")
    found = api(server, "/translate", model="translator", text="El banco está cerrado.")
    page.locator("#target button").nth(3).click()
    step = found["steps"][3]
    expect(page.locator("#step-said")).to_contain_text(f"probability {step['probability']:.3f}")
    rows = page.locator("#candidates tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text(f"{step['candidates'][0]['probability']:.4f}")
    expect(page).to_have_url(re.compile("step=3"))
    attn = api(
        server,
        "/attention",
        model="translator",
        text="El banco está cerrado.",
        kind="cross",
        layer=0,
        head=7,
    )["attn"][0][0][3]
    best = found["sequences"]["source"][attn.index(max(attn))]["text"].strip()
    expect(page.locator("#step-said")).to_contain_text(f"looks most at {best} {max(attn):.2f}")
    page.get_by_role("slider", name="Step").fill("1")
    expect(page.locator("#target [aria-pressed=true]")).to_have_text("bank")


def test_encoder_decoder_and_cross_are_one_matrix(page: Page, server: str) -> None:
    opened(page, "/translate", layer=1, head=2)
    asked = {"model": "translator", "text": "El banco está cerrado.", "layer": 1, "head": 2}
    blocks = {
        kind: api(server, "/attention", **asked, kind=kind)["attn"][0][0]
        for kind in ("encoder", "decoder", "cross")
    }
    S, T = len(blocks["encoder"]), len(blocks["decoder"])
    page.wait_for_function(
        f"document.querySelector('#joint-view .matrix-plot')?.data?.[0].z.length == {S + T}"
    )
    z = page.evaluate("document.querySelector('#joint-view .matrix-plot').data[0].z")
    assert z[0][:S] == pytest.approx(blocks["encoder"][0], abs=1e-5)
    assert z[0][S:] == [None] * T
    assert z[S + 2][:S] == pytest.approx(blocks["cross"][2], abs=1e-5)
    assert z[S + 2][S : S + 3] == pytest.approx(blocks["decoder"][2][:3], abs=1e-5)
    assert z[S + 2][S + 3 :] == [None] * (T - 3)
    page.get_by_role("combobox", name="Shown as").select_option("lines")
    expect(page.locator("#joint-view .lines-column.query button")).to_have_count(S + T)
    page.locator("#joint-view .lines-column.query button").nth(S + 4).click()
    expect(page.locator("#target [aria-pressed=true]")).to_have_text(".")


def test_what_drove_a_word_is_read_in_both_ways(page: Page) -> None:
    opened(page, "/translate")
    row = page.locator("#drove-table tbody tr").nth(1)
    expect(row.locator("th")).to_have_text("bank")
    expect(row.locator("td").nth(0)).to_have_text("El")
    expect(row.locator("td").nth(2)).to_have_text("banco")


def test_a_beams_tree_leads_to_the_best(page: Page, server: str) -> None:
    opened(page, "/translate", text=PARK)
    expect(page.locator("#beam-section")).to_be_hidden()
    page.get_by_label("Beams").fill("3")
    found = api(server, "/translate", model="translator", text=PARK, num_beams=3)
    expect(page.locator("#hypotheses > table tbody tr")).to_have_count(len(found["hypotheses"]))
    expect(page.locator("#hypotheses > table tbody th").first).to_have_text(found["target"])
    page.locator("#tree .work-node").first.focus()
    first = found["tree"][0]
    expect(page.locator("#node-said")).to_contain_text(f"so far {first['total']:.2f}")
    path = page.locator("#tree .work-node.best")
    expect(path).to_have_count(len(found["tokens"]))
    expect(page.locator("#tree .work-node")).to_have_count(len(found["tree"]))


def test_a_beam_in_other_pieces_is_drawn_with_its_own_tokens(page: Page, server: str) -> None:
    """Its text would be cut into fewer tokens than the beam has."""
    text = "Xi Jinping y Björk Guðmundsdóttir"
    opened(page, "/translate", text=text, num_beams=2, model_b="none")
    found = api(server, "/translate", model="translator", text=text, num_beams=2)
    expect(page.locator("#target button")).to_have_count(len(found["tokens"]))
    page.locator("#target button").last.click()
    expect(page.locator("#step-said")).to_contain_text("looks most at")
    expect(page.locator("#anatomy option:checked")).to_have_text(
        re.compile(re.escape(found["tokens"][-2]["text"].strip()))
    )
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_reference_is_read_by_teacher_forcing(page: Page, server: str) -> None:
    opened(page, "/translate", text=PARK)
    page.get_by_role("textbox", name="Reference").fill("I sat on the park bench.")
    asked = {"model": "translator", "text": PARK, "reference": "I sat on the park bench."}
    steps = api(server, "/translate", **asked)["reference"]["steps"]
    rows = page.locator("#reference-table tbody tr")
    expect(rows).to_have_count(len(steps))
    other = next(i for i, step in enumerate(steps) if step["rank"] > 0)
    own = steps[other]["candidates"][0]["text"].strip()
    expect(rows.nth(other).locator("td").nth(2)).to_have_text(own)
    page.wait_for_function("document.querySelector('#forced-plot').data?.[0].z.length == 9")


def test_two_models_stand_side_by_side(page: Page, server: str) -> None:
    opened(page, "/translate")
    rows = page.locator("#beside-table tbody tr")
    expect(rows).to_have_count(2)
    theirs = api(server, "/translate", model="recurrent", text="El banco está cerrado.")
    expect(rows.nth(1)).to_contain_text(theirs["target"])
    card = api_get(server, "/models/recurrent")["metrics"]
    expect(rows.nth(1)).to_contain_text(f"{card['bleu']['value']:.1f}")
    expect(rows.nth(1)).to_contain_text(f"{card['decoding_speed']['value']:.0f}")
    page.get_by_role("combobox", name="Beside it").select_option("none")
    expect(rows).to_have_count(1)


def test_the_recurrent_models_context_is_a_weighted_sum(page: Page, server: str) -> None:
    opened(page, "/translate", model="recurrent", step=2)
    asked = {"model": "recurrent", "text": "El banco está cerrado.", "kind": "cross", "query": 2}
    found = api(server, "/anatomy", **asked, layer=0, head=0)
    expect(page.locator("#anatomy tbody tr")).to_have_count(len(found["attn"]))
    expect(page.locator("#anatomy tbody tr").nth(1)).to_contain_text(f"{found['attn'][1]:.3f}")


# Generate.


def test_a_prompt_goes_on_and_each_step_can_be_looked_into(page: Page, server: str) -> None:
    opened(page, "/generate")
    asked = {"model": "gpt", "text": "The old king", "max_new_tokens": 24, "temperature": 0.8}
    asked |= {"top_k": 40, "top_p": 0.95, "seed": 1}
    page.get_by_role("textbox", name="Prompt").fill("The old king")
    found = api(server, "/generate", **asked)
    expect(page.locator("#said button")).to_have_count(len(found["tokens"]))
    page.locator("#said button").nth(4).click()
    step = found["steps"][4]
    expect(page.locator("#step-said")).to_contain_text(
        f"drawn with probability {step['probability']:.3f}"
    )
    first = page.locator("#candidates tbody tr").first
    for name in ("probability", "temperature", "top_k", "top_p"):
        expect(first).to_contain_text(f"{step['candidates'][0][name]:.4f}")
    page.wait_for_function(
        "n => document.querySelector('#rows-plot').data?.[0].z[0].length == n",
        arg=len(found["prompt"]) + 4,
    )
    expect(page).to_have_url(re.compile("step=4"))


def test_another_candidate_is_another_branch(page: Page, server: str) -> None:
    opened(page, "/generate", text="The old king", max_new_tokens=6, step=2)
    before = texts(page, "#said button")
    page.locator("#candidates tbody th button").nth(3).click()
    asked = {"model": "gpt", "text": "The old king", "max_new_tokens": 6, "temperature": 0.8}
    asked |= {"top_k": 40, "top_p": 0.95, "seed": 1}
    plain = api(server, "/generate", **asked)
    ids = [token["id"] for token in plain["tokens"][:2]] + [
        plain["steps"][2]["candidates"][3]["id"]
    ]
    found = api(server, "/generate", **asked, forced=ids)
    expect(page.locator("#said button .token")).to_have_text(
        [token["text"].strip() for token in found["tokens"]]
    )
    expect(page).to_have_url(re.compile("forced="))
    page.get_by_role("button", name="Leave the branch").click()
    expect(page.locator("#said button .token")).to_have_text(before)


def test_a_branch_is_of_the_text_on_screen(page: Page) -> None:
    """Though another text is being written meanwhile."""
    opened(page, "/generate", text="The old king", max_new_tokens=6, step=1)
    page.route("**/api/v1/generate?*My+dog*", lambda route: None)  # never answered
    with page.expect_request(re.compile("My\\+dog")):
        page.get_by_role("textbox", name="Prompt").fill("My dog is")
    with page.expect_request(re.compile("forced=")) as asked:
        page.locator("#candidates tbody th button").nth(2).click()
    assert "text=The+old+king" in asked.value.url


def test_another_text_begins_at_its_first_step(page: Page) -> None:
    opened(page, "/generate", max_new_tokens=8, step=6)
    page.locator(".examples a").nth(1).click()
    expect(page).to_have_url(re.compile("capital"))
    expect(page.locator("#said [aria-pressed=true]")).to_have_attribute(
        "data-index", str(page.locator("#said .given").count())
    )
    assert "step=" not in page.url


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/generate", {"temperature": 0.333, "top_p": 0.005, "max_new_tokens": 3}),
        ("/translate", {"length_penalty": 0.65, "num_beams": 2}),
    ],
)
def test_a_links_own_numbers_can_be_typed_on(page: Page, path: str, query: Any) -> None:
    opened(page, path, **query)
    page.locator("textarea[name=text]").fill("La casa")
    expect(page).to_have_url(re.compile("La\\+casa"))
    page.get_by_label("Temperature" if path == "/generate" else "Beams").fill("")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_seed_a_temperature_and_filters_change_the_text(page: Page) -> None:
    opened(page, "/generate", max_new_tokens=8)
    for name, value in (("Temperature", "1.5"), ("top-k", "5"), ("top-p", "0.5"), ("Seed", "9")):
        before = texts(page, "#said button")
        page.get_by_label(name, exact=True).fill(value)
        page.wait_for_function(
            """before => [...document.querySelectorAll('#said button .token')]
              .map(({textContent}) => textContent).join() !== before.join()""",
            arg=before,
        )
    page.get_by_label("Temperature").fill("0")
    expect(page.locator("#step-said")).to_contain_text("of 1 tokens left")


def test_stop_keeps_what_is_there(page: Page, hold: Any) -> None:
    opened(page, "/generate", max_new_tokens=2)
    hold("/generate", 4)  # the prompt and three tokens
    page.get_by_label("New tokens").fill("480")
    expect(page.locator("#said .work-token:not(.given)")).to_have_count(3)
    with page.expect_request(re.compile("max_new_tokens=3")):
        page.get_by_role("button", name="Stop").click()
    expect(page.locator("#said button")).to_have_count(3)
    expect(page.get_by_label("New tokens")).to_have_value("3")
    expect(page).to_have_url(re.compile("max_new_tokens=3"))
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_stop_before_the_first_token_keeps_that_one(page: Page, hold: Any) -> None:
    opened(page, "/generate", max_new_tokens=2)
    hold("/generate", 1)  # the prompt
    with page.expect_response(re.compile("max_new_tokens=480")):
        page.get_by_label("New tokens").fill("480")
    page.get_by_role("button", name="Stop").click()
    with page.expect_request(re.compile("max_new_tokens=1")):
        page.evaluate("release()")
    expect(page.locator("#said button")).to_have_count(1)


def test_examples_in_the_prompt_are_measured(page: Page) -> None:
    opened(page, "/generate", max_new_tokens=2)
    page.get_by_label("Examples up to").fill("1")
    page.get_by_role("button", name="Measure over 32 prompts").click()
    page.locator("#heads-said a").first.wait_for()
    rows = page.locator("#shots-table tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#shots-title")).to_have_text("pairs A B … A · gpt · Seed 1")
    with_one, without = (float(rows.nth(1).locator("td").nth(i).inner_text()) for i in (0, 2))
    assert with_one > 0.4 > 0.2 > without
    page.get_by_role("combobox", name="Pattern").select_option("list")
    expect(page.locator("#pattern-said")).to_contain_text("six words")
    page.get_by_role("button", name="Put such a prompt above").click()
    expect(page.locator("#notice")).to_contain_text("right next word is")
    expect(page.get_by_role("textbox", name="Prompt")).not_to_have_value(re.compile("Once upon"))
    expect(page.locator("#shots-title")).to_contain_text("pairs"), "of what was measured"


# Fill in.


def test_a_click_hides_a_word_and_another_shows_it(page: Page, server: str) -> None:
    text = "He sat on the river bank and watched the water."
    opened(page, "/fill", text=text)
    expect(page.locator("#mask-said")).to_have_text("No word is hidden.")
    page.locator("#sentence").get_by_text("bank", exact=True).click()
    found = api(server, "/fill-mask", model="bert", text=text, words=[5])
    expect(page.locator("#masks tbody tr")).to_have_count(10)
    best = found["masks"][0]["candidates"][0]
    expect(page.locator("#masks tbody tr").first).to_contain_text(f"{best['probability']:.4f}")
    page.locator("#sentence").get_by_text("river", exact=True).click()
    expect(page.locator("#masks table")).to_have_count(2)
    expect(page).to_have_url(re.compile("words=4%2C5"))
    page.locator("#sentence .masked").nth(1).click()
    expect(page.locator("#masks table")).to_have_count(1)
    expect(page.locator("#sentence")).to_contain_text("bank")
    page.go_back()
    expect(page.locator("#masks table")).to_have_count(2)


def test_words_beside_a_typed_mask_and_of_the_second_sentence(page: Page) -> None:
    opened(page, "/fill", text="He sat on the [MASK] bank.", text_pair="It was cold.")
    page.locator("#sentence").get_by_text("bank", exact=True).click()
    expect(page).to_have_url(re.compile("words=5"))
    page.locator("#sentence").get_by_text("cold", exact=True).click()
    expect(page).to_have_url(re.compile("words_pair=2"))
    expect(page.locator("#masks table")).to_have_count(3)
    page.get_by_role("button", name="Show where it looks").nth(2).click()
    expect(page.locator("#mask-said")).to_contain_text("[MASK] at 11")
    page.reload()
    expect(page.locator("#mask-said")).to_contain_text("[MASK] at 11")
    expect(page.locator("#sentence button")).to_have_count(10)


def test_a_lock_of_a_longer_text_is_let_go(page: Page) -> None:
    opened(page, "/fill")
    page.locator("#across-view .lines-column.query button").last.click()
    expect(page).to_have_url(re.compile("query="))
    page.get_by_role("textbox", name="Second sentence").fill("No.")
    expect(page.locator("#across-view .lines-column.query button")).to_have_count(12)
    expect(page.get_by_role("alert")).to_be_empty()


def test_the_attention_from_a_blank_shades_the_text(page: Page, server: str) -> None:
    text = "He sat on the [MASK] bank."
    opened(page, "/fill", text=text, layer=2, head=3)
    row = api(server, "/attention", model="bert", text=text, layer=2, head=3)["attn"][0][0][5]
    expect(page.locator("#mask-said")).to_contain_text(f"{max(row):.2f}")
    assert page.locator("#sentence .work-token[style]").count() == sum(value > 0 for value in row)


def test_sentences_are_swapped_and_partnered(page: Page, server: str) -> None:
    opened(page, "/fill")
    a, b = "The children went to the river.", "They played in the water all day."
    found = api(server, "/next-sentence", model="bert", text=a, text_pair=b)
    cells = page.locator("#next-table td")
    expect(cells).to_have_text([f"{found['is_next']:.3f}", f"{found['swapped']:.3f}"])
    page.get_by_role("button", name="Swap them").click()
    expect(cells).to_have_text([f"{found['swapped']:.3f}", f"{found['is_next']:.3f}"])
    page.get_by_role("button", name="A random second sentence").click()
    expect(page.get_by_role("textbox", name="Second sentence")).not_to_have_value(a)
    expect(page.locator("#across-view .lines-column.query button").first).to_be_visible()


def test_the_noise_is_the_apis(page: Page, server: str) -> None:
    opened(page, "/fill", text="The king and the queen lived in a castle by the sea.")
    page.get_by_label("Seed").fill("5")
    found = api(
        server,
        "/corruption",
        model="bert",
        text="The king and the queen lived in a castle by the sea.",
        seed=5,
    )
    expect(page.locator("#noise-said")).to_contain_text(f"{found['loss']:.2f}")
    expect(page.locator("#noise-table tbody tr")).to_have_count(len(found["chosen"]))
    fates = [place["fate"] for place in found["chosen"]]
    for fate in ("masked", "replaced", "kept"):
        expect(page.locator(f"#noisy .{fate}")).to_have_count(fates.count(fate))


# All three.


@pytest.mark.parametrize("path", ["/translate", "/generate", "/fill"])
def test_nonsense_is_said_and_the_picture_stays(page: Page, path: str) -> None:
    opened(page, path, layer=99, model="nobody")
    expect(page.locator("#notice")).to_contain_text("model nobody")
    before = texts(page, ".work-tokens")
    page.locator("textarea[name=text]").fill("")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    assert texts(page, ".work-tokens") == before


@pytest.mark.parametrize("setting", [LIGHT, DARK, PHONE], ids=["light", "dark", "phone"])
@pytest.mark.parametrize("path", ["/translate?num_beams=2&reference=Shut.", "/generate", "/fill"])
def test_axe_finds_no_violation(page: Page, path: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened(page, path)
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found] == []


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
@pytest.mark.parametrize("path", ["/translate?num_beams=4", "/generate", "/fill"])
def test_a_phone_never_scrolls_sideways(page: Page, path: str) -> None:
    assert opened(page, path).evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("setting", [LIGHT | {"java_script_enabled": False}], ids=["no script"])
def test_without_a_script_there_are_words_and_numbers(page: Page) -> None:
    page.goto("/translate")
    expect(page.locator("#target")).to_contain_text("The bank is closed.")
    page.goto("/generate")
    expect(page.locator("#candidates td.n").first).to_be_visible()
    page.goto("/fill")
    expect(page.locator("#masks td.n").first).to_be_visible()


@pytest.mark.parametrize("setting", [{**LIGHT, "locale": "zh-CN"}], ids=["zh"])
def test_examples_are_one_click(page: Page) -> None:
    for path, expected in (
        ("/translate", "#target"),
        ("/generate", "#said"),
        ("/fill", "#sentence"),
    ):
        opened(page, path)
        expect(page.locator("h1")).to_have_text(re.compile("[\u4e00-\u9fff]"))
        before = page.locator(expected).inner_text()
        page.locator(".examples a").nth(1).click()
        expect(page.locator(expected)).not_to_have_text(before)


@pytest.mark.parametrize(
    ("name", "query", "drawn"),
    [
        ("translate", {"step": 3}, "#joint-view .xtick text"),
        ("generate", {"step": 5, "layer": 5}, "#rows-plot .xtick text"),
    ],
)
def test_the_pictures_of_models_at_work(
    page: Page, tmp_path: Path, name: str, query: Any, drawn: str
) -> None:
    opened(page, f"/{name}", **query)
    page.locator(drawn).first.wait_for()
    folder = DOCS if os.environ.get("UPDATE_PICTURES") == "1" else tmp_path
    picture = page.screenshot(path=folder / f"{name}.png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 30_000


def api_get(server: str, path: str) -> Any:
    with urlopen(f"{server}/api/v1{path}") as answer:
        return json.load(answer)
