// Two columns of tokens, and a curve for each attention that reaches the threshold.

import {HUES} from "../lib/color.js";
import {fitCanvas, focusIn, h, onResize, zoomOf} from "../lib/dom.js";
import {toggle} from "../lib/heads.js";
import {_} from "../lib/language.js";
import {mostText, placeName} from "../lib/reading.js";
import {drawnLines, strongest} from "../lib/reduce.js";
import {headOf, valuesOf} from "../lib/tensor.js";
import {tokenNode} from "../lib/token.js";
import {endName} from "../lib/training.js";

export const id = "lines";
export const title = _("Lines");

const HINT = _("Point at a token or focus it to see only its lines; click locks it.");
const LEVELS = 12; // curves of about the same attention share one stroke
const SIDE_NAMES = {query: _("query tokens"), key: _("key tokens")};

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit, onPoint = () => {}) {
  const view = {
    ...build(),
    emit,
    onPoint,
    frame: null,
    heads: [], // what is drawn: [{attn, mask, drawn, color, name}, …], each (Tq, Tk)
    active: null, // {side, index}: the token whose curves are shown
    place: null, // where things are, in CSS pixels
    waiting: 0
  };
  listen(view);
  root.append(view.el);
  const stopResize = onResize(view.stage, () => view.frame && measure(view));
  const onScroll = () => view.frame && schedule(view);
  document.addEventListener("scroll", onScroll, {capture: true, passive: true});
  const stopHeight = onResize(document.documentElement, onScroll);
  return {
    update: (frame) => update(view, frame),
    destroy() {
      stopResize();
      stopHeight();
      document.removeEventListener("scroll", onScroll, {capture: true});
      cancelAnimationFrame(view.waiting);
      view.el.remove();
    }
  };
}

/** The fixed DOM. */
function build() {
  const canvas = h("canvas", {"aria-hidden": "true"});
  const sides = {query: tokenColumn("query"), key: tokenColumn("key")};
  const axes = h("div", {class: "lines-columns lines-axes", "aria-hidden": "true"},
    h("span", {}, _("query")), h("span", {}, _("key")));
  const said = h("p", {class: "lines-said", role: "status"});
  const keys = h("ul", {class: "lines-keys", "aria-label": _("Heads shown")});
  const more = h("button", {type: "button", class: "plain-button"}, _("Add heads"));
  const bar = h("div", {class: "lines-bar"}, keys, more);
  const columns = h("div", {class: "lines-columns"}, sides.query, sides.key);
  // a long text scrolls with the page; the canvas stays on screen and draws what is in sight
  const stage = h("div", {class: "lines-stage"}, columns,
    h("div", {class: "lines-sight"}, canvas));
  const el = h("div", {class: "lines"}, bar, axes, stage, said);
  return {el, canvas, sides, said, keys, more, bar, columns, stage};
}

function listen(view) {
  const {more, columns, emit} = view;
  more.addEventListener("click", () => emit({several: !view.frame.several}));
  columns.addEventListener("pointerover", (event) => point(view, event));
  columns.addEventListener("pointerleave", () => refresh(view));
  columns.addEventListener("focusin", () => refresh(view));
  columns.addEventListener("focusout", () => requestAnimationFrame(() => refresh(view)));
  columns.addEventListener("click", (event) => lock(view, event));
  columns.addEventListener("keydown", (event) => step(view, event));
}

function update(view, next) {
  const before = view.frame;
  const differs = (...names) => names.some((name) => next[name] !== before?.[name]);
  view.frame = next;
  if (differs("shown", "top", "segments", "theme")) view.heads = next.shown.map((shown, i) =>
    headDrawn(next, shown, i));
  if (differs("shown", "theme", "several")) fillBar(view);
  if (differs("record")) fill(view);
  markLocked(view);
  refresh(view);
}

function headDrawn(frame, {layer, head, record}, i) {
  const tensors = headOf(record);
  const drawn = drawnLines(tensors, record, frame);
  const color = frame.shown.length > 1 ? HUES[frame.theme][i] : null;
  return {...tensors, drawn, color, name: placeName(layer, head)};
}

/** Which colour is which head; a click takes one away. */
function fillBar(view) {
  const {bar, keys, more, heads, frame, emit} = view;
  bar.hidden = frame.record.reduce !== "none" || frame.alone;
  const items = heads.length > 1 ? frame.shown.map(({layer, head}, i) => {
    const {color, name} = heads[i];
    const swatch = h("span", {class: "lines-swatch"});
    swatch.style.background = color;
    const remove = _("take {name} away", {name});
    return h("li", {}, h("button", {type: "button", title: remove,
      onclick: () => emit(toggle(view.frame, [layer, head]))}, swatch, name,
    h("span", {"aria-hidden": "true"}, " ×"), h("span", {class: "sr-only"}, `: ${remove}`)));
  }) : [];
  keys.replaceChildren(...items);
  keys.hidden = !items.length;
  more.setAttribute("aria-pressed", frame.several);
}

