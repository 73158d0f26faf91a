// What the Lab can do to a head: the places that are changed, as an address has them, and in words.

import {_} from "./language.js";
import {placeName} from "./reading.js";
import {label} from "./token.js";
import {pageOf} from "./url.js";

export const PAIRED = ["resample", "noise", "denoise", "attribution"]; // need a corrupted text
const SHARES = ["noise", "denoise", "attribution"];

/** What is done to the heads of the list of edits: there is no gradient of several steps. */
export const howOfEdits = (how) => (how === "attribution" ? "denoise" : how);

export const isShare = (how) => SHARES.includes(how);

/**
 * @typedef {{kind: string, layer: number, head: number|null, query: number|null}} Place
 *   null is all
 */

/** @param {string} edits  @returns {Place[]} */
export const placesIn = (edits) => (edits ? edits.split(",").map((part) => {
  const [kind, layer, head, query = null] = part.split(".");
  return {kind, layer: Number(layer), head: head === "all" ? null : Number(head),
    query: query === null ? null : Number(query)};
}) : []);

const written = ({kind, layer, head, query}) => (head === null ? `${kind}.${layer}.all.${query}`
  : `${kind}.${layer}.${head}`);

/** @param {Place[]} places */
export const editsOf = (places) => places.map(written).join(",");

/** The edits with a place added, or without it. */
export function toggled(edits, place) {
  const others = placesIn(edits).filter((other) => written(other) !== written(place));
  const isNew = others.length === placesIn(edits).length;
  return editsOf(isNew ? [...others, place] : others);
}

/** A place in words; tokens are those of its query axis. */
export function nameOf({layer, head, query}, tokens) {
  if (head !== null) return placeName(layer, head);
  const token = tokens[query] ? label(tokens[query]) : `${query}`;
  return _("Layer {layer} at “{token}” ({query})", {layer, token, query});
}

const number = (value, sign = "") => `${sign && value > 0 ? "+" : ""}${value.toFixed(2)}`
  .replace("-0.00", "0.00").replace("-", "−");
const percent = (value) => `${Math.round(100 * value)} %`.replace("-", "−");

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

/** An effect: a share of the way in percent, or a change with its sign. */
export const effectText = (value, how) => (isShare(how) ? percent(value) : number(value, "+"));

export const valueText = (value) => number(value);

const MOST = {
  zero: _("{place} matters most: with its output set to 0, the difference changes by {value}."),
  mean: _("{place} matters most: with its output replaced by its mean over the reference texts, the difference changes by {value}."),
  mean_positions: _("{place} matters most: with its output replaced by its mean over this text, the difference changes by {value}."),
  resample: _("{place} matters most: with its output from the corrupted text, the difference changes by {value}."),
  noise: _("{place} matters most: its output from the corrupted text, put into the clean run, undoes {value} of the difference between the texts."),
  denoise: _("{place} matters most: its output from the clean text, put into the corrupted run, restores {value} of the difference between the texts."),
  attribution: _("{place} matters most by the gradient: its output from the clean text would restore about {value} of the difference between the texts.")
};

/** What the map shows, in a sentence. */
export const verdictOf = ({how, place, value}) =>
  _(MOST[how], {place, value: effectText(value, how)});

/** All heads at once, beside the sum of the single effects. */
export const totalOf = ({how, joint, sum, kind}) =>
  _("All heads of {kind} attention at once: {joint}; the single effects add up to {sum}.",
    {kind, joint: effectText(joint, how), sum: effectText(sum, how)});
