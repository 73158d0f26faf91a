"""The notebook's widget in a page that is no notebook, with Python behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import attention_atlas as atlas
from tests.browser.complete import evaluated
from tests.browser.hosted import Hosted

TOKENS = ["the", "river", "bank"]
PAGE = "<!doctype html><title>A notebook</title><style>body { background: %s }</style><body>"


@pytest.fixture(scope="module")
def attn() -> np.ndarray:
    attn = np.full((2, 3, 3, 3), 1 / 3)
    attn[1, 2] = np.eye(3)[[1, 2, 0]]  # the river ← the, bank ← river, the ← bank
    return attn


@pytest.fixture
def shown(attn: np.ndarray) -> Iterator[Any]:
    figure = atlas.show(attn, TOKENS, layer=1, head=2, query=0)
    yield figure
    figure.close()


@pytest.fixture
def host(page: Page) -> Hosted:
    page.set_content(PAGE % "white")
    return Hosted(page)


def ready(figure: Locator) -> Locator:
    expect(figure.locator("#picture")).to_have_attribute("aria-busy", "false")
    return figure


def choose(figure: Locator | Page, name: str, value: str) -> None:
    figure.locator(f"#options label.choice:has-text('{name}') select").select_option(value)


def test_a_click_on_a_head_asks_python_and_tells_it(host: Hosted, shown: Any) -> None:
    figure = ready(host.add(shown))
    expect(figure.locator("#head-title")).to_have_text("Layer 1 · Head 2")
    expect(figure.get_by_text("the looks most at river 1.000")).to_be_visible()
    assert host.asked == []  # what is drawn first came with it
    figure.locator("[role=grid]").focus()
    host.page.keyboard.press("ArrowUp")
    host.page.keyboard.press("Enter")
    expect(figure.locator("#head-title")).to_have_text("Layer 0 · Head 2")
    ready(figure)
    assert [content["ask"] for content in host.asked] == ["attention"]
    assert (shown.layer, shown.head, shown.query) == (0, 2, 0)


def test_python_chooses_the_head_the_token_and_the_view(host: Hosted, shown: Any) -> None:
    figure = ready(host.add(shown))
    shown.layer, shown.query = 0, "bank"
    expect(figure.locator("#head-title")).to_have_text("Layer 0 · Head 2")
    expect(figure.get_by_text("bank looks most at the 0.333")).to_be_visible()
    shown.view = "table"
    expect(figure.locator("#view table")).to_contain_text("0.3333")
    expect(figure.get_by_role("tab", name="Table")).to_have_attribute("aria-selected", "true")


STRICT = "default-src 'none'; script-src blob:; img-src data: blob:"
REPORT = """() => {
  globalThis.violated = [];
  document.addEventListener("securitypolicyviolation",
    ({violatedDirective, blockedURI}) => violated.push(`${violatedDirective} ${blockedURI}`));
}"""


@pytest.mark.parametrize("setting", [{"bypass_csp": False}])
def test_a_policy_without_inline_styles_eval_and_network_is_kept(page: Page, shown: Any) -> None:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{STRICT}">'
    page.set_content(f"<!doctype html>{policy}<title>A notebook</title><body>")
    page.evaluate(REPORT)
    figure = Hosted(page).add(shown)
    expect(figure.locator("#head-title")).to_have_text("Layer 1 · Head 2")
    expect(figure.get_by_text("the looks most at river 1.000")).to_be_visible()
    expect(figure.locator("#picture")).to_have_css("display", "grid")  # so it has its styles
    figure.get_by_role("tab", name="Table").click()
    expect(figure.locator("#view table")).to_contain_text("1.0000")
    assert page.evaluate("violated") == []


def test_the_matrix_is_plotly_s_and_the_page_s_own_stays(host: Hosted, shown: Any) -> None:
    host.page.evaluate("globalThis.Plotly = {of: 'the page'}")
    figure = ready(host.add(shown))
    figure.get_by_role("tab", name="Matrix").click()
    expect(figure.locator("#view .heatmaplayer image")).to_be_visible()
    figure.locator(".nsewdrag").hover()
    expect(figure.locator(".hovertext").first).to_contain_text("attention")
    assert shown.view == "matrix"
    assert evaluated(host.page, "globalThis.Plotly.of") == "the page"


def test_several_figures_stand_beside_each_other(host: Hosted, shown: Any) -> None:
    other = atlas.show(np.full((1, 1, 2, 2), 0.5), ["a", "b"], theme="dark")
    one, two = ready(host.add(shown)), ready(host.add(other))
    one.get_by_role("tab", name="Tokens").click()
    expect(one.get_by_role("button", name="where it looks")).to_be_visible()
    expect(two.get_by_role("tab", name="Lines")).to_have_attribute("aria-selected", "true")
    expect(two.locator(".attention-atlas")).to_have_attribute("data-theme", "dark")
    expect(one.locator(".attention-atlas")).to_have_attribute("data-theme", "light")
    host.page.evaluate("globalThis.widgets[1].destroy()")
    expect(two.locator(".attention-atlas")).to_have_count(0)
    other.close()


def test_it_is_light_or_dark_with_the_notebook(host: Hosted, shown: Any) -> None:
    figure = ready(host.add(shown))
    theme = figure.locator(".attention-atlas")
    expect(theme).to_have_attribute("data-theme", "light")
    host.page.evaluate("document.body.style.background = 'oklch(0.2 0.01 250)'")
    expect(theme).to_have_attribute("data-theme", "dark")
    host.page.evaluate("document.body.style.background = 'none'")  # VS Code: the text says it
    expect(theme).to_have_attribute("data-theme", "light")
    host.page.evaluate("document.body.style.color = '#ccc'")
    expect(theme).to_have_attribute("data-theme", "dark")
    shown.theme = "light"
    expect(theme).to_have_attribute("data-theme", "light")


def test_the_notebook_s_styles_and_keys_stay_outside(host: Hosted, shown: Any) -> None:
    host.page.add_style_tag(content="button { display: none } td { color: red }")
    host.page.evaluate("document.addEventListener('keydown', () => globalThis.heard = true)")
    figure = ready(host.add(shown))
    expect(figure.get_by_role("tab", name="Lines")).to_be_visible()
    figure.get_by_role("tab", name="Lines").focus()
    host.page.keyboard.press("ArrowRight")
    expect(figure.get_by_role("tab", name="Matrix")).to_be_focused()
    assert evaluated(host.page, "globalThis.heard") is None
    assert evaluated(host.page, "getComputedStyle(document.body).margin") == "8px"


def test_with_a_closed_kernel_the_picture_stays(host: Hosted, shown: Any) -> None:
    figure = ready(host.add(shown))
    host.page.evaluate("globalThis.widgets[0].model.send = () => {}")
    choose(figure, "Layer", "0")
    expect(figure.get_by_text("Waiting for the kernel: is it running, and free?")).to_be_visible()
    expect(figure.locator("#head-title")).to_have_text("Layer 1 · Head 2")
    choose(figure, "Layer", "1")  # back to what is there
    ready(figure)
    expect(figure.locator("#notice")).to_have_text("")
    figure.get_by_role("tab", name="Table").click()
    expect(figure.locator("#view table")).to_contain_text("river")


def test_what_is_not_there_is_said_until_something_is_chosen(host: Hosted, attn: Any) -> None:
    figure = atlas.show(attn, TOKENS, layer=9)
    drawn = ready(host.add(figure))
    expect(drawn.locator("#notice")).to_contain_text("layer")
    figure.layer = 1
    expect(drawn.locator("#head-title")).to_have_text("Layer 1 · Head 0")
    expect(ready(drawn).locator("#notice")).to_have_text("")
    figure.close()


def test_what_python_refuses_is_said(host: Hosted, shown: Any) -> None:
    figure = ready(host.add(shown))
    shown._release()
    choose(figure, "Head", "0")
    expect(figure.locator("#problem")).to_have_text(re.compile("run its cell again"))


def test_a_file_of_myst_draws_without_python(page: Page, shown: Any, tmp_path: Any) -> None:
    """As MyST does it: a shadow tree, state from JSON, nothing that answers."""
    directive = shown.save_myst(tmp_path)
    assert directive.startswith(":::{anywidget} atlas.mjs\n")
    page.set_content(PAGE % "white")
    module, state = ((tmp_path / f"atlas.{end}").read_text("utf-8") for end in ("mjs", "json"))
    page.evaluate(
        """async ([module, state]) => {
          const source = URL.createObjectURL(new Blob([module], {type: "text/javascript"}));
          const {default: widget} = await import(source);
          const own = document.body.appendChild(document.createElement("div"));
          const el = own.attachShadow({mode: "open"}).appendChild(document.createElement("div"));
          const refuse = () => { throw new Error("not implemented"); };
          widget.render({el, model: {get: (key) => state[key], set() {}, on() {}, off() {},
            save_changes: refuse, send: refuse}});
        }""",
        [module, json.loads(state)],
    )
    expect(page.locator("#head-title")).to_have_text("Layer 1 · Head 2")
    page.get_by_role("tab", name="Matrix").click()
    expect(page.locator("#view svg")).to_contain_text("river")  # a picture: Plotly is not there
    page.get_by_role("tab", name="Lines").click()
    expect(page.get_by_text("the looks most at river 1.000")).to_be_visible()
    choose(page, "Layer", "0")
    expect(page.locator("#problem")).to_contain_text("needs a running kernel")
