// What a picture is made of, what it is asked for with, and what of it is known already.

import {anatomy, attention, metrics, overview, pictureSize, run} from "./api.js";
import {modelIn, pick} from "./data.js";
import {shownHeads} from "./heads.js";
import {languagesIn} from "./languages.js";

const OF_CROSS = ["", "entropy", "first_token", "special", "named"]; // metrics of two sequences
const REMEMBERED = 24; // answers kept, so that going back or choosing again asks for nothing

/** The state with a kind, a layer and heads that its model has, and options that go together. */
export function fit(state, models, fallback = {layer: 0, head: 0}) {
  const model = modelIn(models, state.model);
  if (!model) return state;
  const within = (i, other, n) => (i !== null && i < n ? i : Math.min(other, n - 1));
  const kind = model.kinds.includes(state.kind) ? state.kind : model.kinds[0];
  const [nLayer, nHead] = model.shapes[kind];
  const isThere = ([layer, head]) => layer < nLayer && head < nHead;
  const view = state.view === "anatomy" && model.lacks.includes("q") ? "lines" : state.view;
  const quantity = model.lacks.includes("scores") ? "attn" : state.quantity;
  const fitted = {
    ...state,
    ...languagesIn(model, state),
    kind,
    view,
    quantity,
    layer: within(state.layer, fallback.layer, nLayer),
    head: within(state.head, fallback.head, nHead)
  };
  const [, ...beside] = shownHeads(fitted).filter(isThere);
  const metric = kind === "cross" && !OF_CROSS.includes(state.metric) ? "" : state.metric;
  return {...fitted, metric, heads: beside.map((place) => place.join(".")).join(),
    ...together(fitted)};
}

/**
 * Options that exclude each other. Anatomy is of one head's own tokens; scores are of one head,
 * and are not summed or shares; there is no rollout between two sequences.
 */
function together({view, quantity, reduce, merge, special, kind}) {
  if (view === "anatomy") {
    return {quantity: "attn", reduce: "none", merge: "none", special: "keep"};
  }
  const isScores = quantity === "scores" && (view === "matrix" || view === "table");
  if (isScores) {
    const kept = special === "renormalise" ? "keep" : special;
    return {quantity, reduce: "none", merge: "none", special: kept};
  }
  const possible = reduce === "rollout" && kind === "cross" ? "none" : reduce;
  return {quantity: "attn", reduce: possible, merge, special};
}

/** Which inputs beside the text a model takes. */
export const takenBy = (model) => ({
  textPair: model?.takesPair ?? false,
  target: model?.tasks.includes("translate") ?? false
});

/**
 * The inputs that the model takes: a second sentence for BERT; a translator's target, languages.
 */
export function inputsOf(state, models) {
  const model = modelIn(models, state.model);
  const takes = takenBy(model);
  const textPair = takes.textPair ? state.textPair : null;
  const target = takes.target ? state.target : null;
  return {model: state.model, text: state.text, textPair, target, ...languagesIn(model, state)};
}

/** What each part of a picture is asked for with. */
export function partsOf(state, models) {
  const inputs = inputsOf(state, models);
  const every = {...inputs, kind: state.kind};
  const {nLayer, nHead} = modelIn(models, state.model) ?? {nLayer: 1, nHead: 1};
  const options = pick(state, ["special", "merge", "quantity", "reduce"]);
  const reduced = {rollout: {layer: range(state.layer + 1)}, none: {head: state.head}};
  const chosen = {layer: state.layer, ...(reduced[state.reduce] ?? {})};
  const several = state.view === "lines" && state.reduce === "none";
  const [, ...beside] = several ? shownHeads(state) : [];
  return {
    run: inputs,
    overview: {...every, size: pictureSize(nLayer * nHead)},
    metrics: every,
    record: {...every, ...chosen, ...options},
    beside: beside.map(([layer, head]) => ({...every, layer, head, ...options}))
  };
}

const range = (n) => Array.from({length: n}, (none, i) => i).join();

const FETCH = {run, overview, metrics, record: attention, anatomy};
const known = new Map(); // "part: what it is asked for with" -> its answer, the last used last

const keyOf = (name, spec) => `${name}: ${JSON.stringify(spec)}`;

/** An answer that came with the page. */
export const remember = (name, spec, answer) => known.set(keyOf(name, spec), answer);
const recall = (name, spec) => known.get(keyOf(name, spec)) ?? null;

/** An answer, from memory or from the server. */
async function ask(name, spec, options) {
  const key = keyOf(name, spec);
  const answer = known.get(key) ?? await FETCH[name](spec, options);
  known.delete(key);
  known.set(key, answer);
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return answer;
}

/**
 * What is drawn, all of it or nothing. The run comes first: it says what is wrong with a text once,
 * and what the others need is then in the server's cache. Metrics can wait, but for a grid that is
 * sorted by one.
 * @returns {Promise<{run: Object, overview: Object, metrics: Object|null, record: Object,
 *   shown: {layer: number, head: number, record: Object}[]}>}
 */
export async function fetchParts(parts, {shown, metric}, options) {
  const found = await ask("run", parts.run, options);
  const [overview, metrics, ...records] = await Promise.all([
    ask("overview", parts.overview, options),
    metric ? ask("metrics", parts.metrics, options) : recall("metrics", parts.metrics),
    ...[parts.record, ...parts.beside].map((spec) => ask("record", spec, options))
  ]);
  const places = shown.slice(0, records.length);
  return {
    run: found, overview, metrics, record: records[0],
    shown: places.map(([layer, head], i) => ({layer, head, record: records[i]}))
  };
}

/** One number per head, after the picture. */
export const fetchMetrics = (parts, options) => ask("metrics", parts.metrics, options);

/** The locked query, or the first token that is not a special one, taken apart. */
export async function fetchAnatomy({view, layer, head, query, side}, parts, {qTokens}, options) {
  if (view !== "anatomy") return null;
  const first = Math.max(0, qTokens.findIndex(({special}) => !special));
  const index = side === "query" && query !== null ? query : first;
  const {kind, ...inputs} = parts.metrics;
  return ask("anatomy", {...inputs, kind, layer, head, query: index}, options);
}

/**
 * Where a locked token is after the tokens have changed: the same piece in its place, or, in the
 * same text cut otherwise, the token that holds it; null when it is gone.
 */
export function follow(index, before, after, sameText) {
  if (index === null || !before) return after[index ?? -1] ? index : null;
  const token = before[index];
  if (!token) return null;
  if (after[index]?.raw === token.raw) return index;
  const holds = ({start, end, special}) => !special && start <= token.start && token.start < end;
  const found = sameText && !token.special ? after.findIndex(holds) : -1;
  return found < 0 ? null : found;
}
