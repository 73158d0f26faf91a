// Two columns of tokens, and a curve for each attention that reaches the threshold.

import {HUES} from "../lib/color.js";
import {fitCanvas, focusIn, h, onResize} from "../lib/dom.js";
import {toggle} from "../lib/heads.js";
import {_} from "../lib/language.js";
import {mostText, placeName} from "../lib/reading.js";
import {drawnLines, strongest} from "../lib/reduce.js";
import {headOf, valuesOf} from "../lib/tensor.js";
import {tokenNode} from "../lib/token.js";

export const id = "lines";
export const title = _("Lines");

const HINT = _("Point at a token or focus it to see only its lines; click locks it.");
const LEVELS = 12; // curves of about the same attention share one stroke
const SIDE_NAMES = {query: _("query tokens"), key: _("key tokens")};

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit, onPoint = () => {}) {
  const canvas = h("canvas", {"aria-hidden": "true"});
  const sides = {query: tokenColumn("query"), key: tokenColumn("key")};
  const axes = h("div", {class: "lines-columns lines-axes", "aria-hidden": "true"},
    h("span", {}, _("query")), h("span", {}, _("key")));
  const said = h("p", {class: "lines-said", role: "status"});
  const keys = h("ul", {class: "lines-keys", "aria-label": _("Heads shown")});
  const more = h("button", {type: "button", class: "plain-button",
    onclick: () => emit({several: !frame.several})}, _("Add heads"));
  const bar = h("div", {class: "lines-bar"}, keys, more);
  const scroll = h("div", {class: "lines-scroll", onscroll: schedule},
    h("div", {
      class: "lines-columns", onpointerover: point, onpointerleave: refresh, onfocusin: refresh,
      onfocusout: () => requestAnimationFrame(refresh), onclick: lock, onkeydown: step
    }, sides.query, sides.key));
  const stage = h("div", {class: "lines-stage"}, scroll, canvas);
  const el = root.appendChild(h("div", {class: "lines"}, bar, axes, stage, said));
  const stopResize = onResize(stage, () => frame && measure());
  let frame = null;
  let heads = []; // what is drawn: [{attn, mask, drawn, color, name}, …], each (Tq, Tk)
  let active = null; // {side, index}: the token whose curves are shown
  let place; // where things are, in CSS pixels
  let waiting = 0;

  function update(next) {
    const before = frame;
    const differs = (...names) => names.some((name) => next[name] !== before?.[name]);
    frame = next;
    if (differs("shown", "top", "segments", "theme")) heads = frame.shown.map(headDrawn);
    if (differs("shown", "theme", "several")) fillBar();
    if (differs("record")) fill();
    markLocked();
    refresh();
  }

  function headDrawn({layer, head, record}, i) {
    const found = headOf(record);
    const drawn = drawnLines(found, record, frame);
    const color = frame.shown.length > 1 ? HUES[frame.theme][i] : null;
    return {...found, drawn, color, name: placeName(layer, head)};
  }

  /** Which colour is which head; a click takes one away. */
  function fillBar() {
    bar.hidden = frame.record.reduce !== "none" || Boolean(frame.alone);
    const items = heads.length > 1 ? frame.shown.map(({layer, head}, i) => {
      const swatch = h("span", {class: "lines-swatch"});
      swatch.style.background = heads[i].color;
      const remove = _("take {name} away", {name: heads[i].name});
      return h("li", {}, h("button", {type: "button", title: remove,
        onclick: () => emit(toggle(frame, [layer, head]))}, swatch, heads[i].name,
      h("span", {"aria-hidden": "true"}, " ×"), h("span", {class: "sr-only"}, `: ${remove}`)));
    }) : [];
    keys.replaceChildren(...items);
    keys.hidden = !items.length;
    more.setAttribute("aria-pressed", frame.several);
  }

  function fill() {
    const {record} = frame;
    relabel(sides.query, record.qTokens);
    relabel(sides.key, record.kTokens);
    measure();
  }

  function markLocked() {
    for (const [side, list] of Object.entries(sides)) {
      for (const [i, button] of buttons(list).entries()) {
        const pressed = side === frame.side && i === frame.query;
        if (button.getAttribute("aria-pressed") !== `${pressed}`) {
          button.setAttribute("aria-pressed", pressed);
        }
      }
    }
  }

  /** Show what is under the pointer, else what has the keyboard focus, else what is locked. */
  function refresh() {
    if (!el.isConnected) return;
    const under = (state) => scroll.querySelector(`button:${state}`);
    const shown = under("hover") ?? under("focus-visible");
    const locked = frame.query === null ? null : {side: frame.side, index: frame.query};
    onPoint(shown ? placeOf(shown) : null);
    active = shown ? placeOf(shown) : frame.pointed ?? locked;
    number();
    draw();
  }

  function point(event) {
    const button = event.target.closest("button");
    const isActive = active && button === sides[active.side].children[active.index];
    if (!button || !isActive) refresh();
  }

  /** The active token's attention, beside the tokens of the other side that reach the threshold. */
  function number() {
    const values = active ? heads.map((head) => valuesOf(head, active)) : [];
    const best = active ? strongest(heads, active, frame.threshold) : [];
    for (const [side, list] of Object.entries(sides)) {
      const isOther = active !== null && side !== active.side;
      list.classList.toggle("faded", isOther);
      for (const [i, button] of buttons(list).entries()) {
        const reached = isOther ? best[i] : null;
        const text = reached ? reached.value.toFixed(3) : "";
        const number = button.lastChild;
        if (number.textContent !== text) number.textContent = text;
        const hue = reached && heads[reached.head].color;
        const color = hue ? `inset 3px 0 ${hue}` : "";
        if (number.style.boxShadow !== color) number.style.boxShadow = color;
        button.classList.toggle("reached", Boolean(reached));
        button.classList.toggle("active", side === active?.side && i === active?.index);
      }
    }
    const sentence = active ? describe(values) : HINT;
    if (said.textContent !== sentence) said.textContent = sentence;
    said.classList.toggle("idle", active === null);
  }

  function describe(values) {
    if (heads.length === 1) return mostText(frame.record, active, values[0]);
    return heads.map(({name}, i) => `${name}: ${mostText(frame.record, active, values[i])}`)
      .join("\n");
  }

  function measure() {
    const [q, k] = [sides.query, sides.key].map((list) => list.getBoundingClientRect());
    const origin = scroll.getBoundingClientRect();
    const first = (sides.query.firstChild ?? sides.query).getBoundingClientRect();
    place = {
      top: first.top - origin.top + scroll.scrollTop + first.height / 2,
      step: first.height,
      start: q.right - origin.left,
      end: k.left - origin.left,
      width: stage.clientWidth,
      height: stage.clientHeight
    };
    draw();
  }

  function schedule() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }

  function draw() {
    const ratio = fitCanvas(canvas, place.width, place.height);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, place.width, place.height);
    const style = getComputedStyle(canvas);
    const plain = style.getPropertyValue(active ? "--accent" : "--ink");
    for (const [i, head] of heads.entries()) {
      context.strokeStyle = head.color ?? plain;
      const shift = 2 * (i - (heads.length - 1) / 2); // equal curves of two heads lie side by side
      for (const [level, curves] of gather(head, shift).entries()) {
        const attn = (level + 0.5) / LEVELS;
        context.globalAlpha = active || head.color ? 0.35 + 0.5 * attn : 0.07 + 0.5 * attn;
        context.lineWidth = 0.75 + 5 * attn;
        context.stroke(curves);
      }
    }
  }

  /** A head's curves in sight, as one path for each level of attention. */
  function gather({attn: {data, shape: [Tq, Tk]}, drawn}, shift) {
    const paths = Array.from({length: LEVELS}, () => new Path2D());
    const y = (i) => place.top + i * place.step - scroll.scrollTop + shift;
    const bend = (place.end - place.start) * 0.45;
    const [q0, q1] = active?.side === "query" ? [active.index, active.index + 1] : [0, Tq];
    const [k0, k1] = active?.side === "key" ? [active.index, active.index + 1] : [0, Tk];
    for (let q = q0; q < q1; q++) {
      for (let k = k0; k < k1; k++) {
        const value = data[q * Tk + k];
        if (value < frame.threshold || !drawn[q * Tk + k]) continue;
        const [from, to] = [y(q), y(k)];
        if (Math.max(from, to) < 0 || Math.min(from, to) > place.height) continue;
        const path = paths[Math.min(LEVELS - 1, Math.floor(value * LEVELS))];
        path.moveTo(place.start, from);
        path.bezierCurveTo(place.start + bend, from, place.end - bend, to, place.end, to);
      }
    }
    return paths;
  }

  function lock(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const {side, index} = placeOf(button);
    const isLocked = side === frame.side && index === frame.query;
    emit(isLocked ? {query: null, side: "query"} : {query: index, side});
  }

  /** Up and down within a column, left and right to the other one. */
  function step(event) {
    const {side, index} = placeOf(event.target);
    const own = sides[side].children;
    const across = sides[side === "query" ? "key" : "query"].children;
    const beside = across[Math.min(index, across.length - 1)];
    const target = {
      ArrowUp: own[index - 1],
      ArrowDown: own[index + 1],
      ArrowLeft: beside,
      ArrowRight: beside
    }[event.key];
    if (!target) return;
    event.preventDefault();
    focusIn(buttons(sides[target.dataset.side]), placeOf(target).index);
  }

  return {
    update,
    destroy() {
      stopResize();
      cancelAnimationFrame(waiting);
      el.remove();
    }
  };
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
