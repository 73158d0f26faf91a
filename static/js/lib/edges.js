// The attention map of the Lab's chosen head: its edges from query to key, or what each of them
// does, and a click that changes one.

import {attention, sweep} from "./api.js";
import {byId} from "./dom.js";
import {_} from "./language.js";
import {showMap} from "./numbers.js";
import {onPick} from "./plot.js";
import {placeName} from "./reading.js";
import {headOf} from "./tensor.js";
import {label} from "./token.js";

/**
 * @typedef {{z: (number|null)[][], qTokens: Object[], kTokens: Object[], isEffect: boolean,
 *   agreement?: number|null}} Edges   null where the query may not look
 */

/** The attention of a head in the clean run. @returns {Promise<Edges>} */
export async function attentionOf(spec, options) {
  const record = await attention(spec, options);
  const {attn: {data, shape: [n, m]}, mask: {data: allowed}} = headOf(record);
  const z = Array.from({length: n}, (none, q) => Array.from({length: m}, (nothing, k) =>
    (allowed[q * m + k] ? data[q * m + k] : null)));
  return {z, qTokens: record.qTokens, kTokens: record.kTokens, isEffect: false};
}

/** The effect of each of its edges, row by row. @returns {Promise<Edges>} */
export async function edgeEffectsOf(spec, shown, options) {
  const n = shown.qTokens.length;
  const onEvent = (name, {query}) => {
    if (name !== "query") return;
    byId("edges-progress").textContent = _("{n} of {all} queries", {n: query + 1, all: n});
  };
  try {
    const {effect, agreement} = await sweep(spec, {...options, onEvent});
    const z = shown.z.map((row, q) => row.map((allowed, k) =>
      (allowed === null ? null : effect[q][k])));
    return {...shown, z, isEffect: true, agreement};
  } finally {
    byId("edges-progress").textContent = "";
  }
}

/**
 * Draw the map; the edits of this head are framed.
 * @param {Edges} edges  @param {{layer: number, head: number}} place
 * @param {{theme: string, name: string, marked: [number, number][], words: Object,
 *   pick: (q: number, k: number) => void}} options  name of an effect
 */
export function drawEdges({z, qTokens, kTokens, isEffect}, place,
  {theme, name, marked, words, pick}) {
  const most = Math.max(1e-9, ...z.flat().map((value) => Math.abs(value ?? 0)));
  const el = byId("edges-plot");
  picked = pick;
  const drawn = showMap(el, {z, theme, locked: null, marked,
    name: isEffect ? name : _("attention"), qLabels: qTokens.map(label),
    kLabels: kTokens.map(label), missing: _("masked"),
    range: isEffect ? {low: -most, high: most, scale: "signed"}
      : {low: 0, high: 1, scale: "linear"},
    sheet: {axes: ["query", "key"], value: isEffect ? "effect" : "attention"}},
  {...words, title: `${placeName(place.layer, place.head)} · ${words.title}`});
  drawn.then(listen, () => {});
}

let picked = () => {};
let listens = false;
function listen() {
  if (listens) return;
  listens = true;
  onPick(byId("edges-plot"), (q, k) => picked(q, k));
}

/** What a click does, and which map is shown, as the state has them. */
export function showChoices({act, map}) {
  for (const radio of document.querySelectorAll("#edges-part input[name=act]")) {
    radio.checked = radio.value === act;
  }
  byId("edges-map").value = map;
  byId("edges-said").textContent = map === "effect" ? SAID.effect : SAID.attention;
}

const SAID = {
  attention: _("Where each query (a row) looks in the clean text. A click on a cell changes that edge, and it becomes an edit."),
  effect: _("What becomes of the prediction when the attention of one query to one key alone is set to 0. A click on a cell changes that edge, and it becomes an edit.")
};
