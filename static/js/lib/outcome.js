// What interventions do to a prediction: the measured difference, the candidates before and after,
// each edit alone beside all of them, and three ablations of one head.

import {css, signedColor} from "./color.js";
import {replaceContent} from "./decoding.js";
import {byId, h} from "./dom.js";
import {effectText, nameOfEffect, valueText} from "./effects.js";
import {_} from "./language.js";
import {showTable} from "./tablepicture.js";
import {tokenNode, visible} from "./token.js";

const RUNS = {clean: _("clean text"), corrupted: _("corrupted text")};
const EDITED = {clean: _("clean text, edited"), corrupted: _("corrupted text, edited")};
const N_CANDIDATES = 5;

/** The runs that there are: their keys among the candidates, their names, and their metrics. */
function runsOf({metric, joint, interventions, run}) {
  const runs = [["clean", RUNS.clean, metric.clean]];
  if (metric.corrupted !== null) runs.push(["corrupted", RUNS.corrupted, metric.corrupted]);
  if (interventions.length) runs.push(["joint", EDITED[run], joint.value]);
  return runs;
}

/** A bar between two values, on a line from low to high; its colour is the sign of the way. */
export function barOf([start, end], [low, high], theme) {
  const share = (x) => `${(100 * (x - low)) / (high - low || 1)}%`;
  const bar = h("span", {class: "lab-bar"});
  bar.style.background = css(signedColor(Math.sign(end - start), theme));
  const [from, to] = [Math.min(start, end), Math.max(start, end)];
  bar.style.insetInlineStart = share(from);
  bar.style.width = `${(100 * (to - from)) / (high - low || 1)}%`;
  const zero = h("span", {class: "lab-zero"});
  zero.style.insetInlineStart = share(0);
  return h("td", {class: "lab-scale", "aria-hidden": "true"}, h("span", {}, bar, zero));
}

/** A name, a bar and a number a row. @param {[name: string, value: number, text: string][]} rows */
function bars(rows, caption, theme) {
  const values = rows.map(([, value]) => value);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  return h("table", {class: "numbers lab-bars"}, h("caption", {}, caption), h("tbody", {},
    ...rows.map(([name, value, text]) => h("tr", {}, h("th", {scope: "row"}, name),
      barOf([0, value], [low, high], theme), h("td", {class: "n"}, text)))));
}

const CAPTIONS = {
  logit_difference: _("Logit of “{answer}” minus logit of “{other}”, predicted at “{token}” ({position})"),
  probability: _("Probability of “{answer}”, predicted at “{token}” ({position})"),
  loss: _("Loss: the mean of −log p of the text's tokens after the first"),
  cosine: _("Cosine of the text's mean vector and that of “{beside}”"),
  class_logit: _("Logit of the label “{answer}”"),
  labels: _("Logit of the label “{answer}” minus that of “{other}”")
};

/** What is measured, in words. */
function captionOf({metric: {kind, answer, other, position}, sequences: {source, target}}, beside) {
  const named = (token) => (token ? visible(token) : "");
  const name = kind === "class_logit" && other ? "labels" : kind;
  return _(CAPTIONS[name], {answer: named(answer), other: named(other), position, beside,
    token: position === null ? "" : named((target ?? source)[position])});
}

/** What is measured, and its value in each run; the form names what was chosen by itself. */
export function drawMetric(effects, {elements}, theme) {
  const {metric, candidates, sequences: {source, target}} = effects;
  byId("metric").replaceChildren(bars(runsOf(effects).map(([, name, value]) =>
    [name, value, valueText(value, metric.kind)]),
  captionOf(effects, elements.beside.value), theme));
  elements.answer.placeholder = metric.answer ? visible(metric.answer) : "";
  elements.other.placeholder = metric.other ? visible(metric.other) : "";
  elements.position.placeholder = `${metric.position ?? ""}`;
  elements.position.max = (target ?? source).length - 1;
  const names = [...candidates.clean, ...candidates.corrupted].map(({text}) => text.trim());
  byId("guesses").replaceChildren(...[...new Set(names)].filter(Boolean).map((value) =>
    h("option", {value})));
}

