// The running text, each token shaded by how much the chosen one looks at it, or is looked at by it.

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
  const choices = SIDES.map(([side, text]) => h("button", {type: "button", "data-side": side,
    onclick: () => emit({side, query: frame.query})}, text));
  const bar = h("div", {class: "tokens-bar", role: "group", "aria-label": _("Shading")}, ...choices);
  const texts = {query: paragraph("query"), key: paragraph("key")};
  const flow = h("div", {class: "tokens-flow", onpointerover: point, onpointerleave: refresh,
    onfocusin: refresh, onfocusout: () => requestAnimationFrame(refresh), onclick: lock,
    onkeydown: step}, texts.query, texts.key);
  const said = h("p", {class: "tokens-said", role: "status"});
  const el = root.appendChild(h("div", {class: "tokens"}, bar, flow, said));
  let frame = null;
  let head;
  let active = null; // {side, index}

  function update(next) {
    const isNew = next.record !== frame?.record;
    frame = next;
    if (isNew) fill();
    for (const button of choices) {
      button.setAttribute("aria-pressed", button.dataset.side === frame.side);
    }
    refresh();
  }

  /** One text looks at itself: it is there once, and the side says which way. */
  const isOne = () => frame.record.kind !== "cross";
  const textOf = (side) => (isOne() ? texts.query : texts[side]);

  function fill() {
    head = headOf(frame.record);
    relabel(texts.query, frame.record.qTokens);
    relabel(texts.key, isOne() ? [] : frame.record.kTokens);
    texts.key.hidden = isOne();
    bar.hidden = !isOne();
  }

  const placeOf = (button) => ({
    side: isOne() ? frame.side : button.parentElement.dataset.side,
    index: Number(button.dataset.index)
  });

  /** Show what is under the pointer, else what has the keyboard focus, else what is locked. */
  function refresh() {
    if (!el.isConnected) return;
    const shown = flow.querySelector("button:hover") ?? flow.querySelector("button:focus-visible");
    const locked = frame.query === null ? null : {side: frame.side, index: frame.query};
    active = shown ? placeOf(shown) : locked;
    shade();
  }

  function point(event) {
    const button = event.target.closest("button");
    if (!button || !active || Number(button.dataset.index) !== active.index) refresh();
  }

  function shade() {
    const values = active && valuesOf(head, active);
    const shaded = active && textOf(active.side === "query" ? "key" : "query");
    for (const list of Object.values(texts)) {
      const own = active && list === textOf(active.side);
      for (const [i, button] of [...list.children].entries()) {
        const value = shaded === list ? values[i] : 0;
        paint(button, value);
        button.classList.toggle("active", Boolean(own) && i === active.index);
        const isLocked = frame.query === i && list === textOf(frame.side);
        button.setAttribute("aria-pressed", isLocked);
      }
    }
    const sentence = active ? mostText(frame.record, active, values) : HINT;
    if (said.textContent !== sentence) said.textContent = sentence;
    said.classList.toggle("idle", active === null);
  }

  function paint(button, value) {
    const masked = Number.isNaN(value);
    button.classList.toggle("masked", masked);
    const shade = masked || value === 0 ? null : colorOf(value, frame.theme);
    const bytes = masked ? absent(frame.theme) : shade;
    const color = bytes ? css(bytes) : "";
    if (button.style.backgroundColor === color) return;
    button.style.backgroundColor = color;
    button.style.color = shade ? textOn(shade) : "";
  }

  function lock(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const {side, index} = placeOf(button);
    const isLocked = side === frame.side && index === frame.query;
    emit(isLocked ? {query: null} : {query: index, side});
  }

  function step(event) {
    const by = BACK[event.key] ?? ON[event.key];
    const list = event.target.parentElement;
    const to = Number(event.target.dataset.index) + by;
    if (!list.children[to]) return;
    event.preventDefault();
    focusIn([...list.children], to);
  }

  return {update, destroy: () => el.remove()};
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
