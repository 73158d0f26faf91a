"""The view contract, for every file in static/js/views."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.complete import evaluated

VIEWS = sorted(p.name for p in (Path(__file__).parents[2] / "static/js/views").glob("*.js"))

CONTRACT = """async (name) => {
  const view = await import(`/static/js/views/${name}`);
  const token = (text) => ({id: 1, raw: text, text, special: false, unknown: text === "b"});
  const [qTokens, kTokens] = [["<s>", "a", "a", "b"], ["<s>", "a", "a", "b", "c"]]
    .map((texts) => texts.map(token));
  const [L, H, Tq, Tk] = [2, 3, 4, 5];
  const mask = {data: new Uint8Array(Tq * Tk).fill(1), shape: [1, 1, Tq, Tk]};
  const overview = {kind: "cross", layers: [0, 1], heads: [0, 1, 2], mask, qTokens, kTokens,
    attn: {data: new Uint8Array(L * H * Tq * Tk).fill(51), shape: [L, H, Tq, Tk]}};
  const record = {kind: "cross", layers: [1], heads: [2], mask, qTokens, kTokens,
    attn: {data: new Float32Array(Tq * Tk).fill(0.2), shape: [1, 1, Tq, Tk]}};
  const number = (n) => Array.from({length: L}, () => Array.from({length: H}, () => n));
  const metrics = {layers: [0, 1], heads: [0, 1, 2],
    metrics: {entropy: number(1.5), self: number(0)}};
  const vector = (n) => ({data: new Float32Array(n).fill(0.5), shape: [n]});
  const rows = (n, m) => ({data: new Float32Array(n * m).fill(-0.25), shape: [n, m]});
  const anatomy = {kind: "cross", layer: 1, head: 2, query: 1, qTokens, kTokens, scale: 0.7,
    score: "dot_product", q: vector(2), k: rows(Tk, 2), products: rows(Tk, 2), v: rows(Tk, 2),
    z: vector(2), dots: vector(Tk), scores: vector(Tk), attn: vector(Tk),
    mask: {data: new Uint8Array(Tk).fill(1), shape: [Tk]}};
  Object.assign(record, {reduce: "none", quantity: "attn"});
  const frame = Object.freeze({overview, metrics, record, anatomy, layer: 1, head: 2, heads: "",
    shown: [{layer: 1, head: 2, record}], query: 0, side: "query", threshold: 0.05, top: 0,
    segments: "all", low: 0, high: 1, scale: "linear", metric: "", least: 0, several: false,
    reduce: "none", theme: "light"});
  const root = document.body.appendChild(document.createElement("div"));
  const {update, destroy} = view.mount(root, () => {});
  await update(frame);
  const once = root.innerHTML;
  await update(frame);
  const twice = root.innerHTML;
  const text = root.textContent;
  await destroy();
  const left = root.innerHTML;
  root.remove();
  return {exports: Object.keys(view).sort(), id: view.id, same: once === twice, text, left};
}"""


@pytest.mark.parametrize("name", VIEWS)
def test_view_keeps_the_contract(page: Page, name: str) -> None:
    page.goto("/explore")
    values = evaluated(page, CONTRACT, name)
    assert values["exports"] == ["id", "mount", "title"]
    assert f"{values['id']}.js" == name
    assert values["same"], "update() twice draws the same thing twice"
    label = "L1 H2" if name == "grid.js" else "<s>"  # the grid has no room for tokens
    assert label in values["text"], "labels are shown as they are"
    assert values["left"] == "", "destroy() leaves nothing"