/** The most probable tokens of each run, side by side. */
export function drawCandidates(effects) {
  const column = ([key, name]) => h("div", {}, h("h3", {}, name),
    h("table", {class: "numbers"}, h("tbody", {},
      ...effects.candidates[key].slice(0, N_CANDIDATES).map(({token: raw, text, probability}) =>
        h("tr", {}, h("th", {scope: "row"}, tokenNode({raw, text})),
          h("td", {class: "n"}, probability.toFixed(3)))))));
  byId("candidates").hidden = !effects.candidates.clean.length;
  byId("candidates").replaceChildren(...runsOf(effects).map(column));
}

/** The tokens of each text without a partner in the other; only texts of two lengths have any. */
export function drawPartners({partners, sequences, corruptedSequences}) {
  const named = (sides, all) => partners.flatMap(({sequence, [sides]: alone}) =>
    alone.map((i) => visible(all[sequence][i])));
  const texts = [named("alone", sequences), named("corruptedAlone", corruptedSequences)];
  byId("partners").textContent = texts.flat().length
    ? _("Tokens without a partner in the other text: {clean} | {corrupted}. Nothing is exchanged there.",
      {clean: texts[0].join(" ") || "–", corrupted: texts[1].join(" ") || "–"}) : "";
}

/** Each edit alone, their sum, and all of them at once. */
export function drawEdits({interventions, joint, sum, run}, {names, how, metric, remove, words}) {
  const isShare = joint.share !== null && ["noise", "denoise"].includes(how);
  const effect = ({change, share}) =>
    effectText(isShare ? share : change, isShare ? how : "zero", metric);
  byId("clear-edits").hidden = !interventions.length;
  byId("no-edits").hidden = interventions.length > 0;
  const row = (one, i) => h("tr", {}, h("th", {scope: "row"}, names[i]),
    h("td", {class: "n"}, effect(one)), h("td", {}, h("button", {type: "button",
      class: "plain-button", "aria-label": _("Remove {place}", {place: names[i]}),
      onclick: () => remove(i)}, "×")));
  const total = (name, value) => h("tr", {class: "lab-total"}, h("th", {scope: "row"}, name),
    h("td", {class: "n"}, value), h("td"));
  const all = {change: sum, share: interventions.reduce((total, {share}) => total + share, 0)};
  const table = () => h("table", {class: "numbers"},
    h("caption", {}, _("Each edit alone, and all at once, in the {run}", {run: RUNS[run]})),
    h("tbody", {}, ...interventions.map(row),
      total(_("Sum of the single effects"), effect(all)),
      total(_("All at once"), effect(joint))));
  const rows = () => [...interventions.map((one, i) => [names[i], one.how, one]),
    ["all", "", joint]].map(([name, act, {value, change, share}]) =>
    [name, act, value, change, share ?? NaN]);
  const made = h("div");
  if (interventions.length) {
    showTable(made, table(), {words, part: "edits",
      sheet: () => ({columns: ["edit", "how", "value", "change", "share"], rows: rows()})});
  }
  replaceContent(byId("edits"), ...made.children);
}

const ABLATIONS = {
  zero: _("set to 0"),
  mean: _("mean over {n} tokens of reference texts"),
  meanPositions: _("mean over this text's tokens"),
  resample: _("from the corrupted text")
};

/** One head's output replaced in three ways, and whether they tell the same. */
export function drawAblations({ablations: [found], nReference: n, metric: {kind}}, theme) {
  byId("ablations").hidden = !found;
  if (!found) return;
  const rows = Object.keys(ABLATIONS).filter((name) => found[name] !== null).map((name) =>
    [_(ABLATIONS[name], {n}), found[name], effectText(found[name], "zero", kind)]);
  byId("ablations").replaceChildren(bars(rows,
    _("In the clean text, with the head's output replaced: {change}", {change: nameOfEffect("zero", kind)}), theme));
  byId("disagree").textContent = found.disagree
    ? _("These replacements disagree in sign or by more than a factor of three: what this head does depends on what takes its place.")
    : "";
}
