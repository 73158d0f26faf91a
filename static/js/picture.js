// What a picture is made of, and which parts of it a new wish needs.

import {attention, overview, run} from "./api.js";

export const INPUTS = ["model", "text", "textPair", "target"];

export const pick = (object, keys) => Object.fromEntries(keys.map((key) => [key, object[key]]));

/** The state with a kind, a layer and a head that its model has. */
export function fit(state, models, fallback = {layer: 0, head: 0}) {
  const model = models.find(({name}) => name === state.model);
  if (!model) return state;
  const within = (i, other, n) => (i !== null && i < n ? i : Math.min(other, n - 1));
  return {
    ...state,
    kind: model.kinds.includes(state.kind) ? state.kind : model.kinds[0],
    layer: within(state.layer, fallback.layer, model.nLayer),
    head: within(state.head, fallback.head, model.nHead)
  };
}

/** The inputs that the model takes: a second sentence for BERT, a target for a translator. */
export function inputsOf(state, models) {
  const tasks = models.find(({name}) => name === state.model)?.tasks ?? [];
  const textPair = tasks.includes("next-sentence") ? state.textPair : null;
  const target = tasks.includes("translate") ? state.target : null;
  return {model: state.model, text: state.text, textPair, target};
}

/** The parts of a picture, each named by all that it depends on. */
export function partsOf(state, models) {
  const inputs = inputsOf(state, models);
  const every = {...inputs, kind: state.kind};
  return {
    run: inputs,
    overview: every,
    record: {...every, ...pick(state, ["layer", "head", "special", "merge"])}
  };
}

const FETCH = {run, overview, record: attention};

/**
 * Only the parts that differ from what is drawn, all of them or none. The run comes first: it says
 * what is wrong with a text once, and what the other two need is then in the server's cache.
 * @returns {Promise<{run?: Object, overview?: Object, record?: Object}>}
 */
export async function fetchParts(parts, drawn, options) {
  const isNew = (name) => JSON.stringify(parts[name]) !== JSON.stringify(drawn[name]);
  const get = async (name) => isNew(name) && {[name]: await FETCH[name](parts[name], options)};
  const first = await get("run");
  const rest = await Promise.all([get("overview"), get("record")]);
  return Object.assign({}, first, ...rest);
}

/**
 * Where a locked token is after the tokens have changed: the same piece in its place, or, in the
 * same text cut otherwise, the token that holds it; null when it is gone.
 */
export function follow(index, before, after, sameText) {
  if (index === null || !before) return after[index ?? -1] ? index : null;
  const token = before[index];
  if (after[index]?.raw === token.raw) return index;
  const holds = ({start, end, special}) => !special && start <= token.start && token.start < end;
  const found = sameText && !token.special ? after.findIndex(holds) : -1;
  return found < 0 ? null : found;
}
