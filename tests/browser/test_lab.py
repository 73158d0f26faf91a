"""The Lab in a real Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import box_of, complete, evaluated, query_of, text_of, width_of
from tests.browser.screens import NO_SCRIPT, PHONE, violations

PAIR = {
    "model": "bert",
    "text": "The river bank was full of [MASK].",
    "text_b": "The money bank was full of [MASK].",
}
TOKENS = {"answer": "water", "other": "money"}


def api(server: str, name: str, **spec: object) -> Any:
    body = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in spec.items()}
    with urlopen(f"{server}/api/v1/lab/{name}?{urlencode(body)}") as answer:
        return json.load(answer)


def runs(**more: object) -> dict[str, object]:
    model, text, text_b = PAIR.values()
    clean = {"model": model, "text": text}
    return {"clean": clean, "corrupted": clean | {"text": text_b}, "metric": TOKENS, **more}


def written() -> dict[str, object]:
    return {name: runs()[name] for name in ("clean", "metric")}


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/lab?{urlencode(PAIR | TOKENS | query)}")
    return complete(page)


def effects_drawn(page: Page) -> Any:
    return evaluated(page, "document.querySelector('#effects-plot').data[0].z")


def test_the_map_is_measured_and_a_place_becomes_an_edit(
    page: Page, server: str, tmp_path: Path
) -> None:
    opened(page)
    sweep = api(server, "sweep", **runs(how="denoise"))
    drawn = np.array(effects_drawn(page))
    assert drawn[:, :-1] == pytest.approx(np.array(sweep["effect"]), abs=1e-5)
    expect(page.locator("#verdict")).to_contain_text("L5 H10 matters most")
    with page.expect_download() as download:
        page.locator("#effects-plot + .beneath").get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "effects.csv")
    table = pd.read_csv(tmp_path / "effects.csv").set_index(["layer", "head"])
    assert table.effect[5, "10"] == pytest.approx(sweep["effect"][5][10])
    writes = api(server, "writes", **written(), kind="encoder", layer=5, head=10)["chosen"]
    most = writes["k_tokens"][writes["largest"]]["text"]
    expect(page.locator("#writes-said")).to_contain_text(f"writes most from “{most}”")
    expect(page.locator("#parts-table .lab-total")).to_contain_text("0.77")
    last = api(server, "lens", **written())["readings"][-1]
    expect(page.locator("#lens-table tr").last).to_contain_text(f"{last['difference']:.2f}")
    page.locator("#ranked").get_by_role("button", name="L5 H10").click()
    expect(page.locator("#edits tbody tr")).to_have_count(3)
    page.locator("#ranked").get_by_role("button", name=re.compile(r"^L\d+ H")).nth(1).click()
    expect(page.locator("#edits tbody tr")).to_have_count(4)
    edits = query_of(page)["edits"].split(",")
    assert edits[0] == "encoder.5.10"
    places = [dict(zip(("kind", "layer", "head"), e.split("."), strict=True)) for e in edits]
    stack = [{**p, "layer": int(p["layer"]), "head": int(p["head"])} for p in places]
    answer = api(server, "effects", **runs(interventions=[{"how": "denoise", **p} for p in stack]))
    expect(page.locator("#edits")).to_contain_text(f"{round(100 * answer['joint']['share'])} %")
    expect(page.locator("#candidates h3").last).to_have_text("corrupted text, edited")
    assert violations(page) == []
    page.go_back()
    expect(page.locator("#edits tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Remove L5 H10").click()
    expect(page.locator("#no-edits")).to_be_visible()


def at_cell(page: Page, plot: str, row: int, column: int) -> None:
    """Click a cell of a map."""
    box = box_of(page.locator(f"{plot} .nsewdrag"))
    z = evaluated(page, "(id) => document.querySelector(id).data[0].z", plot)
    n, m = np.array(z).shape
    x, y = (column + 0.5) * box["width"] / m, (row + 0.5) * box["height"] / n
    page.locator(f"{plot} .nsewdrag").click(position={"x": x, "y": y})


def test_edges_of_the_chosen_head_are_changed_by_click(page: Page, server: str) -> None:
    opened(page, how="zero", layer=5, head=10)
    expect(page.locator("#edges-said")).to_contain_text("Where each query (a row) looks")
    at_cell(page, "#edges-plot", 7, 2)
    expect(page.locator("#edits tbody th").first).to_have_text(
        "L5 H10: “[MASK]” may not look at “river”"
    )
    assert query_of(page)["edits"] == "encoder.5.10.block.7.2"
    page.get_by_label("leaves the query this key alone").check()
    at_cell(page, "#edges-plot", 7, 3)
    expect(page.locator("#edits tbody tr")).to_have_count(4)
    page.get_by_role("button", name="× 0.5").click()
    expect(page.locator("#edits")).to_contain_text("L5 H10: scores × 0.5")
    edits = [
        {"how": "block", "query": 7, "key": 2},
        {"how": "set", "query": 7, "key": 3},
        {"how": "scale", "by": 0.5},
    ]
    head = {"kind": "encoder", "layer": 5, "head": 10}
    answer = api(server, "effects", **runs(interventions=[head | edit for edit in edits]))
    joint = f"{answer['joint']['change']:+.2f}".replace("-", "−")
    expect(page.locator("#edits .lab-total").last).to_contain_text(joint)
    page.get_by_label("The map shows").select_option("effect")
    complete(page)
    sweep = api(server, "sweep", **written(), how="zero", over="edges", **head)
    drawn = evaluated(page, "document.querySelector('#edges-plot').data[0].z")
    assert np.array(drawn) == pytest.approx(np.array(sweep["effect"]), abs=1e-4)
    assert query_of(page)["map"] == "effect" and query_of(page)["act"] == "only"
    assert violations(page) == []


TABLES = {  # the part's columns in a CSV
    "#writes": "key,key_token,attention,write",
    "#parts-table": "part,kind,layer,write",
    "#lens-table": "after,rank_answer,rank_other,difference,candidate_1,probability_1,candidate_2,"
    "probability_2,candidate_3,probability_3",
    "#edits": "edit,how,value,change,share",
    "#attributions": "method,position,token,value,tau",
}


def test_every_table_goes_along_as_numbers_and_as_a_picture(
    page: Page, server: str, tmp_path: Path
) -> None:
    opened(page, edits="encoder.5.10")
    page.get_by_role("button", name="Compute them").click()
    expect(page.locator("#attributions tbody tr")).to_have_count(9)
    expect(page.locator("#attributions-part")).not_to_have_attribute("aria-busy", "true")
    for part, columns in TABLES.items():
        saved = {}
        for ending in ("CSV", "SVG"):
            with page.expect_download() as download:
                page.locator(part).get_by_role("button", name=ending).click()
            path = tmp_path / f"{part[1:]}.{ending}"
            download.value.save_as(path)
            saved[ending] = path.read_text()
        assert saved["CSV"].splitlines()[0] == columns, part
        words = ElementTree.fromstring(saved["SVG"]).itertext()
        assert any("bert" in word for word in words), "where the numbers come from"
        assert "<rect" in saved["SVG"]
    answer = api(server, "writes", **written())
    parts = pd.read_csv(tmp_path / "parts-table.CSV")
    assert parts.write.sum() == pytest.approx(answer["total"], abs=1e-4)


def test_an_mlp_beside_the_heads_becomes_an_edit(page: Page, server: str) -> None:
    opened(page, how="zero")
    mlps = api(server, "sweep", **runs(how="zero"))["mlps"]
    assert [row[-1] for row in effects_drawn(page)] == pytest.approx(mlps, abs=1e-4)
    at_cell(page, "#effects-plot", 3, 12)
    expect(page.locator("#edits tbody th").first).to_have_text("MLP of layer 3")
    expect(page.locator("#edits tbody tr").first).to_contain_text(
        f"{mlps[3]:+.2f}".replace("-", "−")
    )
    assert query_of(page)["edits"] == "encoder.3.mlp"
    expect(page.locator("#edges-part")).to_be_hidden()


def test_the_strongest_paths_are_drawn_and_saved(page: Page, server: str, tmp_path: Path) -> None:
    opened(page)
    page.get_by_role("button", name="Find the strongest paths").click()
    answer = api(server, "paths", **runs())
    drawn = page.locator("#paths svg path")
    expect(drawn).to_have_count(min(20, len(answer["paths"])))
    first = answer["paths"][0]
    name = f"L{first['sender']['layer']} H{first['sender']['head']}"
    expect(drawn.first).to_have_attribute("aria-label", re.compile(f"^{name} to prediction"))
    with page.expect_download() as download:
        page.locator("#paths").get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "paths.csv")
    table = pd.read_csv(tmp_path / "paths.csv")
    assert table.effect.tolist() == pytest.approx([path["effect"] for path in answer["paths"]])
    page.locator("#paths summary").click()
    expect(page.locator("#paths tbody tr")).to_have_count(len(answer["paths"]))
    assert violations(page) == []
    page.get_by_label("Into").select_option("v")
    into = {"kind": "encoder", "layer": 5, "head": 10, "input": "v"}
    every = api(server, "paths", **runs(receiver=into))
    expect(page.locator("#paths .note")).to_contain_text("60 of 60 paths were measured")
    expect(page.locator("#paths tbody tr")).to_have_count(len(every["paths"]))
    assert (query_of(page)["paths"], query_of(page)["into"]) == ("48", "v")
    page.reload()
    expect(page.locator("#paths .note")).to_contain_text("60 of 60 paths were measured")
    page.locator("[name=text_b]").fill("")
    expect(page.locator("#paths-part")).to_be_hidden()


def test_paths_that_are_stopped_keep_what_was_measured(page: Page, hold: Any) -> None:
    page.goto("/healthz")
    opened(page)
    hold("lab/paths", 2)  # the start and the first paths
    page.get_by_role("button", name="Find the strongest paths").click()
    expect(page.locator("#paths-progress")).to_have_text("8 of 48 paths")
    page.locator("#stop-paths").click()
    page.evaluate("globalThis.release()")
    expect(page.locator("#stop-paths")).to_be_hidden()
    expect(page.locator("#paths .note")).to_contain_text("8 of")
    assert query_of(page)["paths"] == "48"


def test_other_metrics_are_measured(page: Page) -> None:
    opened(page, how="zero")
    page.get_by_label("Measured").select_option("probability")
    expect(page.locator("#metric")).to_contain_text("Probability of “water”")
    expect(page.locator("#verdict")).to_contain_text("the probability changes by")
    expect(page.locator("#parts")).to_be_hidden()
    page.get_by_label("Measured").select_option("cosine")
    expect(page.locator("#metric")).to_contain_text("Cosine of the text's mean vector")
    expect(page.get_by_label("with the sentence")).to_have_value(PAIR["text_b"])
    expect(page.locator("#candidates")).to_be_hidden()
    page.goto("/lab?model=gpt&text=The+king+of+France&metric=loss")
    complete(page)
    expect(page.locator("#verdict")).to_contain_text("the loss changes by")


def test_a_sweep_that_is_stopped_keeps_what_was_measured(page: Page, hold: Any) -> None:
    page.goto("/healthz")
    opened(page, how="zero")
    hold("lab/sweep", 3)  # the start and two layers
    page.get_by_role("combobox", name="What is done").select_option("noise")
    expect(page.locator("#progress")).to_have_text("2 of 6 layers")
    page.get_by_role("button", name="Stop").click()
    page.evaluate("globalThis.release()")
    expect(page.locator("#progress")).to_have_text("Stopped: 2 of 6 layers were measured.")
    drawn = effects_drawn(page)
    assert [row[0] is None for row in drawn] == [False, False, True, True, True, True]
    expect(page.locator("#lab")).to_have_attribute("aria-busy", "false")


def test_words_of_a_text_without_a_blank_become_it(page: Page) -> None:
    page.goto("/lab?model=bert&text=The+river+bank+was+full+of+water.")
    expect(page.locator("#problem")).to_contain_text("[MASK]")
    page.locator("#blanks").get_by_role("button", name="water").click()
    expect(page.locator("#verdict")).to_contain_text("matters most")
    expect(page.locator("#problem")).to_be_empty()
    expect(page.locator("#blanks")).to_be_hidden()
    assert query_of(page)["text"] == PAIR["text"]
    page.locator("[name=text_b]").fill("A text of another length [MASK]")
    expect(page.locator("#partners")).to_contain_text("river")
    page.get_by_role("combobox", name="What is done").select_option("noise")
    expect(page.locator("#problem")).to_contain_text("they must have equally many")


def test_a_translator_is_measured_at_its_step(page: Page) -> None:
    page.goto("/lab?model=translator")
    complete(page)
    assert "park" in text_of(page.locator("#metric"))
    expect(page.get_by_label("The translation so far")).to_have_value("He sat in the")
    page.get_by_role("combobox", name="Applied to").select_option("positions")
    expect(page.locator("#effects-plot .xtick text").last).to_be_visible()
    expect(page.locator("#verdict")).to_contain_text("Layer")
    assert query_of(page)["over"] == "positions"


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_has_all_of_it(page: Page) -> None:
    opened(page, edits="encoder.5.10")
    page.get_by_role("button", name="Compute them").click()
    expect(page.locator("#attributions tbody tr")).to_have_count(9)
    expect(page.locator("#agreement-said")).to_contain_text("do not agree here")
    assert width_of(page) <= 390
    expect(page.locator("#ablations tbody tr")).to_have_count(4)


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_a_form_and_numbers(page: Page) -> None:
    page.goto(f"/lab?{urlencode(PAIR | TOKENS)}")
    expect(page.locator("#lab table")).to_contain_text("Effects estimated by one gradient")
    page.get_by_role("combobox", name="What is done").select_option("noise")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("how=noise"))
    expect(page.get_by_role("link", name="Measured effects, as JSON")).to_be_visible()


def test_compares_head_that_is_off_leads_here(page: Page) -> None:
    page.goto("/compare?off=0.4")
    complete(page)
    page.get_by_role("link", name="Its effect in the Lab").click()
    expect(page.locator("#edits tbody th").first).to_have_text("L0 H4")
    assert "[MASK]" in query_of(page)["text"]
    assert query_of(page)["answer"] == "bank"
