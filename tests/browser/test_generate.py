"""Generate: steps, branches, sampling, stopping, examples in the prompt."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.complete import address_of, count_of, text_of
from tests.browser.working import api, opened, texts


def test_a_prompt_goes_on_and_each_step_can_be_looked_into(page: Page, server: str) -> None:
    opened(page, "/generate")
    request = {"model": "gpt", "text": "The old king", "max_new_tokens": 24, "temperature": 0.8}
    request |= {"top_k": 40, "top_p": 0.95, "seed": 1}
    page.get_by_role("textbox", name="Prompt").fill("The old king")
    answer = api(server, "/generate", **request)
    expect(page.locator("#said button")).to_have_count(len(answer["tokens"]))
    last = len(answer["tokens"]) - 1
    assert last > 0
    page.locator("#said button").nth(last).click()
    step = answer["steps"][last]
    expect(page.locator("#step-said")).to_contain_text(
        f"drawn with probability {step['probability']:.3f}"
    )
    first = page.locator("#candidates tbody tr").first
    for name in ("probability", "temperature", "top_k", "top_p"):
        expect(first).to_contain_text(f"{step['candidates'][0][name]:.4f}")
    page.wait_for_function(
        "n => document.querySelector('#rows-plot').data?.[0].z[0].length == n",
        arg=len(answer["prompt"]) + last,
    )
    expect(page).to_have_url(re.compile(f"step={last}"))


def test_another_candidate_is_another_branch(page: Page, server: str) -> None:
    opened(page, "/generate", text="The old king", max_new_tokens=6, step=2)
    before = texts(page, "#said button")
    page.locator("#candidates tbody th button").nth(3).click()
    request = {"model": "gpt", "text": "The old king", "max_new_tokens": 6, "temperature": 0.8}
    request |= {"top_k": 40, "top_p": 0.95, "seed": 1}
    plain = api(server, "/generate", **request)
    ids = [token["id"] for token in plain["tokens"][:2]] + [
        plain["steps"][2]["candidates"][3]["id"]
    ]
    answer = api(server, "/generate", **request, forced=ids)
    expect(page.locator("#said button .token")).to_have_text(
        [token["text"].strip() for token in answer["tokens"]]
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
    with page.expect_request(re.compile("forced=")) as request:
        page.locator("#candidates tbody th button").nth(2).click()
    assert "text=The+old+king" in request.value.url


def test_another_text_begins_at_its_first_step(page: Page) -> None:
    opened(page, "/generate", max_new_tokens=8, step=6)
    page.locator(".examples a").nth(1).click()
    expect(page).to_have_url(re.compile("house\\+water"))
    expect(page.locator("#said [aria-pressed=true]")).to_have_attribute(
        "data-index", str(count_of(page.locator("#said .given")))
    )
    assert "step=" not in address_of(page)


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
    with_one, without = (float(text_of(rows.nth(1).locator("td").nth(i))) for i in (0, 2))
    assert with_one > 2 * without, "with an example in the prompt, and without induction heads"
    page.get_by_role("combobox", name="Pattern").select_option("list")
    expect(page.locator("#pattern-said")).to_contain_text("six words")
    page.get_by_role("button", name="Put such a prompt above").click()
    expect(page.locator("#notice")).to_contain_text("right next word is")
    expect(page.get_by_role("textbox", name="Prompt")).not_to_have_value(re.compile("Once upon"))
    expect(page.locator("#shots-title")).to_contain_text("pairs"), "of what was measured"
