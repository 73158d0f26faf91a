// Whether a head's attention and what the prediction depends on agree: one line under the head's
// name, asked for when the picture is complete and the reader pauses.

import {attributions} from "./api.js";
import {byId, h} from "./dom.js";
import {_} from "./language.js";
import {label, visible} from "./token.js";
import {pageOf} from "./url.js";

const PAUSE = 900; // ms without a change
const MOST_TOKENS = 40; // each is left out once
const AGREES = 0.5; // Kendall's tau from which two orders are said to agree
const DISAGREES = 0.2;

/** @returns {"agree"|"differ"|"part"} what a rank agreement is called */
export function verdictOfTau(tau) {
  if (tau >= AGREES) return "agree";
  return tau <= DISAGREES ? "differ" : "part";
}

const WORDS = {
  agree: _("Attention and effect agree here"),
  differ: _("Attention and effect do not agree here"),
  part: _("Attention and effect agree in part here")
};

let key = null; // of what is on screen, or on its way
let halt = () => {};

/** The sentence changes: what is on its way is of no use. */
export function forgetHonesty() {
  halt();
  key = null;
  byId("honesty").replaceChildren();
}

/** Ask for a head, a text and a prediction, unless it has been asked for. */
export function followHonesty(state, model) {
  const spec = specOf(state, model);
  const wanted = spec && JSON.stringify(spec);
  if (wanted === key) return;
  forgetHonesty();
  key = wanted;
  if (!spec) return;
  const controller = new AbortController();
  const timer = setTimeout(() => ask(spec, state, controller.signal), PAUSE);
  halt = () => {
    clearTimeout(timer);
    controller.abort();
  };
}

/** What to ask for; null where no prediction is measured, or no one head's attention is shown. */
function specOf({metrics, run, record, shown, layer, head, query, side, text, textPair, kind},
  model) {
  const tokens = run.sequences.source;
  const isOne = shown.length === 1 && record.reduce === "none" && record.quantity === "attn";
  if (!metrics || !isOne || model.kinds.length > 1 || tokens.length > MOST_TOKENS) return null;
  if (!predicts(model)) return null;
  const isToken = side === "query" && query !== null && record.qTokens.length === tokens.length;
  const position = isToken ? query : null;
  const hasBlank = model.mask && tokens.some(({raw}) => raw === model.mask);
  if (kind === "encoder" && position === null && !hasBlank) return null;
  return {clean: {model: model.name, text, textPair: textPair || null}, metric: {position}, layer,
    head, methods: "attention"};
}

/** Whether heads and words of a model can be measured. */
const predicts = ({family, lacks, tasks}) => family !== "recurrent"
  && !lacks.some((what) => ["edits", "predictions"].includes(what))
  && tasks.some((task) => ["fill-mask", "next-token"].includes(task));

async function ask(spec, {kind}, signal) {
  try {
    const answer = await attributions(spec, {signal, onEvent: () => {}});
    if (!signal.aborted) show(answer, spec, kind);
  } catch {
    // the line stays empty: it is beside the picture, not part of it
  }
}

function show({metric, tokens, methods}, {clean, layer, head, metric: {position}}, kind) {
  const tau = methods.attention.tau ?? null;
  if (tau === null) return;
  const measured = _("Kendall's τ = {tau} with leaving tokens out, by the logits of “{answer}” − “{other}” at “{token}”", {
    tau: tau.toFixed(2).replace("-", "−"), answer: visible(metric.answer),
    other: visible(metric.other), token: label(tokens[metric.position])});
  const place = {model: clean.model, text: clean.text, how: "zero", kind, layer, head,
    ...(position === null ? {} : {position})};
  byId("honesty").replaceChildren(
    h("a", {href: pageOf("lab", place)}, WORDS[verdictOfTau(tau)]), `: ${measured}`);
  byId("honesty").title = measured;
}
