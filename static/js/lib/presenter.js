// Presenter mode: the sentence, one part of the page at the size of the screen, and nothing else.
// Left and right go from part to part; up and down go a token or a step further, where a page can.

import {byId, h} from "./dom.js";
import {_} from "./language.js";
import * as url from "./url.js";

const MOST = 2.6; // times as large as on the page
const EDGE = 48; // CSS pixels around the picture
const PARTS = "main .masks-row, main section, main .home-words, main .scroll > table";

/** The parts of a page that are not inside one another, and are there to be seen. */
function partsOf() {
  const all = [...document.querySelectorAll(PARTS)];
  return all.filter((part) => !all.some((other) => other !== part && other.contains(part)));
}

const isDrawn = (part) => !part.closest("[hidden]") && part.textContent.trim() !== "";

/** What is read as the sentence: the fields of the context bar, else the page's title. */
function sentence() {
  const fields = [...document.querySelectorAll(".context-text :is(input, textarea)")];
  const values = fields.map(({value}) => value.trim()).filter(Boolean);
  const own = document.querySelector(".home-sentence")?.textContent;
  return values.join("  ·  ").replaceAll("\n", "  ·  ") || own
    || document.querySelector("h1")?.textContent || document.title;
}

export function mountPresenter() {
  const button = byId("present");
  if (!button) return;
  const view = {index: null, ...build()};
  view.go = (index) => show(view, index);
  button.addEventListener("click", () => show(view, 0));
  view.exit.addEventListener("click", () => leave(view));
  document.addEventListener("keydown", (event) => pressed(view, event));
  addEventListener("resize", () => fit(view));
  const observer = new ResizeObserver(() => fit(view));
  view.watch = (part) => {
    observer.disconnect();
    for (const child of part?.children ?? []) observer.observe(child);
  };
  const at = url.presented();
  if (at !== null) addEventListener("load", () => show(view, at));
}

function build() {
  const text = h("p", {class: "presenter-text", dir: "auto"});
  const place = h("span", {class: "presenter-place", role: "status"});
  const exit = h("button", {type: "button", class: "plain-button", title: "Esc"}, _("Leave"));
  const bar = h("div", {class: "presenter", hidden: true}, text, place, exit);
  byId("main").before(bar);
  return {bar, text, place, exit};
}

function show(view, wanted) {
  clear();
  const parts = partsOf().filter(isDrawn);
  if (!parts.length) return;
  view.index = Math.max(0, Math.min(wanted, parts.length - 1));
  const part = parts[view.index];
  document.documentElement.classList.add("presenting");
  for (let el = part; el.id !== "main"; el = el.parentElement) {
    for (const other of el.parentElement.children) {
      if (other !== el) other.classList.add("presenter-off");
    }
  }
  part.classList.add("presenter-part");
  view.bar.hidden = false;
  view.text.textContent = sentence();
  view.place.textContent = `${view.index + 1} / ${parts.length}`;
  url.setPresented(view.index);
  fit(view);
  view.watch(part);
}

/** As large as the screen allows; what is taller than the screen at its own size is scrolled. */
function fit(view) {
  const part = document.querySelector(".presenter-part");
  if (view.index === null || !part) return;
  const wide = innerWidth - 2 * EDGE;
  const high = innerHeight - view.bar.offsetHeight - EDGE;
  let zoom = 1;
  for (const scale of [1, 1.25, 1.5, 1.75, 2, 2.3, MOST]) {
    part.style.width = `${wide / scale}px`;
    if (part.scrollHeight * scale > high || wide / scale < 420) break;
    zoom = scale;
  }
  part.style.width = `${wide / zoom}px`;
  part.style.zoom = zoom;
}

function clear() {
  for (const el of document.querySelectorAll(".presenter-off")) {
    el.classList.remove("presenter-off");
  }
  const part = document.querySelector(".presenter-part");
  part?.classList.remove("presenter-part");
  part?.style.removeProperty("zoom");
  part?.style.removeProperty("width");
}

function leave(view) {
  clear();
  view.watch(null);
  view.index = null;
  view.bar.hidden = true;
  document.documentElement.classList.remove("presenting");
  url.setPresented(null);
}

const MOVES = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1};
const STEPS = {ArrowDown: 1, ArrowUp: -1};

function pressed(view, event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey
    || event.target.closest?.("input, textarea, select, dialog")) return;
  if (view.index === null) return;
  if (event.key === "Escape") leave(view);
  else if (event.key in MOVES) view.go(view.index + MOVES[event.key]);
  else if (event.key in STEPS) {
    document.dispatchEvent(new CustomEvent("presenter-step", {detail: STEPS[event.key]}));
    view.text.textContent = sentence();
  } else return;
  event.preventDefault();
}
