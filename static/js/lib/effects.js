// Effects in words: a share of the way between two texts in percent, or the change of a metric.

import {isShare} from "./interventions.js";
import {_} from "./language.js";

/** What is measured, and what its change is called. */
const METRICS = {
  logit_difference: [_("the difference"), _("change of the difference")],
  probability: [_("the probability"), _("change of the probability")],
  loss: [_("the loss"), _("change of the loss")],
  cosine: [_("the cosine"), _("change of the cosine")],
  class_logit: [_("the logit of the label"), _("change of the logit")]
};

/** A probability and a cosine change by less than logits do. */
const digitsOf = (metric) => (["probability", "cosine"].includes(metric) ? 4 : 2);

function number(value, metric, sign = "") {
  const digits = value.toFixed(digitsOf(metric));
  const isZero = Number(digits) === 0;
  return `${sign && value > 0 ? "+" : ""}${isZero ? digits.replace("-", "") : digits}`
    .replace("-", "−");
}
const percent = (value) => `${Math.round(100 * value)} %`.replace("-", "−");

/** An effect: a share of the way in percent, or a change with its sign. */
export const effectText = (value, how, metric = "logit_difference") =>
  (isShare(how) ? percent(value) : number(value, metric, "+"));

export const valueText = (value, metric = "logit_difference") => number(value, metric);

/** What a cell of the map is. */
export const nameOfEffect = (how, metric) => (isShare(how) ? _("share of the difference")
  : METRICS[metric][1]);

const MOST = {
  zero: _("{place} matters most: with its output set to 0, {what} changes by {value}."),
  mean: _("{place} matters most: with its output replaced by its mean over the reference texts, {what} changes by {value}."),
  mean_positions: _("{place} matters most: with its output replaced by its mean over this text, {what} changes by {value}."),
  resample: _("{place} matters most: with its output from the corrupted text, {what} changes by {value}."),
  noise: _("{place} matters most: its output from the corrupted text, put into the clean run, undoes {value} of the difference between the texts."),
  denoise: _("{place} matters most: its output from the clean text, put into the corrupted run, restores {value} of the difference between the texts."),
  attribution: _("{place} matters most by the gradient: its output from the clean text would restore about {value} of the difference between the texts.")
};

/** What the map shows, in a sentence. */
export const verdictOf = ({how, place, value, metric}) =>
  _(MOST[how], {place, value: effectText(value, how, metric), what: METRICS[metric][0]});

/** All heads at once, beside the sum of the single effects. */
export const totalOf = ({how, joint, sum, kind, metric}) =>
  _("All heads of {kind} attention at once: {joint}; the single effects add up to {sum}.",
    {kind, joint: effectText(joint, how, metric), sum: effectText(sum, how, metric)});
