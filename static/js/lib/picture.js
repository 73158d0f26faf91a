// What a picture is made of, and what it is asked for with.

import {modelIn, pick} from "./data.js";
import {shownHeads} from "./heads.js";
import {languagesIn} from "./languages.js";

const OF_CROSS = ["", "entropy", "first_token", "special", "named"]; // metrics of two sequences

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

const PICTURE_BYTES = 390_000; // of all heads together
const LARGEST = 64; // cells a side

/** As many cells a side as leave the first picture small, however many heads there are. */
export const pictureSize = (nHead) =>
  Math.max(8, Math.min(LARGEST, Math.floor(Math.sqrt(PICTURE_BYTES / nHead))));

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
