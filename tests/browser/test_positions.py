"""The Positions page in a real Chromium."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import attribute_of, complete, evaluated, query_of, texts_of, width_of
from tests.browser.screens import (
    BOTH_CLEAN,
    LIGHT,
    NO_SCRIPT,
    PHONE,
    violations,
    violations_by_theme,
)


def api(server: str, path: str, **query: object) -> Any:
    with urlopen(f"{server}/api/v1/{path}?{urlencode(query)}") as answer:
        return json.load(answer)


def opened(page: Page, **query: object) -> Page:
    page.goto(f"/positions?{urlencode(query)}")
    complete(page)
    page.locator("#own-similarity .xtick text").first.wait_for()
    return page


def z(page: Page, plot: str) -> list[list[float]]:
    values: list[list[float]] = evaluated(page, f"document.querySelector('#{plot}').data[0].z")
    return values


def test_both_encodings_are_the_apis(page: Page, server: str) -> None:
    opened(page, n_positions=20, d_model=16, model="gpt")
    sines = api(server, "positions", n_positions=20, d_model=16)
    answer = api(server, "positions", model="gpt", n_positions=20)
    assert z(page, "sines-encoding")[7] == pytest.approx(sines["encoding"][7], abs=1e-6)
    assert z(page, "own-encoding")[7] == pytest.approx(answer["encoding"][7], abs=1e-6)
    assert z(page, "own-similarity")[3] == pytest.approx(answer["similarity"][3], abs=1e-6)


@pytest.mark.parametrize(
    ("label", "value", "name"),
    [
        ("positions", "32", "n_positions"),
        ("d_model", "32", "d_model"),
        ("base", "100", "base"),
        ("shift k", "9", "shift"),
    ],
)
def test_each_control_changes_the_numbers(
    page: Page, server: str, label: str, value: str, name: str
) -> None:
    opened(page)
    page.get_by_label(label, exact=True).fill(value)
    expect(page).to_have_url(re.compile(f"{name}={value}"))
    request = {"n_positions": 64, "d_model": 64, "base": 10000, "shift": 5} | {name: value}
    answer = api(server, "positions", **request)
    drawn = "document.querySelector('#sines-encoding').data?.[0].z"
    page.wait_for_function(
        f"(row) => Math.abs({drawn}[3][2] - row[2]) < 1e-6 && {drawn}[3].length === row.length",
        arg=answer["encoding"][3],
    )
    expect(page.locator("#shift-error")).to_have_text(
        re.compile(rf"^{answer['shift_error']:.1e}".replace("e-0", "e-"))
    )


def test_likeness_and_model_change_the_numbers(page: Page, server: str) -> None:
    opened(page)
    page.get_by_role("combobox", name="Similarity", exact=True).select_option("dot")
    expect(page).to_have_url(re.compile("measure=dot"))
    page.get_by_role("combobox", name="Model", exact=True).select_option("translator")
    expect(page).to_have_url(re.compile("model=translator"))
    answer = api(server, "positions", model="translator", n_positions=64, measure="dot")
    drawn = "document.querySelector('#own-similarity').data[0].z[0][5]"
    wanted = answer["similarity"][0][5]
    page.wait_for_function(f"(value) => Math.abs({drawn} - value) < 1e-4", arg=wanted)


def test_one_dimension_and_one_position_are_drawn(page: Page, server: str) -> None:
    opened(page, dimension=6, position=11)
    answer = api(server, "positions", n_positions=64, d_model=64)
    curve = "document.querySelector('#{}').data.find(({{name}}) => name === 'sin, cos').y"
    page.locator("#code-plot .xtick text").first.wait_for()
    wave = evaluated(page, curve.format("wave-plot"))
    assert wave == pytest.approx([row[6] for row in answer["encoding"]], abs=1e-6)
    code = evaluated(page, curve.format("code-plot"))
    assert code == pytest.approx(answer["encoding"][11], abs=1e-6)


def test_a_shift_is_shown_as_a_rotation(page: Page, server: str) -> None:
    opened(page, dimension=7, position=11, shift=4)
    answer = api(server, "positions", n_positions=64, d_model=64, shift=4)
    table = page.locator("#turn tbody tr")
    for i in range(2):
        cells = [6 + i, *answer["turns"][3][i], answer["encoding"][11][6 + i]]
        present = answer["encoding"][15][6 + i]
        drawn = [float(cell.replace("−", "-")) for cell in texts_of(table.nth(i).locator("th, td"))]
        assert drawn == pytest.approx([*cells, present, present], abs=1e-4)
    page.get_by_label("shift k", exact=True).fill("64")
    expect(page.locator("#shift-error")).to_have_text(
        "none, as no two of 64 positions are 64 apart"
    )


def test_what_a_model_does_not_have_is_not_drawn(page: Page) -> None:
    opened(page, n_positions=700, d_model=500, dimension=480, position=690, model="bert")
    expect(page.locator("#wave-note")).to_contain_text("bert has no dimension 480: it has 384")
    expect(page.locator("#code-note")).to_have_text("bert has no position 690 here: it has 512.")
    names = "(plot) => document.querySelector(plot).data.map(({name}) => name)"
    for plot in ("#wave-plot", "#code-plot"):
        page.locator(f"{plot} .xtick text").first.wait_for()
        assert evaluated(page, names, plot) == ["sin, cos"]


def test_a_base_is_as_large_as_the_server_takes_it(page: Page) -> None:
    opened(page, base=5000000)
    expect(page.locator("#notice")).to_be_empty()
    expect(page.get_by_label("base", exact=True)).to_have_value("5000000")


def test_the_slider_and_the_number_are_one(page: Page) -> None:
    opened(page)
    page.get_by_label("positions, slider").fill("40")
    expect(page.get_by_label("positions", exact=True)).to_have_value("40")
    expect(page).to_have_url(re.compile("n_positions=40"))


def test_the_slider_follows_the_number_that_is_typed(page: Page) -> None:
    opened(page)
    page.get_by_label("positions", exact=True).fill("40")
    expect(page.get_by_label("positions, slider")).to_have_value("40")


def test_a_number_outside_its_limits_is_said(page: Page) -> None:
    opened(page)
    page.get_by_label("d_model", exact=True).fill("7")
    expect(page.get_by_role("alert")).to_contain_text("d_model")
    page.get_by_label("d_model", exact=True).fill("8")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page).to_have_url(re.compile("d_model=8"))


def test_a_slider_cannot_leave_what_there_is(page: Page) -> None:
    opened(page, n_positions=20, d_model=8, dimension=7)
    slider = page.get_by_label("dimension, slider")
    expect(slider).to_have_attribute("max", "7")
    page.get_by_label("d_model", exact=True).fill("4")
    expect(slider).to_have_attribute("max", "3")
    expect(page.get_by_label("dimension", exact=True)).to_have_value("3")
    expect(page.get_by_label("position, slider")).to_have_attribute("max", "19")


def test_a_size_beyond_the_sliders_is_drawn(page: Page) -> None:
    opened(page, n_positions=600, d_model=4, base=1.5)
    assert len(z(page, "sines-encoding")) == 600
    page.get_by_label("d_model", exact=True).fill("8")
    expect(page).to_have_url(re.compile("n_positions=600.*d_model=8.*base=1.5"))
    expect(page.get_by_role("alert")).to_be_empty()


def test_without_positions_the_order_is_lost(page: Page, server: str) -> None:
    opened(page)
    answer = api(server, "permutation", model="bert", text="I like NLP", text_b="NLP like I")
    table = page.get_by_role("table", name="How far each token's last hidden state moves")
    expect(table).to_contain_text(f"{answer['by_token']['with'][1]:.6f}")
    expect(page.locator("#permutation-note")).to_contain_text("the same vectors in another order")
    page.get_by_role("combobox", name="Model", exact=True).select_option("gpt")
    expect(page.locator("#permutation-note")).to_contain_text("a causal mask tells order too")


def test_words_and_positions_have_their_lengths(page: Page, server: str) -> None:
    opened(page)
    page.get_by_label("Text", exact=True).fill("The river bank")
    page.get_by_label("The other order").fill("")
    answer = api(server, "embedding", model="bert", text="The river bank")
    table = page.get_by_role("table", name="Lengths of the vectors")
    expect(table).to_contain_text(f"{answer['parts']['word'][2]:.3f}")
    assert query_of(page)["text"] == "The river bank"


def test_words_after_a_refusal_have_their_own_order(page: Page) -> None:
    text = opened(page).get_by_label("Text", exact=True)
    text.fill("")
    expect(page.get_by_role("alert")).to_contain_text("the text is empty")
    text.fill("The river bank")
    expect(page.get_by_label("The other order")).to_have_value("bank river The")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize("model", ["gpt", "translator"])
def test_words_typed_while_others_are_awaited_have_their_own_order(page: Page, model: str) -> None:
    opened(page, model=model)
    text = page.get_by_label("Text", exact=True)
    with page.expect_request(re.compile("permutation.*The")):
        text.fill("The ")
    text.press_sequentially("river  bank ", delay=290)
    expect(page.get_by_label("The other order")).to_have_value("bank river The")
    expect(page.get_by_role("alert")).to_be_empty()


def test_an_order_of_ones_own_waits_for_its_words(page: Page) -> None:
    opened(page)
    page.get_by_label("The other order").fill("bank The river")
    expect(page.get_by_role("alert")).to_contain_text("not the same tokens")
    page.get_by_label("Text", exact=True).fill("The river bank")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page).to_have_url(re.compile("text_b=bank"))
    assert query_of(page)["text_b"] == "bank The river"


def saved(page: Page, plot: str, ending: str, tmp_path: Path) -> Path:
    beneath = page.locator(f"#{plot} + .beneath")
    with page.expect_download() as download:
        beneath.get_by_role("button", name=ending).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_similarity_leaves_as_the_apis_numbers(page: Page, server: str, tmp_path: Path) -> None:
    opened(page, model="gpt", n_positions=20)
    answer = api(server, "positions", model="gpt", n_positions=20)
    path = saved(page, "own-similarity", "CSV", tmp_path)
    sha256 = answer["provenance"]["sha256"]
    assert path.name.startswith(f"positions-gpt-similarity-gpt-weights-{sha256[:8]}-")
    table = pd.read_csv(path)
    assert list(table.columns) == ["position", "position_b", "cosine"]
    similarity = [row for rows in answer["similarity"] for row in rows]
    assert table["cosine"].to_list() == pytest.approx(similarity)


def test_a_plot_leaves_as_a_picture_that_says_where_it_is_from(page: Page, tmp_path: Path) -> None:
    opened(page).locator("#fall-plot .xtick text").first.wait_for()
    drawn = saved(page, "fall-plot", "SVG", tmp_path).read_text("utf-8")
    for part in (
        "How similarity falls with distance",
        "mean similarity",
        "weights ",
        "Attention Atlas",
    ):
        assert part in drawn
    assert saved(page, "sines-encoding", "PNG", tmp_path).read_bytes()[:4] == b"\x89PNG"


def test_a_large_table_is_cut_and_says_so(page: Page, server: str, tmp_path: Path) -> None:
    opened(page, n_positions=100, d_model=8)
    beneath = page.locator("#sines-similarity + .beneath")
    expect(beneath.locator("table")).to_have_count(0)
    beneath.get_by_text("The numbers").click()
    text = "The first 64 of 100 rows and 64 of 100 columns; the CSV has all."
    expect(beneath.locator(".note")).to_have_text(text)
    expect(beneath.locator("tbody tr")).to_have_count(64)
    assert len(pd.read_csv(saved(page, "sines-similarity", "CSV", tmp_path))) == 100 * 100
    npz = attribute_of(beneath.get_by_role("link", name="npz"), "href")
    assert "n_positions=100&d_model=8" in str(npz)


def test_an_open_table_follows_the_sliders(page: Page) -> None:
    opened(page)
    beneath = page.locator("#wave-plot + .beneath")
    beneath.get_by_text("The numbers").click()
    expect(beneath.locator("tbody tr").nth(1)).to_contain_text("0.8415")
    page.get_by_label("dimension", exact=True).fill("1")
    expect(beneath.locator("tbody tr").nth(1)).to_contain_text("0.5403")


def test_other_words_come_with_their_own_order(page: Page) -> None:
    opened(page).get_by_label("Text", exact=True).fill("The river bank")
    expect(page.get_by_label("The other order")).to_have_value("bank river The")
    expect(page.get_by_role("alert")).to_be_empty()


def test_nonsense_in_the_address_is_named(page: Page) -> None:
    opened(page, d_model=7, base=0, measure="x", position=99)
    for part in ("d_model 7", "base 0", "measure x", "position 99"):
        expect(page.locator("#notice")).to_contain_text(part)


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_axe_finds_no_violation(page: Page) -> None:
    opened(page, model="translator")
    page.locator("#waves-plot .xtick text").first.wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("setting", [LIGHT], ids=["light"])
def test_axe_finds_no_violation_in_either_theme(page: Page) -> None:
    opened(page, model="translator")
    page.locator("#waves-plot .xtick text").first.wait_for()
    assert violations_by_theme(page) == BOTH_CLEAN


@pytest.mark.parametrize("setting", [PHONE], ids=["phone"])
def test_a_phone_never_scrolls_sideways(page: Page) -> None:
    opened(page).locator("#waves-plot .xtick text").first.wait_for()
    assert width_of(page) == 390


@pytest.mark.parametrize("setting", [NO_SCRIPT], ids=["no script"])
def test_without_a_script_there_are_numbers(page: Page, server: str) -> None:
    page.goto("/positions")
    answer = api(server, "permutation", model="bert", text="I like NLP", text_b="NLP like I")
    expect(page.locator("#permutation td.n").nth(2)).to_have_text(
        f"{answer['by_token']['with'][1]:.6f}"
    )


def test_a_few_large_values_do_not_take_all_colours(page: Page, server: str) -> None:
    """One position of bert is far larger than the others."""
    opened(page, model="bert")
    drawn = evaluated(
        page,
        "(() => { const {z, zmax} = document.querySelector('#own-encoding')"
        ".data[0]; return [z, zmax]; })()",
    )
    values, end = np.abs(np.array(drawn[0])), drawn[1]
    assert values.max() > 2 * end
    assert (values > end / 4).mean() > 0.2
    expect(page.locator("#beyond")).to_contain_text(f"the largest is {values.max():.2f}")
