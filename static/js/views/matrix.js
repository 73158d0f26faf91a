// One head as a heat map: queries down, keys across, exact values under the pointer.

import {h, onResize} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {legendLine, legendOf} from "../lib/legend.js";
import {heatmap, onPick, point, purge, relabelOnZoom} from "../lib/plot.js";
import {headOf} from "../lib/tensor.js";
import {label} from "../lib/token.js";

export const id = "matrix";
export const title = _("Matrix");

const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

/** @type {import("../lib/view.js").Mount} */
export function mount(root, emit) {
  const plot = h("div", {class: "matrix-plot"});
  const said = h("p", {class: "matrix-said", role: "status"});
  const key = h("div");
  const el = root.appendChild(h("div", {class: "matrix", tabindex: "0", role: "group",
    "aria-label": _("Matrix of queries and keys. Arrow keys read its cells; Enter locks a query."),
    onkeydown: step}, plot, key, said));
  const stopResize = onResize(el, () => frame && draw());
  let frame = null;
  let cell = null; // [q, k] under the keyboard
  let listens = false;

  async function update(next) {
    if (next.record !== frame?.record) [cell, said.textContent] = [null, ""];
    frame = next;
    await draw();
  }

  async function draw() {
    const {record, query, side, theme} = frame;
    const {attn, mask} = headOf(record);
    const isScores = record.quantity === "scores";
    const range = isScores ? extent(attn, mask) : pick(frame);
    const name = isScores ? _("score") : _("attention");
    key.replaceChildren(legendLine(legendOf({range, name, masked: mask.data.includes(0)}, theme)));
    await heatmap(plot, {
      z: rows(attn, mask),
      name,
      range,
      qLabels: record.qTokens.map(label),
      kLabels: record.kTokens.map(label),
      theme,
      locked: query === null ? null : {side, index: query}
    });
    if (!listens && el.isConnected) {
      onPick(plot, lock);
      relabelOnZoom(plot);
      listens = true;
    }
  }

  function lock(q) {
    const isLocked = frame.side === "query" && frame.query === q;
    emit({query: isLocked ? null : q, side: "query"});
  }

  function step(event) {
    const {qTokens, kTokens} = frame.record;
    if (event.key === "Enter" && cell) lock(cell[0]);
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const [down, across] = cell ? STEPS[event.key] : [0, 0];
    const [q, k] = cell ?? [0, 0];
    cell = [clamp(q + down, qTokens.length), clamp(k + across, kTokens.length)];
    const {attn, mask} = headOf(frame.record);
    const i = cell[0] * kTokens.length + cell[1];
    const value = mask.data[i] ? attn.data[i].toFixed(3) : _("masked");
    point(plot, ...cell);
    const [looks, looked] = [label(qTokens[cell[0]]), label(kTokens[cell[1]])];
    said.textContent = _("{looks} looks at {looked}: {value}", {looks, looked, value});
  }

  return {
    update,
    destroy() {
      stopResize();
      purge(plot);
      el.remove();
    }
  };
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
