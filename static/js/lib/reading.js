// What pictures say in words: a head's name, its metrics, what a token looks at.

import {_} from "./language.js";
import {label} from "./token.js";

export const KIND_NAMES = {encoder: _("encoder"), decoder: _("decoder"), cross: _("cross")};

/** The metrics of /api/v1/metrics as they are called on screen. */
export const METRIC_NAMES = {
  entropy: _("entropy"),
  distance: _("distance"),
  previous_token: _("previous token"),
  self: _("self"),
  next_token: _("next token"),
  first_token: _("first token"),
  induction: _("induction"),
  special: _("special tokens"),
  named: _("named heads")
};
/** What a head is called that has a role, and the same short. */
export const ROLE_NAMES = {
  previous_token: [_("previous-token head"), _("prev")],
  next_token: [_("next-token head"), _("next")],
  self: [_("same-token head"), _("same")],
  first_token: [_("first-token head"), _("first")],
  special: [_("special-token head"), _("special")],
  induction: [_("induction head"), _("ind")],
  positional: [_("positional head"), _("pos")],
  alignment: [_("alignment head"), _("align")],
  relation: [_("syntactic head"), _("syn")]
};

/** What a metric is, in words, as a tooltip; nothing where the answer does not say. */
export function definitionOf(metrics, name) {
  const text = metrics?.definitions?.[name];
  return text ? {title: _(text)} : {};
}

/** The roles of one head, the highest score first. */
export const rolesOf = (metrics, layer, head) => (metrics?.roles ?? [])
  .filter((role) => role.layer === layer && role.head === head)
  .sort((a, b) => b.score - a.score);

/** A number for each head: a metric, or the score of its best role, NaN without one. */
export function valuesOf(metrics, metric) {
  if (metric !== "named" || !metrics) return metrics?.metrics[metric];
  return metrics.layers.map((layer) => metrics.heads.map((head) =>
    rolesOf(metrics, layer, head)[0]?.score ?? NaN));
}

/** "induction head 0.89", and what that is and where it was measured. */
export function roleText({role, score, detail, measured_on: where, source, n}, definitions) {
  const [name] = ROLE_NAMES[role];
  const text = `${name} ${score.toFixed(2)}`;
  const of = source === "text" ? _("in this text") : _("by the model's card: {n} {where}",
    {n: n ?? "", where: _(where)}).replace("  ", " ");
  return {text, title: [_(definitions[role]), detail, of].filter(Boolean).join(" · ")};
}

const DIGITS = {entropy: 2, distance: 1};

/** A metric's value as text: nats and tokens as they are, shares with two digits. */
export const metricText = (name, value) => value.toFixed(DIGITS[name] ?? 2);

/** "L2 H3". */
export const placeName = (layer, head) => `L${layer} H${head}`;

/** Names of the hidden states: the embedding, then after each layer, by the layer's number. */
export const stateNames = (n) => Array.from({length: n}, (none, i) =>
  (i === 0 ? _("embedding") : _("Layer {layer}", {layer: i - 1})));

/** The same, short: under a chart. */
export const stateTicks = (n, first = _("embedding")) =>
  Array.from({length: n}, (none, i) => (i === 0 ? first : `L${i - 1}`));

/** The numbers of one head: [[name, text], …]. */
export function metricsOf({metrics, layers, heads}, layer, head) {
  const [l, h] = [layers.indexOf(layer), heads.indexOf(head)];
  return Object.entries(metrics).map(([name, rows]) => [name, metricText(name, rows[l][h])]);
}

/** What is shown: one head, or what the layer's heads come to. */
export function recordTitle({reduce, layers, heads}) {
  const layer = layers.at(-1);
  if (reduce === "mean_heads") return _("Layer {layer} · mean of its heads", {layer});
  if (reduce === "max_heads") return _("Layer {layer} · largest of its heads", {layer});
  if (reduce === "rollout") return _("Rollout · layers 0 to {layer}", {layer});
  return _("Layer {layer} · Head {head}", {layer, head: heads[0]});
}

/** What a picture is of: the heads drawn together, or what its one record is of. */
export function pictureTitle({record, shown}) {
  if (shown.length < 2) return recordTitle(record);
  const [{layer}] = shown;
  return shown.every((other) => other.layer === layer)
    ? _("Layer {layer} · Heads {heads}", {layer, heads: shown.map(({head}) => head).join(", ")})
    : _("Heads {heads}", {heads: shown.map((one) => placeName(one.layer, one.head)).join(", ")});
}

/** The tokens of the axis of a side, and of the other one. */
export function sidesOf({qTokens, kTokens}, side) {
  return side === "query" ? [qTokens, kTokens] : [kTokens, qTokens];
}

/** "bank looks most at  river 0.412  ·  …": the largest of the values, NaN where masked. */
export function mostText(record, {side, index, more = []}, values) {
  const [own, others] = sidesOf(record, side);
  const best = Array.from(values, (value, i) => ({value, i})).filter(({value}) => value >= 0);
  best.sort((a, b) => b.value - a.value);
  const most = best.slice(0, 3).map(({value, i}) => `${label(others[i])} ${value.toFixed(3)}`);
  const token = [index, ...more].map((i) => label(own[i])).join(" + ");
  const names = {token, most: most.join("  ·  ")};
  return side === "query"
    ? _("{token} looks most at  {most}", names)
    : _("{token} is looked at most by  {most}", names);
}
