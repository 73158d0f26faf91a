// What the Lab asks the server for: two runs, how their prediction is measured, and what is
// changed in them.

import {PAIRED, howOfEdits, interventionsOf} from "./interventions.js";
import {pick} from "./data.js";

/** What may be measured of a family's prediction. */
const METRICS = {encoder: ["logit_difference", "probability", "cosine"],
  decoder: ["logit_difference", "probability", "loss"],
  "encoder-decoder": ["logit_difference", "probability", "loss"]};

/** Of a head that tells labels apart, their logits. @returns {string[]} */
export function metricsOf({family, classes = null}) {
  if (classes === null || ["pair", "choice"].includes(classes.unit)) {
    return METRICS[family] ?? METRICS.decoder;
  }
  return family === "encoder" ? ["class_logit", "cosine"] : ["class_logit"];
}

const linesOf = (texts) => texts.split("\n").filter((line) => line.trim());
const tokenOf = (text) => (/^\d+$/.test(text) ? Number(text) : text);
const orNull = (text, read) => (text === "" ? null : read(text));

/** How the prediction is measured; what a metric does not take is left out. */
function metricOf({metric: kind, position, answer, other, beside}) {
  if (kind === "loss") return {kind};
  if (kind === "cosine") return {kind, beside: beside || null};
  const one = {...(kind === "logit_difference" ? {} : {kind}), position: orNull(position, Number),
    answer: orNull(answer, tokenOf)};
  return kind === "probability" ? one : {...one, other: orNull(other, tokenOf)};
}

/** Both runs and the metric. @param {{tasks: string[]}} summary of the model */
export function pairOf(wanted, {tasks}) {
  const {text, textB, target} = wanted;
  const isTranslator = tasks.includes("translate");
  const clean = {...pick(wanted, ["model", "sourceLang", "targetLang"]), text,
    target: isTranslator && target ? target : null};
  return {clean, corrupted: textB ? {...clean, text: textB} : null, metric: metricOf(wanted)};
}

/** The texts of a mean: one's own, or the page's. */
function referenceOf({reference, model}, references) {
  const own = linesOf(reference);
  return JSON.stringify(own.length ? own : references[model] ?? []);
}

/** A sweep that takes nothing from the second text does without it, whatever its length. */
export function sweepOf(wanted, summary, references) {
  const {how, over, kind} = wanted;
  const pair = pairOf(wanted, summary);
  return {...pair, corrupted: PAIRED.includes(how) ? pair.corrupted : null, how, over, kind,
    reference: how === "mean" ? referenceOf(wanted, references) : null};
}

/** The edits, and the ablations of a head. */
export function stackOf(wanted, {layer, head}, summary, references) {
  const ablations = head === null ? [] : [{kind: wanted.kind, layer, head}];
  return {...pairOf(wanted, summary),
    interventions: JSON.stringify(interventionsOf(wanted.edits, howOfEdits(wanted.how))),
    ablations: JSON.stringify(ablations), reference: referenceOf(wanted, references)};
}

/** What the parts of the clean run are asked for with, and those of one head. */
export function insideOf(wanted, summary, {layer = null, head = null} = {}) {
  const {clean, metric} = pairOf(wanted, summary);
  return {clean, metric, ...(head === null ? {} : {kind: wanted.kind, layer, head})};
}

/** One head's attention in the clean run. */
export function headOf(wanted, summary, {layer, head}) {
  const {clean} = pairOf(wanted, summary);
  return {...clean, kind: wanted.kind, layer, head};
}

export const N_PATHS = "48"; // measured if the address does not say how many

/** What heads pass on between the two runs; null without a second one. */
export function pathsOf(wanted, summary, {layer, head}) {
  const {clean, corrupted, metric} = pairOf(wanted, summary);
  const {kind, into, paths} = wanted;
  const receiver = into && head !== null ? {kind, layer, head, input: into} : null;
  return corrupted && {clean, corrupted, metric, ...(receiver ? {receiver}
    : {n: Number(paths || N_PATHS)})};
}

/** The effect of each edge of one head. */
export function edgesOf(wanted, summary, {layer, head}) {
  const {clean, metric} = pairOf(wanted, summary);
  return {clean, metric, how: "zero", over: "edges", kind: wanted.kind, layer, head};
}
