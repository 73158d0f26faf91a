"""Translate: tokens one by one, attention, beams, references, two models."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import evaluated, value_of
from tests.browser.working import api, opened, texts

PARK = "Me senté en el banco del parque."


def head_in(page: Page) -> dict[str, int]:
    """The layer and head that the page shows."""
    fields = {name: value_of(page.locator(f"[name={name}]")) for name in ("layer", "head")}
    return {name: int(value) for name, value in fields.items()}


def test_a_translation_comes_token_by_token(page: Page, server: str) -> None:
    before = texts(opened(page, "/translate"), "#target")
    field = page.get_by_role("textbox", name="Text", exact=True)
    field.fill("La casa de mi padre es blanca.")
    answer = api(server, "/translate", model="translator", text="La casa de mi padre es blanca.")
    expected = [token["text"].strip() for token in answer["tokens"]]
    expect(page.locator("#target .token")).to_have_text(expected)
    expect(page).to_have_url(re.compile("text=La\\+casa"))
    page.go_back()
    expect(page.locator("#target .token")).to_have_text(before)


def test_a_step_lights_its_row_and_its_candidates(page: Page, server: str) -> None:
    opened(page, "/translate")
    answer = api(server, "/translate", model="translator", text="El banco está cerrado.")
    page.locator("#target button").nth(3).click()
    step = answer["steps"][3]
    expect(page.locator("#step-said")).to_contain_text(f"probability {step['probability']:.3f}")
    rows = page.locator("#candidates tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text(f"{step['candidates'][0]['probability']:.4f}")
    expect(page).to_have_url(re.compile("step=3"))
    spec = {"model": "translator", "text": "El banco está cerrado.", "kind": "cross"}
    attn = api(server, "/attention", **spec, **head_in(page))["attn"][0][0][3]
    best = answer["sequences"]["source"][attn.index(max(attn))]["text"].strip()
    expect(page.locator("#step-said")).to_contain_text(f"looks most at {best} {max(attn):.2f}")
    page.get_by_role("slider", name="Step").fill("1")
    expect(page.locator("#target [aria-pressed=true]")).to_have_text(
        answer["tokens"][1]["text"].strip()
    )


def test_encoder_decoder_and_cross_are_one_matrix(page: Page, server: str) -> None:
    opened(page, "/translate", layer=1, head=2)
    request = {"model": "translator", "text": "El banco está cerrado.", "layer": 1, "head": 2}
    blocks = {
        kind: api(server, "/attention", **request, kind=kind)["attn"][0][0]
        for kind in ("encoder", "decoder", "cross")
    }
    S, T = len(blocks["encoder"]), len(blocks["decoder"])
    page.wait_for_function(
        f"document.querySelector('#joint-view .matrix-plot')?.data?.[0].z.length == {S + T}"
    )
    z = evaluated(page, "document.querySelector('#joint-view .matrix-plot').data[0].z")
    assert z[0][:S] == pytest.approx(blocks["encoder"][0], abs=1e-5)
    assert z[0][S:] == [None] * T
    assert z[S + 2][:S] == pytest.approx(blocks["cross"][2], abs=1e-5)
    assert z[S + 2][S : S + 3] == pytest.approx(blocks["decoder"][2][:3], abs=1e-5)
    assert z[S + 2][S + 3 :] == [None] * (T - 3)
    page.get_by_role("combobox", name="Shown as").select_option("lines")
    expect(page.locator("#joint-view .lines-column.query button")).to_have_count(S + T)
    page.locator("#joint-view .lines-column.query button").nth(S + 4).click()
    expect(page.locator("#target [aria-pressed=true]")).to_have_text(".")


def aligners_of(server: str, model: str) -> dict[str, dict[str, Any]]:
    with urlopen(f"{server}/api/v1/models/{model}") as answer:
        return {each["reading"]: each for each in json.load(answer)["aligners"]}


def test_each_reading_takes_the_head_that_the_card_measured_best_for_it(
    page: Page, server: str
) -> None:
    text = "La casa de mi padre es blanca."
    opened(page, "/translate", text=text, layer=1, head=2)
    known = aligners_of(server, "translator")
    assert "input" in known
    row = page.locator("#drove-table tbody tr").nth(1)
    for column, reading, later in ((0, "output", 0), (2, "input", 1)):
        best = known.get(reading, {"layer": 1, "head": 2})
        place = {"layer": best["layer"], "head": best["head"]}
        spec = {"model": "translator", "text": text, "kind": "cross", **place}
        answer = api(server, "/attention", **spec)
        source = [token["text"].strip() for token in answer["k_tokens"]]
        attn = answer["attn"][0][0][1 + later]
        expect(row.locator("td").nth(column)).to_have_text(source[attn.index(max(attn))])
        heading = page.locator("#drove-table th[scope=col]").nth(column + 1)
        expect(heading).to_have_text(f"as {reading}, L{place['layer']} H{place['head']}")


def test_the_best_heads_are_said_in_words_and_one_click_away(page: Page, server: str) -> None:
    opened(page, "/translate", text=PARK)
    best = aligners_of(server, "translator")["input"]
    place = f"L{best['layer']} H{best['head']}"
    text = f"as input {place} F1 {best['score']:.2f} ({best['low']:.2f} to {best['high']:.2f})"
    expect(page.locator("#readings")).to_contain_text(text)
    if "output" not in aligners_of(server, "translator"):
        expect(page.locator("#readings")).to_contain_text("as output: not measured by translator's")
    page.get_by_role("combobox", name="Layer", exact=True).select_option("2")
    expect(page).to_have_url(re.compile("layer=2"))
    page.locator("#readings").get_by_role("button", name=place).click()
    expect(page).to_have_url(re.compile(f"layer={best['layer']}.*head={best['head']}"))
    expect(page.locator("#readings [aria-pressed=true]")).to_have_text(place)


def test_a_beams_tree_leads_to_the_best(page: Page, server: str) -> None:
    opened(page, "/translate", text=PARK)
    expect(page.locator("#beam-section")).to_be_hidden()
    page.get_by_label("Beams").fill("3")
    answer = api(server, "/translate", model="translator", text=PARK, num_beams=3)
    expect(page.locator("#hypotheses > table tbody tr")).to_have_count(len(answer["hypotheses"]))
    expect(page.locator("#hypotheses > table tbody th").first).to_have_text(answer["target"])
    page.locator("#tree .work-node").first.focus()
    first = answer["tree"][0]
    expect(page.locator("#node-said")).to_contain_text(f"so far {first['total']:.2f}")
    path = page.locator("#tree .work-node.best")
    expect(path).to_have_count(len(answer["tokens"]))
    expect(page.locator("#tree .work-node")).to_have_count(len(answer["tree"]))


def test_a_beam_in_other_pieces_is_drawn_with_its_own_tokens(page: Page, server: str) -> None:
    """Its text would be cut into fewer tokens than the beam has."""
    text = "Xi Jinping y Björk Guðmundsdóttir"
    opened(page, "/translate", text=text, num_beams=2, model_b="none")
    answer = api(server, "/translate", model="translator", text=text, num_beams=2)
    expect(page.locator("#target button")).to_have_count(len(answer["tokens"]))
    page.locator("#target button").last.click()
    expect(page.locator("#step-said")).to_contain_text("looks most at")
    expect(page.locator("#anatomy option:checked")).to_have_text(
        re.compile(re.escape(answer["tokens"][-2]["text"].strip()))
    )
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_reference_is_read_by_teacher_forcing(page: Page, server: str) -> None:
    opened(page, "/translate", text=PARK)
    page.get_by_role("textbox", name="Reference").fill("I sat on the park bench.")
    request = {"model": "translator", "text": PARK, "reference": "I sat on the park bench."}
    steps = api(server, "/translate", **request)["reference"]["steps"]
    rows = page.locator("#reference-table tbody tr")
    expect(rows).to_have_count(len(steps))
    other = next(i for i, step in enumerate(steps) if step["rank"] > 0)
    expected = steps[other]["candidates"][0]["text"].strip()
    expect(rows.nth(other).locator("td").nth(2)).to_have_text(expected)
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
    request = {"model": "recurrent", "text": "El banco está cerrado.", "kind": "cross", "query": 2}
    answer = api(server, "/anatomy", **request, layer=0, head=0)
    expect(page.locator("#anatomy tbody tr")).to_have_count(len(answer["attn"]))
    expect(page.locator("#anatomy tbody tr").nth(1)).to_contain_text(f"{answer['attn'][1]:.3f}")


def api_get(server: str, path: str) -> Any:
    with urlopen(f"{server}/api/v1{path}") as answer:
        return json.load(answer)
