// The Positions page: encodings beside each other, and what they are for.

import {address, embedding, permutation, positions} from "../lib/api.js";
import {modelIn, pageData} from "../lib/data.js";
import {byId, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {showCurves, showMap} from "../lib/numbers.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import * as url from "../lib/url.js";
import {mountPage} from "./engine.js";

const PARTS = {word: _("word"), position: _("position"), segment: _("segment"), sum: _("sum"),
  input: _("input")};
const data = pageData();
const form = document.querySelector(".sizes");

/** A dimension and a position that are there. */
function fit(wanted) {
  const {dimension, position, dModel, nPositions} = wanted;
  return {...wanted, dimension: Math.min(dimension, dModel - 1),
    position: Math.min(position, nPositions - 1)};
}

let shown = data; // what is on screen
let isOwnOrder = false; // whether somebody has typed another order since

form.elements.text_b.addEventListener("input", () => {
  isOwnOrder = true;
});

/** Other words have another order of their own: the server's, which is theirs from the end. */
const retype = (wanted) =>
  (wanted.text === shown.text || isOwnOrder ? wanted : {...wanted, textB: ""});

async function answer({nPositions, dModel, base, measure, shift, model, text, textB}, options) {
  const {nCtx} = modelIn(data.models, model);
  const [sines, own, words, moved] = await Promise.all([
    positions({nPositions, dModel, base, measure, shift}, options),
    positions({model, nPositions: Math.min(nPositions, nCtx), measure, shift}, options),
    embedding({model, text}, options),
    permutation({model, text, textB: textB || null}, options)
  ]);
  return {textB: moved.textB, found: {sines, own, words, moved}};
}

// Drawing.

const rowsOf = ({data, shape: [n, m]}) =>
  Array.from({length: n}, (none, i) => Array.from(data.subarray(i * m, (i + 1) * m)));
const names = (n) => Array.from({length: n}, (none, i) => `${i}`);
const largest = ({data}) => data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);

const USUAL = 0.99; // of the values of a map; its colours are for these where a few are far larger

/** Where a map's colours end: at its largest value, unless that is far from the others. */
function endOf(tensor) {
  const most = largest(tensor);
  const sizes = Float64Array.from(tensor.data, Math.abs).sort();
  const usual = sizes[Math.floor(USUAL * (sizes.length - 1))];
  return usual > 0 && most > 2 * usual ? usual : most;
}

/** Where numbers come from; `own` are the chosen model's. */
function wordsOf({found: {own}, nPositions, dModel, base, measure, shift, model}, title, of, part) {
  const {sha256, version} = own.provenance;
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  const sines = `sin, cos · d_model ${dModel} · ${_("base")} ${base}`;
  const sources = {sines: [sines], own: [model, weights], both: [sines, model, weights]}[of];
  const spec = of === "own" ? {model, nPositions: own.nPositions, measure, shift}
    : {nPositions, dModel, base, measure, shift};
  const link = (format) => [format, address("positions", {...spec, format})];
  return {title, provenance: [...sources, `Attention Atlas ${version}`].join(" · "),
    file: ["positions", of === "own" ? model : of, part],
    links: of === "both" ? [] : ["json", "npz", "safetensors"].map(link)};
}

function drawEncodings(state, theme) {
  const {found: {sines, own}, position, model, measure} = state;
  byId("own").textContent = `${model} (${own.kind})`;
  const likeness = measure === "cosine" ? _("cosine") : _("dot product");
  const map = (of, part, tensor, {name, axes, sheet, locked = null}) => {
    const [n, m] = tensor.shape;
    const end = endOf(tensor);
    const whose = of === "own" ? model : _("Sines and cosines");
    const title = `${whose} · ${name} · ${axes.join(" × ")}`;
    showMap(byId(`${of}-${part}`), {z: rowsOf(tensor), name, qLabels: names(n), kLabels: names(m),
      axes, sheet, range: {low: -end, high: end, scale: "signed"}, theme, locked},
    wordsOf(state, title, of, part));
  };
  sayBeyond(state);
  for (const [of, {encoding, similarity}] of [["sines", sines], ["own", own]]) {
    const locked = position < encoding.shape[0] ? {side: "query", index: position} : null;
    map(of, "encoding", encoding, {name: _("value"), axes: [_("position"), _("dimension")],
      sheet: {axes: ["position", "dimension"], value: "encoding"}, locked});
    map(of, "similarity", similarity, {name: likeness, axes: [_("position"), _("position")],
      sheet: {axes: ["position", "position_b"], value: measure}});
  }
}

/** That some of the learned values are beyond the last colour. */
function sayBeyond({found: {own}}) {
  const [most, end] = [largest(own.encoding), endOf(own.encoding)];
  byId("beyond").textContent = most > end
    ? _("Values beyond ±{end} have the last colour; the largest is {most}.",
      {end: end.toFixed(2), most: most.toFixed(2)}) : "";
}

const column = ({data, shape: [n, m]}, k) => names(n).map((none, i) => data[i * m + k]);