function fill(view) {
  const {record} = view.frame;
  relabel(view.sides.query, record.qTokens);
  relabel(view.sides.key, record.kTokens);
  markEnd(view.sides.query, record.qTrained, endName(record));
  markEnd(view.sides.key, record.kTrained, endName(record));
  measure(view);
}

/** A dashed line over the first token beyond the length that the model was trained on. */
function markEnd(list, n, name) {
  for (const [i, button] of buttons(list).entries()) {
    button.classList.toggle("beyond", i === n);
    if (i === n) button.title = name;
    else button.removeAttribute("title");
  }
}

function markLocked(view) {
  for (const [side, list] of Object.entries(view.sides)) {
    for (const [i, button] of buttons(list).entries()) {
      const pressed = side === view.frame.side && lockedIn(view.frame).includes(i);
      if (button.getAttribute("aria-pressed") !== `${pressed}`) {
        button.setAttribute("aria-pressed", pressed);
      }
    }
  }
}

/** Show what is under the pointer, else what has the keyboard focus, else what is locked. */
function refresh(view) {
  if (!view.el.isConnected) return;
  const under = (state) => view.columns.querySelector(`button:${state}`);
  const shown = under("hover") ?? under("focus-visible");
  const [index, ...more] = lockedIn(view.frame);
  const locked = index === undefined ? null : {side: view.frame.side, index, more};
  view.onPoint(shown ? placeOf(shown) : null);
  view.active = shown ? placeOf(shown) : view.frame.pointed ?? locked;
  number(view);
  draw(view);
}

function point(view, event) {
  const button = event.target.closest("button");
  const {active, sides} = view;
  const isActive = active && button === sides[active.side].children[active.index];
  if (!button || !isActive) refresh(view);
}

/** The active token's attention, beside the tokens of the other side that reach the threshold. */
function number(view) {
  const values = view.active ? view.heads.map((head) => valuesOf(head, view.active)) : [];
  const best = view.active ? strongest(view.heads, view.active, view.frame.threshold) : [];
  for (const [side, list] of Object.entries(view.sides)) {
    const isOther = view.active !== null && side !== view.active.side;
    list.classList.toggle("faded", isOther);
    for (const [i, button] of buttons(list).entries()) {
      const reached = isOther ? best[i] : null;
      const text = reached ? reached.value.toFixed(3) : "";
      const number = button.lastChild;
      if (number.textContent !== text) number.textContent = text;
      const hue = reached && view.heads[reached.head].color;
      const color = hue ? `inset 3px 0 ${hue}` : "";
      if (number.style.boxShadow !== color) number.style.boxShadow = color;
      button.classList.toggle("reached", Boolean(reached));
      button.classList.toggle("active", side === view.active?.side && isActive(view.active, i));
    }
  }
  const sentence = view.active ? describe(view, values) : HINT;
  if (view.said.textContent !== sentence) view.said.textContent = sentence;
  view.said.classList.toggle("idle", view.active === null);
}

function describe({heads, frame: {record}, active}, values) {
  if (heads.length === 1) return mostText(record, active, values[0]);
  return heads.map(({name}, i) => `${name}: ${mostText(record, active, values[i])}`).join("\n");
}

function measure(view) {
  const [q, k] = [view.sides.query, view.sides.key].map((list) => list.getBoundingClientRect());
  const origin = view.stage.getBoundingClientRect();
  const zoom = zoomOf(view.stage);
  const first = (view.sides.query.firstChild ?? view.sides.query).getBoundingClientRect();
  view.place = {
    top: (first.top - origin.top + first.height / 2) / zoom,
    step: first.height / zoom,
    start: (q.right - origin.left) / zoom,
    end: (k.left - origin.left) / zoom,
    width: view.stage.clientWidth,
    whole: view.stage.clientHeight
  };
  draw(view);
}

function schedule(view) {
  cancelAnimationFrame(view.waiting);
  view.waiting = requestAnimationFrame(() => draw(view));
}

