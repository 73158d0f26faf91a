"""Named heads on the grid of Explore: badges, their definitions, and sorting by them."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.exploring import Explore, api

TWICE = "The river bank is closed. The river bank is closed."


def test_named_heads_are_marked_defined_and_can_be_sorted(explore: Explore, server: str) -> None:
    roles = api(server, "metrics", model="gpt", text=TWICE)["roles"]
    named = {(role["layer"], role["head"]) for role in roles}
    best = max((role for role in roles if role["role"] == "induction"), key=lambda r: r["score"])
    page = explore(model="gpt", text=TWICE, layer=best["layer"], head=best["head"])
    expect(page.locator(".grid-badge")).to_have_count(len(named))
    badge = page.locator("#stats .badge", has_text="induction head")
    expect(badge).to_have_text(f"induction head {best['score']:.2f}")
    expect(badge).to_have_attribute("title", re.compile("Olsson et al. 2022"))
    entropy = page.locator("#stats span[title]", has_text="entropy")
    expect(entropy).to_have_attribute("title", re.compile("^Mean over queries"))
    page.get_by_role("combobox", name="Sorted by").select_option("named")
    expect(page.locator(".grid .note")).to_contain_text(f"{len(named)} of")
    expect(page).to_have_url(re.compile("metric=named"))
