// What the fine-tuned heads of two runs say, beside each other: labels, probabilities, difference.

import {modelIn} from "./data.js";
import {byId, h} from "./dom.js";
import {_} from "./language.js";
import {sortable} from "./tables.js";
import {visible} from "./token.js";
import {pageOf} from "./url.js";

/** Fill the section of predictions; it is hidden where neither head tells labels apart. */
export function drawPredicted({a, b}, bases) {
  const parts = [...labelled(a, b), ...answers(a, b)];
  byId("predicted").hidden = !parts.length && !bases.length;
  byId("predicted-labels").replaceChildren(...parts);
  byId("with-base").replaceChildren(...bases);
}

/** The labels of the texts or, of a head that labels tokens, of the compared word's first token. */
function labelled(a, b) {
  const [mine, theirs] = [a, b].map(labelsOf);
  if (!mine.length && !theirs.length) return [];
  const isValue = [...mine, ...theirs].every(({probability}) => probability === null);
  const number = isValue ? "logit" : "probability";
  const name = isValue ? _("value") : _("probability");
  const byName = (rows) => new Map(rows.map((row) => [row.label, row[number]]));
  const [inA, inB] = [byName(mine), byName(theirs)];
  const rows = [...new Set([...inA.keys(), ...inB.keys()])].map((label) => {
    const [x, y] = [inA.get(label) ?? null, inB.get(label) ?? null];
    return [label, x ?? "–", y ?? "–", x === null || y === null ? "–" : x - y];
  });
  return [sortable({caption: captionOf(a, b), columns: [[_("label")], [_("{name} in A", {name}), 3],
    [_("{name} in B", {name}), 3], [_("A minus B"), 3]], rows})];
}

function labelsOf({predictions: {labels = [], tokenLabels = []}, qWords, word}) {
  const [first] = qWords[word].tokens;
  return labels.length ? labels : tokenLabels.find((row) => row.position === first)?.labels ?? [];
}

function captionOf(a, b) {
  if (a.predictions.labels?.length || b.predictions.labels?.length) {
    return _("Labels and their probabilities");
  }
  const [x, y] = [a, b].map(({qWords, word}) => visible(qWords[word]));
  return _("Labels of “{a}” in A and “{b}” in B", {a: x, b: y});
}

/** Where each head that answers questions finds its answer. */
function answers(a, b) {
  const spans = Object.entries({A: a, B: b}).filter(([, run]) => run.predictions.answer);
  return spans.map(([name, {predictions: {answer: {text, probability}}}]) =>
    h("p", {}, h("b", {}, `${name} `), _("The answer is “{text}”, with probability {p}.",
      {text, p: probability.toFixed(3)})));
}

/** Where a model is an adapter with a base of its own, the comparison of the two. */
export function basesOf({model, modelB, text, textB}, models) {
  const base = modelIn(models, model)?.base ?? null;
  const other = modelIn(models, modelB)?.base ?? null;
  const tuned = base ? [base, model] : [other, modelB];
  if (!tuned[0] || (tuned[0] === model && tuned[1] === modelB)
    || (tuned[0] === modelB && tuned[1] === model)) return [];
  const address = {model: tuned[0], model_b: tuned[1], text, text_b: textB};
  return [h("a", {class: "plain-button", href: pageOf("compare", address)},
    _("Compare {tuned} with {base}", {tuned: tuned[1], base: tuned[0]}))];
}