function draw(view) {
  const zoom = zoomOf(view.stage);
  const {width, whole} = view.place;
  view.place.height = Math.min(whole, Math.ceil(globalThis.innerHeight / zoom));
  view.el.classList.toggle("long", whole > view.place.height);
  const ratio = fitCanvas(view.canvas, width, view.place.height);
  const [above, sight] = [view.stage, view.canvas].map((el) => el.getBoundingClientRect().top);
  view.place.above = (sight - above) / zoom; // of the stage, over the canvas
  const context = view.canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, view.place.width, view.place.height);
  const style = getComputedStyle(view.canvas);
  const plain = style.getPropertyValue(view.active ? "--accent" : "--ink");
  for (const [i, head] of view.heads.entries()) {
    context.strokeStyle = head.color ?? plain;
    // equal curves of two heads lie side by side
    const shift = 2 * (i - (view.heads.length - 1) / 2);
    for (const [level, curves] of gather(view, head, shift).entries()) {
      const attn = (level + 0.5) / LEVELS;
      context.globalAlpha = view.active || head.color ? 0.35 + 0.5 * attn : 0.07 + 0.5 * attn;
      context.lineWidth = 0.75 + 5 * attn;
      context.stroke(curves);
    }
  }
}

/** A head's curves in sight, as one path for each level of attention. */
function gather({place, active, frame: {threshold}}, {attn, drawn}, shift) {
  const {data, shape: [Tq, Tk]} = attn;
  const paths = Array.from({length: LEVELS}, () => new Path2D());
  const y = (i) => place.top + i * place.step - place.above + shift;
  const bend = (place.end - place.start) * 0.45;
  const along = (side, n) => (active?.side === side ? [active.index, ...active.more ?? []]
    : Array.from({length: n}, (none, i) => i));
  const keys = along("key", Tk);
  for (const q of along("query", Tq)) {
    for (const k of keys) {
      const value = data[q * Tk + k];
      if (value < threshold || !drawn[q * Tk + k]) continue;
      const [from, to] = [y(q), y(k)];
      if (Math.max(from, to) < 0 || Math.min(from, to) > place.height) continue;
      const path = paths[Math.min(LEVELS - 1, Math.floor(value * LEVELS))];
      path.moveTo(place.start, from);
      path.bezierCurveTo(place.start + bend, from, place.end - bend, to, place.end, to);
    }
  }
  return paths;
}

/** The locked tokens, of one axis; those that the text does not have are left out. */
function lockedIn({query, queries = "", side, record}) {
  const n = record[side === "query" ? "qTokens" : "kTokens"].length;
  const more = queries.split(",").filter(Boolean).map(Number);
  return query === null ? [] : [...new Set([query, ...more])].filter((i) => i < n);
}

const isActive = (active, i) => active !== null
  && [active.index, ...active.more ?? []].includes(i);

/** A click locks a token; with Ctrl or Shift beside those locked, and their attention is summed. */
function lock(view, event) {
  const button = event.target.closest("button");
  if (!button) return;
  const {frame, emit} = view;
  const {side, index} = placeOf(button);
  const locked = side === frame.side ? lockedIn(frame) : [];
  const without = locked.filter((i) => i !== index);
  const isBeside = (event.ctrlKey || event.metaKey || event.shiftKey) && !frame.alone;
  const alone = locked.length === 1 && !without.length ? [] : [index];
  const together = without.length < locked.length ? without : [...locked, index];
  const [query = null, ...more] = isBeside ? together : alone;
  emit({query, side: query === null ? "query" : side, ...(frame.alone ? {}
    : {queries: more.join()})});
}

/** Up and down within a column, left and right to the other one. */
function step(view, event) {
  const {side, index} = placeOf(event.target);
  const own = view.sides[side].children;
  const across = view.sides[side === "query" ? "key" : "query"].children;
  const beside = across[Math.min(index, across.length - 1)];
  const target = {
    ArrowUp: own[index - 1],
    ArrowDown: own[index + 1],
    ArrowLeft: beside,
    ArrowRight: beside
  }[event.key];
  if (!target) return;
  event.preventDefault();
  focusIn(buttons(view.sides[target.dataset.side]), placeOf(target).index);
}

const buttons = (list) => [...list.children];
const placeOf = ({dataset: {side, index}}) => ({side, index: Number(index)});

function tokenColumn(side) {
  const props = {"data-side": side, role: "group", "aria-label": SIDE_NAMES[side]};
  return h("div", {class: `lines-column ${side}`, ...props});
}

/** New words on the same buttons, or the keyboard focus would be lost. */
function relabel(list, tokens) {
  while (list.children.length > tokens.length) list.lastChild.remove();
  for (const [i, token] of tokens.entries()) {
    const button = list.children[i] ?? list.appendChild(newButton(list.dataset.side, i));
    button.firstChild.replaceWith(tokenNode(token));
  }
  if (tokens.length && !list.querySelector("[tabindex='0']")) list.firstChild.tabIndex = 0;
}

function newButton(side, index) {
  const props = {type: "button", tabindex: "-1", "data-side": side, "data-index": index};
  return h("button", props, h("bdi"), h("span", {class: "n"}));
}
