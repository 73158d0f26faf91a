// What the Lab can do to a model: the edits as an address has them, as the server takes them, and
// in words.
//
//   kind.layer.head              replaced as the map does, at all tokens
//   kind.layer.all.query         all heads of the layer at one token
//   kind.layer.mlp[.query]       the layer's MLP, at all tokens or one
//   kind.layer.head.block.q.k    the query may not attend to the key
//   kind.layer.head.only.q.k     the query attends to the key alone
//   kind.layer.head.even.q       the query attends to all keys alike
//   kind.layer.head.scale.50     scores times 50 %

import {_} from "./language.js";
import {placeName} from "./reading.js";
import {label} from "./token.js";
import {pageOf} from "./url.js";

export const PAIRED = ["resample", "noise", "denoise", "attribution"]; // need a corrupted text
const SHARES = ["noise", "denoise", "attribution"];

/** What is done to the places of the list of edits: there is no gradient of several steps. */
export const howOfEdits = (how) => (how === "attribution" ? "denoise" : how);

export const isShare = (how) => SHARES.includes(how);

/**
 * @typedef {{kind: string, layer: number, head: number|null, query: number|null, part: string,
 *   act: string, key: number|null, by: number|null}} Place
 *   head, query and key: null is all; part: heads or mlp; act: replace, block, only, even or scale
 */

const WHOLE = {head: null, query: null, part: "heads", act: "replace", key: null, by: null};

/** A place that the map replaces, or an act on a head. @returns {Place} */
export const placeOf = (parts) => ({...WHOLE, ...parts});

const numberOf = (text) => (text === undefined ? null : Number(text));

/** @param {string} edit  @returns {Place} */
function placeIn(edit) {
  const [kind, layer, where, act, first, second] = edit.split(".");
  const place = placeOf({kind, layer: Number(layer)});
  if (where === "all" || where === "mlp") {
    return {...place, query: numberOf(act), part: where === "mlp" ? "mlp" : "heads"};
  }
  const head = {...place, head: Number(where), act: act ?? "replace"};
  if (act === "scale") return {...head, by: Number(first) / 100};
  return {...head, query: numberOf(first), key: numberOf(second)};
}

/** @param {string} edits  @returns {Place[]} */
export const placesIn = (edits) => (edits ? edits.split(",").map(placeIn) : []);

function written({kind, layer, head, query, part, act, key, by}) {
  const where = part === "mlp" ? "mlp" : head ?? "all";
  const rest = act === "scale" ? [Math.round(100 * by)] : [query, key];
  return [kind, layer, where, ...(act === "replace" ? [] : [act]), ...rest]
    .filter((value) => value !== null).join(".");
}

/** @param {Place[]} places */
export const editsOf = (places) => places.map(written).join(",");

/** Whether two edits say different things of the same: the row of one query, or the scale. */
const clashes = (a, b) => a.act === b.act && ["only", "even", "scale"].includes(a.act)
  && written({...a, key: null, by: 0}) === written({...b, key: null, by: 0});

/** The edits with a place added, or without it; what it takes the place of goes. */
export function toggled(edits, place) {
  const before = placesIn(edits);
  const others = before.filter((other) => written(other) !== written(place));
  if (others.length < before.length) return editsOf(others);
  return editsOf([...others.filter((other) => !clashes(other, place)), place]);
}

/** The edits as the server takes them; a replaced place is as the map does it. */
export const interventionsOf = (edits, how) => placesIn(edits).map((place) => {
  const {kind, layer, head, query, key, part, act, by} = place;
  const where = {kind, layer, head, query};
  if (act === "scale") return {how: "scale", ...where, by};
  if (act === "block") return {how: "block", ...where, key};
  if (act !== "replace") return {how: "set", ...where, key};
  return {how, ...where, ...(part === "mlp" ? {part} : {})};
});

const tokenAt = (tokens, i) => (tokens[i] ? label(tokens[i]) : `${i}`);

const ACTS = {
  block: _("{place}: “{query}” may not look at “{key}”"),
  only: _("{place}: “{query}” looks only at “{key}”"),
  even: _("{place}: “{query}” looks at all tokens alike"),
  scale: _("{place}: scores × {by}")
};

/** A place in words; tokens are those of its query axis and of its key axis. */
export function nameOf({layer, head, query, part, act, key, by}, tokens, keys = tokens) {
  if (head !== null && act !== "replace") {
    return _(ACTS[act], {place: placeName(layer, head), query: tokenAt(tokens, query),
      key: tokenAt(keys, key), by});
  }
  if (head !== null) return placeName(layer, head);
  if (part === "mlp" && query === null) return _("MLP of layer {layer}", {layer});
  const values = {layer, token: tokenAt(tokens, query), query};
  return part === "mlp" ? _("MLP of layer {layer} at “{token}” ({query})", values)
    : _("Layer {layer} at “{token}” ({query})", values);
}

/** Whether heads of a model can be replaced, and a prediction changes with it. */
const canReplace = ({family, lacks}) => family !== "recurrent"
  && !lacks.some((what) => ["edits", "predictions"].includes(what));

/**
 * Compare's head that is switched off in B, as a link to the Lab: a blank takes the place of the
 * word where the model fills in blanks, and the word is what it is to predict.
 * @param {HTMLAnchorElement} link  @param {{off: string, textB: string, found: Object}} state
 */
export function linkToLab(link, model, {off, textB: text, found: {comparison: {b}, records}}) {
  link.hidden = !model || !off || !canReplace(model);
  if (link.hidden) return;
  const [layer, head] = off.split(".");
  const tokens = b.qWords[b.word].tokens.map((i) => records.b.qTokens[i]);
  const [start, end] = [tokens[0].start, tokens.at(-1).end];
  const blank = model.mask && end > start ? {answer: text.slice(start, end),
    text: `${text.slice(0, start)}${model.mask}${text.slice(end)}`} : {text};
  link.href = pageOf("lab", {model: model.name, how: "zero", kind: b.kind, layer, head,
    edits: `${b.kind}.${layer}.${head}`, ...blank});
}
