// The running text, each token shaded by how much the chosen one looks at it, or is looked at by
// it.

import {absent, colorOf, css, textOn} from "../lib/color.js";
import {focusIn, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {mostText} from "../lib/reading.js";
import {headOf, valuesOf} from "../lib/tensor.js";
import {tokenNode} from "../lib/token.js";

export const id = "tokens";
export const title = _("Tokens");

const HINT = _("Point at a token or focus it to shade the text by its attention; click locks it.");
const SIDES = [["query", _("where it looks")], ["key", _("who looks at it")]];
const TEXT_NAMES = {query: _("query tokens"), key: _("key tokens")};
const BACK = {ArrowLeft: -1, ArrowUp: -1};
const ON = {ArrowRight: 1, ArrowDown: 1};

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit) {
  const view = {...build(), emit, frame: null, head: null, active: null}; // active: {side, index}
  listen(view);
  root.append(view.el);
  return {update: (frame) => update(view, frame), destroy: () => view.el.remove()};
}

/** The fixed DOM. */
function build() {
  const choices = SIDES.map(([side, text]) => h("button", {type: "button", "data-side": side},
    text));
  const bar = h("div", {class: "tokens-bar", role: "group", "aria-label": _("Shading")},
    ...choices);
  const texts = {query: paragraph("query"), key: paragraph("key")};
  const flow = h("div", {class: "tokens-flow"}, texts.query, texts.key);
  const said = h("p", {class: "tokens-said", role: "status"});
  return {el: h("div", {class: "tokens"}, bar, flow, said), choices, bar, texts, flow, said};
}

function listen(view) {
  const {choices, flow, emit} = view;
  for (const button of choices) {
    button.addEventListener("click", () =>
      emit({side: button.dataset.side, query: view.frame.query}));
  }
  flow.addEventListener("pointerover", (event) => point(view, event));
  flow.addEventListener("pointerleave", () => refresh(view));
  flow.addEventListener("focusin", () => refresh(view));
  flow.addEventListener("focusout", () => requestAnimationFrame(() => refresh(view)));
  flow.addEventListener("click", (event) => lock(view, event));
  flow.addEventListener("keydown", step);
}

function update(view, next) {
  const isNew = next.record !== view.frame?.record;
  view.frame = next;
  if (isNew) fill(view);
  for (const button of view.choices) {
    button.setAttribute("aria-pressed", button.dataset.side === view.frame.side);
  }
  refresh(view);
}

/** One text looks at itself: it is there once, and the side says which way. */
const isOne = (view) => view.frame.record.kind !== "cross";
const textOf = (view, side) => (isOne(view) ? view.texts.query : view.texts[side]);

function fill(view) {
  view.head = headOf(view.frame.record);
  relabel(view.texts.query, view.frame.record.qTokens);
  relabel(view.texts.key, isOne(view) ? [] : view.frame.record.kTokens);
  view.texts.key.hidden = isOne(view);
  view.bar.hidden = !isOne(view);
}

const placeOf = (view, button) => ({
  side: isOne(view) ? view.frame.side : button.parentElement.dataset.side,
  index: Number(button.dataset.index)
});

/** Show what is under the pointer, else what has the keyboard focus, else what is locked. */
function refresh(view) {
  if (!view.el.isConnected) return;
  const {flow, frame: {query, side}} = view;
  const shown = flow.querySelector("button:hover") ?? flow.querySelector("button:focus-visible");
  const locked = query === null ? null : {side, index: query};
  view.active = shown ? placeOf(view, shown) : locked;
  shade(view);
}

function point(view, event) {
  const button = event.target.closest("button");
  if (!button || !view.active || Number(button.dataset.index) !== view.active.index) refresh(view);
}

function shade(view) {
  const values = view.active && valuesOf(view.head, view.active);
  const shaded = view.active && textOf(view, view.active.side === "query" ? "key" : "query");
  for (const list of Object.values(view.texts)) {
    const own = view.active && list === textOf(view, view.active.side);
    for (const [i, button] of [...list.children].entries()) {
      const value = shaded === list ? values[i] : 0;
      paint(view, button, value);
      button.classList.toggle("active", Boolean(own) && i === view.active.index);
      const isLocked = view.frame.query === i && list === textOf(view, view.frame.side);
      button.setAttribute("aria-pressed", isLocked);
    }
  }
  const sentence = view.active ? mostText(view.frame.record, view.active, values) : HINT;
  if (view.said.textContent !== sentence) view.said.textContent = sentence;
  view.said.classList.toggle("idle", view.active === null);
}

function paint(view, button, value) {
  const masked = Number.isNaN(value);
  button.classList.toggle("masked", masked);
  const shade = masked || value === 0 ? null : colorOf(value, view.frame.theme);
  const bytes = masked ? absent(view.frame.theme) : shade;
  const color = bytes ? css(bytes) : "";
  if (button.style.backgroundColor === color) return;
  button.style.backgroundColor = color;
  button.style.color = shade ? textOn(shade) : "";
}

function lock(view, event) {
  const button = event.target.closest("button");
  if (!button) return;
  const {side, index} = placeOf(view, button);
  const isLocked = side === view.frame.side && index === view.frame.query;
  view.emit(isLocked ? {query: null} : {query: index, side});
}

function step(event) {
  const by = BACK[event.key] ?? ON[event.key];
  const list = event.target.parentElement;
  const to = Number(event.target.dataset.index) + by;
  if (!list.children[to]) return;
  event.preventDefault();
  focusIn([...list.children], to);
}

function paragraph(side) {
  return h("div", {class: "tokens-text", role: "group", "aria-label": TEXT_NAMES[side], dir: "auto",
    "data-side": side});
}

/** New words on the same buttons, or the keyboard focus would be lost. */
function relabel(list, tokens) {
  while (list.children.length > tokens.length) list.lastChild.remove();
  for (const [i, token] of tokens.entries()) {
    const button = list.children[i] ?? list.appendChild(
      h("button", {type: "button", tabindex: "-1", "data-index": i}, h("bdi")));
    button.firstChild.replaceWith(tokenNode(token));
    const before = tokens[i - 1];
    const joined = before && !token.special && !before.special && token.start === before.end
      && !/^\s/.test(token.text);
    button.classList.toggle("joined", Boolean(joined));
  }
  if (tokens.length && !list.querySelector("[tabindex='0']")) list.firstChild.tabIndex = 0;
}
