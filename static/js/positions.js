// The Positions page: encodings beside each other, and what they are for.

import {address, camel, embedding, permutation, positions} from "./api.js";
import {mountTheme} from "./controls.js";
import {h} from "./dom.js";
import {_} from "./language.js";
import {curves, heatmap} from "./plot.js";
import {createStore} from "./store.js";
import {copyLink, showNotice, waysOut} from "./summary.js";
import {sortable} from "./tables.js";
import * as url from "./url.js";

const TYPING_PAUSE = 250;
const NUMBERS = ["nPositions", "dModel", "base", "dimension", "position", "shift"];
const NAMES = {nPositions: "n_positions", dModel: "d_model", base: "base", dimension: "dimension",
  position: "position", shift: "shift", measure: "measure", model: "model", text: "text",
  textB: "text_b"};
const PARTS = {word: _("word"), position: _("position"), segment: _("segment"), sum: _("sum"),
  input: _("input")};

const byId = (id) => document.getElementById(id);
const page = camel(JSON.parse(byId("page").textContent));
const form = document.querySelector(".sizes");
const dark = matchMedia("(prefers-color-scheme: dark)");
const themeOf = ({theme}) => (theme === "auto" ? (dark.matches ? "dark" : "light") : theme);

const store = createStore({
  ...fromAddress(url.current(url.POSITIONS)),
  ignored: page.ignored.map(({message}) => message),
  sines: null, own: null, words: null, moved: null, // the answers
  problem: page.problem?.detail ?? null,
  notice: "",
  busy: false
});

/** What the address asks for; what is left out is what the page was made with. */
function fromAddress({state, ignored}) {
  const given = (key) => (page.ignored.some(({field}) => field === NAMES[key]) ? page[key]
    : state[key] ?? page[key]);
  return {...state, ...Object.fromEntries(Object.keys(NAMES).map((key) => [key, given(key)])), ignored};
}

let pending = new AbortController();
let timer = 0;

async function load(wanted, step) {
  clearTimeout(timer);
  pending.abort();
  pending = new AbortController();
  const {signal} = pending;
  store.set({busy: true});
  try {
    const options = {signal, onRetry: (notice) => store.set({notice})};
    const {nPositions, dModel, base, measure, shift, model, text, textB} = wanted;
    const nCtx = page.models.find(({name}) => name === model).nCtx;
    const [sines, own, words, moved] = await Promise.all([
      positions({nPositions, dModel, base, measure, shift}, options),
      positions({model, nPositions: Math.min(nPositions, nCtx), measure, shift}, options),
      embedding({model, text}, options),
      permutation({model, text, textB: textB || null}, options)
    ]);
    signal.throwIfAborted();
    const dimension = Math.min(wanted.dimension, dModel - 1);
    const position = Math.min(wanted.position, nPositions - 1);
    const calm = {problem: null, notice: "", busy: false};
    store.set({...wanted, dimension, position, sines, own, words, moved, ...calm});
    if (step) url[step](store.get(), url.POSITIONS);
  } catch (error) {
    if (!signal.aborted) store.set({problem: error.message, notice: "", busy: false});
  }
}

const fieldOf = (key) => form.elements[NAMES[key]];
const sliderOf = (key) => form.querySelector(`[data-of="${NAMES[key]}"]`);

function typed() {
  const numbers = NUMBERS.map((key) => [key, fieldOf(key).valueAsNumber]);
  const words = ["measure", "model", "text", "textB"].map((key) => [key, fieldOf(key).value]);
  return Object.fromEntries([...numbers, ...words]);
}

/** A number outside its limits is said to be, and nothing is asked. */
function sound() {
  const wrong = NUMBERS.map(fieldOf).find((field) => !field.checkValidity());
  if (!wrong) return true;
  store.set({problem: `${wrong.labels[0].textContent.trim()}: ${wrong.validationMessage}`});
  return false;
}

form.addEventListener("input", (event) => {
  const name = event.target.dataset.of;
  if (name) form.elements[name].value = event.target.value;
  clearTimeout(timer);
  if (!sound()) return;
  const wanted = {...store.get(), ...typed(), ignored: []};
  timer = setTimeout(() => load(wanted, "replace"), TYPING_PAUSE);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (sound()) load({...store.get(), ...typed(), ignored: []}, "push");
});

// Drawing.

const rowsOf = ({data, shape: [n, m]}) =>
  Array.from({length: n}, (none, i) => Array.from(data.subarray(i * m, (i + 1) * m)));
const names = (n) => Array.from({length: n}, (none, i) => `${i}`);
const largest = ({data}) => data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);

