// Two columns of tokens, and a curve for each attention that reaches the threshold.

import {fitCanvas, h, onResize} from "../dom.js";
import {at, column, headOf} from "../tensor.js";
import {tokenNode, visible} from "../token.js";

export const id = "lines";
export const title = "Lines";

const HINT = "Point at a token or focus it to see only its lines; click locks it.";
const LEVELS = 12; // curves of about the same attention share one stroke

/** @type {import("../view.js").Mount} */
export function mount(root, emit) {
  const canvas = h("canvas", {"aria-hidden": "true"});
  const sides = {query: tokenColumn("query"), key: tokenColumn("key")};
  const axes = h("div", {class: "lines-columns lines-axes", "aria-hidden": "true"},
    h("span", {}, "query"), h("span", {}, "key"));
  const said = h("p", {class: "lines-said", role: "status"});
  const scroll = h("div", {class: "lines-scroll", onscroll: schedule},
    h("div", {
      class: "lines-columns", onpointerover: point, onpointerleave: refresh, onfocusin: refresh,
      onfocusout: () => requestAnimationFrame(refresh), onclick: lock, onkeydown: step
    }, sides.query, sides.key));
  const stage = h("div", {class: "lines-stage"}, scroll, canvas);
  const el = root.appendChild(h("div", {class: "lines"}, axes, stage, said));
  const stopResize = onResize(stage, () => frame && measure());
  let frame = null;
  let head; // {attn, mask}, (Tq, Tk)
  let active = null; // {side, index}: the token whose curves are shown
  let place; // where things are, in CSS pixels
  let waiting = 0;

  function update(next) {
    const isNew = next.record !== frame?.record;
    frame = next;
    if (isNew) fill();
    markLocked();
    refresh();
  }

  function fill() {
    const {record} = frame;
    head = headOf(record);
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
    const shown = el.querySelector("button:hover") ?? el.querySelector("button:focus-visible");
    const locked = frame.query === null ? null : {side: frame.side, index: frame.query};
    active = shown ? placeOf(shown) : locked;
    number();
    draw();
  }

  function point(event) {
    const button = event.target.closest("button");
    if (!button || !active || button !== sides[active.side].children[active.index]) refresh();
  }

  /** The active token's attention, beside the tokens of the other side that reach the threshold. */
  function number() {
    const values = active && valuesOf(active);
    for (const [side, list] of Object.entries(sides)) {
      list.classList.toggle("faded", active !== null && side !== active.side);
      for (const [i, button] of buttons(list).entries()) {
        const reached = active !== null && side !== active.side && values[i] >= frame.threshold;
        const text = reached ? values[i].toFixed(3) : "";
        if (button.lastChild.textContent !== text) button.lastChild.textContent = text;
        button.classList.toggle("reached", reached);
        button.classList.toggle("active", side === active?.side && i === active?.index);
      }
    }
    const sentence = active ? describe(values) : HINT;
    if (said.textContent !== sentence) said.textContent = sentence;
    said.classList.toggle("idle", active === null);
  }

  /** The attention of one token, NaN where looking is not allowed. */
  function valuesOf({side, index}) {
    const [attn, allowed] = [head.attn, head.mask].map((tensor) =>
      side === "query" ? at(tensor, index).data : column(tensor, index));
    return attn.map((value, i) => (allowed[i] ? value : NaN));
  }

  function describe(values) {
    const {qTokens, kTokens} = frame.record;
    const isQuery = active.side === "query";
    const [own, others] = isQuery ? [qTokens, kTokens] : [kTokens, qTokens];
    const best = Array.from(values, (value, i) => ({value, i})).filter(({value}) => value >= 0);
    best.sort((a, b) => b.value - a.value);
    const most = best.slice(0, 3).map(({value, i}) => `${visible(others[i])} ${value.toFixed(3)}`);
    const verb = isQuery ? "looks most at" : "is looked at most by";
    return `${visible(own[active.index])} ${verb}  ${most.join("  ·  ")}`;
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
    context.strokeStyle = style.getPropertyValue(active ? "--accent" : "--ink");
    for (const [level, curves] of gather().entries()) {
      const attn = (level + 0.5) / LEVELS;
      context.globalAlpha = active ? 0.35 + 0.5 * attn : 0.07 + 0.5 * attn;
      context.lineWidth = 0.75 + 5 * attn;
      context.stroke(curves);
    }
  }

  /** The curves in sight, as one path for each level of attention. */
  function gather() {
    const {attn: {data, shape: [Tq, Tk]}, mask} = head;
    const paths = Array.from({length: LEVELS}, () => new Path2D());
    const y = (i) => place.top + i * place.step - scroll.scrollTop;
    const bend = (place.end - place.start) * 0.45;
    const [q0, q1] = active?.side === "query" ? [active.index, active.index + 1] : [0, Tq];
    const [k0, k1] = active?.side === "key" ? [active.index, active.index + 1] : [0, Tk];
    for (let q = q0; q < q1; q++) {
      for (let k = k0; k < k1; k++) {
        const value = data[q * Tk + k];
        if (value < frame.threshold || !mask.data[q * Tk + k]) continue;
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
    for (const button of buttons(sides[target.dataset.side])) button.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
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
  const props = {"data-side": side, role: "group", "aria-label": `${side} tokens`};
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