function drawCurves(state) {
  const {found: {sines, own}, dimension, position, model} = state;
  const line = (name, y, chosen) => ({name, column: chosen ? "sinusoidal" : name,
    x: y.map((none, i) => i),
    y: Array.from(y), chosen});
  const both = (of, isThere = () => true) =>
    [line("sin, cos", of(sines), true), ...(isThere(own) ? [line(model, of(own), false)] : [])];
  const hasColumn = ({encoding: {shape: [, m]}}) => dimension < m;
  const hasRow = ({encoding: {shape: [n]}}) => position < n;
  const row = ({encoding: {data, shape: [, m]}}) =>
    Array.from(data.subarray(position * m, (position + 1) * m));
  const show = (part, title, options) => showCurves(byId(`${part}-plot`),
    {zero: false, dashes: true, ...options}, wordsOf(state, title, part === "waves" ? "sines"
      : "both", part));
  show("wave", `${_("One dimension along the text")} · ${_("dimension")} ${dimension}`,
    {lines: both(({encoding}) => column(encoding, dimension), hasColumn), x: _("position"),
      y: _("value"), sheet: "position"});
  show("code", `${_("One position's code")} · ${_("position")} ${position}`,
    {lines: both(row, hasRow), x: _("dimension"), y: _("value"), bars: true, sheet: "dimension"});
  show("fall", _("How similarity falls with distance"),
    {lines: both(({byDistance}) => Array.from(byDistance.data)), x: _("distance"),
      y: _("mean similarity"), sheet: "distance"});
  show("waves", _("Wavelengths"), {lines: [line("sin, cos", Array.from(sines.wavelengths.data),
    true)],
    x: _("pair of dimensions"), y: _("wavelength (positions)"), logY: true, dashes: false,
      sheet: "pair"});
  const turn = sines.wavelengths.data[Math.floor(dimension / 2)];
  const notes = [_("Dimension {d} of the sines takes {turn} positions for a turn.",
    {d: dimension, turn: turn.toFixed(turn < 100 ? 1 : 0)})];
  if (!hasColumn(own)) {
    notes.push(_("{model} has no dimension {d}: it has {n}.",
      {model, d: dimension, n: own.dModel}));
  }
  byId("wave-note").textContent = notes.join(" ");
  byId("code-note").textContent = hasRow(own) ? ""
    : _("{model} has no position {i} here: it has {n}.",
      {model, i: position, n: own.encoding.shape[0]});
  drawShift(state);
}

/** M, for one pair of dimensions: what it makes of one position, and the position that is. */
function drawShift({found: {sines}, dimension, position, shift}) {
  const {encoding: {data, shape: [n, m]}, turns, shiftError} = sines;
  const pair = Math.floor(dimension / 2);
  const turn = Array.from(turns.data.subarray(4 * pair, 4 * pair + 4));
  const code = (pos) => [0, 1].map((i) => (pos < n ? data[pos * m + 2 * pair + i] : NaN));
  const [a, b] = code(position);
  const moved = [turn[0] * a + turn[1] * b, turn[2] * a + turn[3] * b];
  const there = code(position + shift);
  byId("shift-error").textContent = shiftError === null
    ? _("none, as no two of {n} positions are {k} apart", {n, k: shift})
      : shiftError.toExponential(1);
  byId("turn").replaceChildren(sortable({
    caption: _("The pair of dimensions {i} and {j}: M turns it by the angle of {k} positions", {i: 2 * pair, j: 2 * pair + 1, k: shift}),
    columns: [[_("dimension"), 0], [`M ${2 * pair}`, 4], [`M ${2 * pair
      + 1}`, 4], [`PE(${position})`, 4], [`M PE(${position})`, 4], [`PE(${position + shift})`, 4]],
    rows: [0, 1].map((i) => [2 * pair + i, turn[2 * i], turn[2 * i + 1], [a, b][i], moved[i],
      there[i]])
  }));
}

function drawWords({words, moved}) {
  const parts = Object.keys(words.parts);
  byId("embedding").replaceChildren(sortable({
    caption: _("Lengths of the vectors, token by token"),
    columns: [[_("token")], ...parts.map((name) => [PARTS[name], 3])],
    rows: words.tokens.map((token, i) => [token, ...parts.map((name) => words.parts[name][i])])
  }));
  byId("permutation").replaceChildren(sortable({
    caption: _("How far each token's last hidden state moves"),
    columns: [[_("token")], [_("with positions"), 6], [_("without positions"), 6]],
    rows: moved.tokensA.map((token, i) => [token, moved.byToken.with[i], moved.byToken.without[i]])
  }));
  const values = {with: moved.difference.with.toExponential(1),
    without: moved.difference.without.toExponential(1)};
  const changes = moved.causal
    ? _("Largest change {with} with positions, {without} without: a causal mask tells order too.", values)
    : _("Largest change {with} with positions, {without} without: the same vectors in another order.", values);
  const says = moved.same ? _("Both orders are the same: this says nothing of positions.") : changes;
  const how = moved.textB ? [] : [_("No spaces part the words here: the tokens themselves are reversed.")];
  byId("permutation-note").textContent = [...how, says].join(" ");
}

function drawFoot(state) {
  const copy = () => copyLink(url.href());
  const {provenance} = wordsOf(state, "", "both", "");
  byId("foot").replaceChildren(h("span", {}, provenance),
    waysOut({links: [], actions: [[_("Copy link"), copy]]}));
}

function draw(state, theme) {
  if (state.found !== shown.found) isOwnOrder = false;
  shown = state;
  const last = {dimension: state.dModel - 1, position: state.nPositions - 1};
  for (const [name, max] of Object.entries(last)) {
    for (const field of [form.elements[name],
      form.querySelector(`[data-of="${name}"]`)]) field.max = max;
  }
  drawEncodings(state, theme);
  drawCurves(state);
  drawWords(state.found);
  drawFoot(state);
}

mountPage({data, fields: url.POSITIONS, form, busy: byId("encodings"),
  texts: ({model, found: {words}}) => [{model, sequences: {source: words.tokens}}],
  fit, retype, answer, draw});