function map(id, tensor, {title, axes, theme, locked = null, range}) {
  const [n, m] = tensor.shape;
  heatmap(byId(id), {z: rowsOf(tensor), name: title, qLabels: names(n), kLabels: names(m), axes,
    range: range ?? {low: -largest(tensor), high: largest(tensor), scale: "signed"}, theme, locked});
}

function drawEncodings({sines, own, position, model, measure}, theme) {
  byId("own").textContent = `${model} (${own.kind})`;
  const likeness = measure === "cosine" ? _("cosine") : _("dot product");
  for (const [name, found] of [["sines", sines], ["own", own]]) {
    const index = Math.min(position, found.encoding.shape[0] - 1);
    map(`${name}-encoding`, found.encoding, {title: _("value"), theme,
      axes: [_("position"), _("dimension")], locked: {side: "query", index}});
    map(`${name}-similarity`, found.similarity, {title: likeness, theme,
      axes: [_("position"), _("position")]});
  }
}

const column = ({data, shape: [n, m]}, k) => names(n).map((none, i) => data[i * m + Math.min(k, m - 1)]);

function drawCurves({sines, own, dimension, position, model}) {
  const line = (name, y, chosen) => ({name, x: y.map((none, i) => i), y: Array.from(y), chosen});
  const both = (of) => [line("sin, cos", of(sines), true), line(model, of(own), false)];
  const row = ({encoding: {data, shape: [n, m]}}) => {
    const i = Math.min(position, n - 1);
    return Array.from(data.subarray(i * m, (i + 1) * m));
  };
  const plain = {zero: false, dashes: true};
  curves(byId("wave-plot"), {lines: both(({encoding}) => column(encoding, dimension)),
    x: _("position"), y: _("value"), ...plain});
  curves(byId("code-plot"), {lines: both(row), x: _("dimension"), y: _("value"), bars: true, ...plain});
  curves(byId("fall-plot"), {lines: both(({byDistance}) => Array.from(byDistance.data)),
    x: _("distance"), y: _("mean likeness"), ...plain});
  const waves = Array.from(sines.wavelengths.data, Math.log10);
  curves(byId("waves-plot"), {lines: [line("sin, cos", waves, true)], x: _("pair of dimensions"),
    y: _("log10 of positions in a turn"), ...plain});
  const turn = sines.wavelengths.data[Math.floor(dimension / 2)];
  byId("wave-note").textContent = _("Dimension {d} of the sines takes {turn} positions for a turn.",
    {d: dimension, turn: turn.toFixed(turn < 100 ? 1 : 0)});
  byId("shift-error").textContent = sines.shiftError.toExponential(1);
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
  const values = {with: moved.difference.with.toExponential(1), without: moved.difference.without.toExponential(1)};
  byId("permutation-note").textContent = moved.causal
    ? _("Largest change {with} with positions, {without} without: a causal mask tells order too.", values)
    : _("Largest change {with} with positions, {without} without: the same vectors in another order.", values);
}

function drawFoot({nPositions, dModel, base, measure, shift, words, model}) {
  const copy = () => copyLink(url.href());
  const sines = {nPositions, dModel, base, measure, shift};
  const links = [["json", address("positions", sines)],
    ["npz", address("positions", {...sines, format: "npz"})],
    [`${model} npz`, address("positions", {model, measure, format: "npz"})]];
  byId("foot").replaceChildren(h("span", {}, `${words.model} · Attention Atlas`),
    waysOut({links, actions: [[_("Copy link"), copy]]}));
}

const updateTheme = mountTheme((patch) => {
  store.set(patch);
  url.replace(store.get(), url.POSITIONS);
});
let drawn = {};

function render(state) {
  const theme = themeOf(state);
  document.documentElement.dataset.theme = theme;
  updateTheme(theme);
  showNotice(state);
  byId("encodings").ariaBusy = state.busy || !state.sines;
  if (!state.sines || (drawn.sines === state.sines && drawn.theme === theme)) return;
  drawn = {sines: state.sines, theme};
  for (const plain of document.querySelectorAll(".plain")) plain.remove();
  for (const key of Object.keys(NAMES)) {
    const field = fieldOf(key);
    const value = `${state[key] ?? ""}`;
    if (field.value !== value && field !== document.activeElement) field.value = value;
    const slider = sliderOf(key);
    if (slider) slider.value = value;
  }
  drawEncodings(state, theme);
  drawCurves(state);
  drawWords(state);
  drawFoot(state);
}

store.subscribe(render);
url.linkLanguage(byId("language"));
dark.addEventListener("change", () => render(store.get()));
url.onBack((found) => load({...store.get(), ...fromAddress(found)}, null), url.POSITIONS);
if (!page.problem) load(store.get(), store.get().ignored.length ? null : "replace");
