// One head as a heat map: queries down, keys across, exact values under the pointer.

import {h, onResize} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {legendLine, legendOf} from "../lib/legend.js";
import {heatmap, onPick, point, purge, relabelOnZoom} from "../lib/plot.js";
import {headOf} from "../lib/tensor.js";
import {label} from "../lib/token.js";
import {endLines, endName} from "../lib/training.js";

export const id = "matrix";
export const title = _("Matrix");

const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit) {
  const plot = h("div", {class: "matrix-plot"});
  const said = h("p", {class: "matrix-said", role: "status"});
  const key = h("div");
  const el = root.appendChild(h("div", {class: "matrix", tabindex: "0", role: "group",
    "aria-label": _("Matrix of queries and keys. Arrow keys read its cells; Enter locks a query.")},
  plot, key, said));
  const view = {plot, said, key, el, emit, frame: null, listens: false,
    cell: null}; // [q, k] under the keyboard
  el.addEventListener("keydown", (event) => step(view, event));
  const stopResize = onResize(el, () => view.frame && draw(view));
  return {
    update: (frame) => update(view, frame),
    destroy() {
      stopResize();
      purge(plot);
      el.remove();
    }
  };
}

async function update(view, next) {
  if (next.record !== view.frame?.record) [view.cell, view.said.textContent] = [null, ""];
  view.frame = next;
  await draw(view);
}

async function draw(view) {
  const {record, query, side, theme} = view.frame;
  const {attn, mask} = headOf(record);
  const isScores = record.quantity === "scores";
  const range = isScores ? extent(attn, mask) : pick(view.frame);
  const name = isScores ? _("score") : _("attention");
  const masked = mask.data.includes(0);
  const legend = legendOf({range, name, masked, dashed: endName(record)}, theme);
  view.key.replaceChildren(legendLine(legend));
  await heatmap(view.plot, {
    z: rows(attn, mask),
    name,
    range,
    qLabels: record.qTokens.map(label),
    kLabels: record.kTokens.map(label),
    theme,
    ends: endLines(record),
    locked: query === null ? null : {side, index: query}
  });
  if (!view.listens && view.el.isConnected) {
    onPick(view.plot, (q) => lock(view, q));
    relabelOnZoom(view.plot);
    view.listens = true;
  }
}

function lock(view, q) {
  const isLocked = view.frame.side === "query" && view.frame.query === q;
  view.emit({query: isLocked ? null : q, side: "query"});
}

function step(view, event) {
  const {qTokens, kTokens} = view.frame.record;
  if (event.key === "Enter" && view.cell) lock(view, view.cell[0]);
  if (!(event.key in STEPS)) return;
  event.preventDefault();
  const [down, across] = view.cell ? STEPS[event.key] : [0, 0];
  const [q, k] = view.cell ?? [0, 0];
  view.cell = [clamp(q + down, qTokens.length), clamp(k + across, kTokens.length)];
  const {attn, mask} = headOf(view.frame.record);
  const i = view.cell[0] * kTokens.length + view.cell[1];
  const value = mask.data[i] ? attn.data[i].toFixed(3) : _("masked");
  point(view.plot, ...view.cell);
  const [looks, looked] = [label(qTokens[view.cell[0]]), label(kTokens[view.cell[1]])];
  view.said.textContent = _("{looks} looks at {looked}: {value}", {looks, looked, value});
}

const clamp = (i, n) => Math.min(n - 1, Math.max(0, i));

const pick = ({low, high, scale}) => ({low, high, scale});

/** Scores have no bounds of their own: from the least to the largest there is. */
function extent({data}, mask) {
  let [low, high] = [Infinity, -Infinity];
  for (const [i, value] of data.entries()) {
    if (mask.data[i]) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  return {low, high, scale: "linear", power: 1};
}

/** Nested rows, as plots want them; null where looking is not allowed. */
function rows({data, shape: [Tq, Tk]}, mask) {
  return Array.from({length: Tq}, (_, q) =>
    Array.from({length: Tk}, (_, k) => (mask.data[q * Tk + k] ? data[q * Tk + k] : null)));
}
