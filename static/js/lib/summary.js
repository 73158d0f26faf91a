// The words around the picture: the head's numbers, the predictions, what went wrong, provenance.

import {POWER, absent, css, stops} from "./color.js";
import {byId, h} from "./dom.js";
import {_} from "./language.js";
import {distance, entropy, firstToken, previousToken} from "./metrics.js";
import {KIND_NAMES, METRIC_NAMES, definitionOf, metricText, pictureTitle, placeName, roleText,
  rolesOf} from "./reading.js";
import {headOf} from "./tensor.js";
import {tokenNode} from "./token.js";

const LACKS = {
  q: "q", k: "k", v: "v", scores: _("scores"), edits: _("edits"), predictions: _("predictions")
};
const strong = (text) => h("b", {}, text);
const quote = (text) => `“${text.length > 80 ? `${text.slice(0, 79)}…` : text}”`;

/** Scale, head title and numbers, predictions and provenance of what is drawn. */
export function showPicture(state, theme, model, links, root = document) {
  const {record, run} = state;
  byId("head-title", root).textContent = pictureTitle(state);
  byId("stats", root).replaceChildren(...badges(state), ...stats(state));
  byId("predictions", root).replaceChildren(...predictions(run, model), ...lacking(model),
    ...remarks(model));
  byId("legend", root).replaceChildren(...legend(theme, record));
  byId("foot", root).hidden = false;
  byId("foot", root).replaceChildren(h("span", {}, provenance(state)), links);
}

/** The scale is labelled in attention; its colours follow the power. */
function legend(theme, {mask}) {
  const bar = h("span", {class: "scale"});
  const colors = stops(theme).map(([, color]) => color);
  bar.style.background = `linear-gradient(90deg, ${colors.join(", ")})`;
  const swatch = h("span", {class: "scale swatch"});
  swatch.style.background = css(absent(theme));
  const masked = mask.data.includes(0) ? [swatch, _("masked")] : [];
  return ["0", bar, "1", h("span", {class: "power"},
    _("colour = attention^{power}", {power: POWER})), ...masked];
}

/** What the chosen head is called, with its score. */
function badges({metrics, record, shown, layer, head}) {
  if (!metrics || record.reduce !== "none" || shown.length > 1) return [];
  return rolesOf(metrics, layer, head).map((role) => {
    const {text, title} = roleText(role, metrics.roleDefinitions);
    return h("span", {class: "badge", title}, text);
  });
}

/** The numbers of what is drawn, or of the first of several heads; of scores there are none. */
function stats({record, shown, layer, head, metrics}) {
  if (record.quantity === "scores") return [_("scores q·k/√d, before the softmax")];
  const {attn} = headOf(record);
  const of = {entropy, distance, previous_token: previousToken, first_token: firstToken};
  const between = record.kind === "cross" ? ["entropy", "first_token"] : Object.keys(of);
  const whose = shown.length > 1 ? [h("span", {}, `${placeName(layer, head)}:`)] : [];
  return [...whose, ...between.map((name) => h("span", definitionOf(metrics, name),
    `${METRIC_NAMES[name]} `,
    strong(metricText(name, of[name](attn))), name === "entropy" ? ` ${_("nats")}` : ""))];
}

/** What a model whose attention is computed in its own way cannot show, by name. */
function lacking({lacks, why}) {
  if (!lacks.length) return [];
  const what = lacks.map((name) => LACKS[name]).join(", ");
  return [h("span", {class: "lacks"}, _("Not available for this model: {what} ({why}).",
    {what, why}))];
}

/** What else there is to know of a model: what its folder holds that is not shown. */
function remarks({notes = []}) {
  return notes.map(({template, values}) => h("span", {class: "lacks"}, _(template, values)));
}

function predictions({predictions: found, target, targetDecoded, sequences}, {tasks, mask}) {
  if (found.labels?.length) return [`${_("Labels")} `, ...found.labels.slice(0, 5).map(labelNode)];
  if (found.tokenLabels?.length) return tokenLabels(found.tokenLabels, sequences.source);
  if (found.answer) {
    return [`${_("Answer")} `, h("bdi", {class: "said"}, found.answer.text), " ",
      strong(found.answer.probability.toFixed(2))];
  }
  if (!tasks.length) return [`${_("This model has no head that predicts words.")} `];
  if ("nextToken" in found) return [`${_("Next token")} `, ...candidates(found.nextToken)];
  if ("translation" in found) {
    const how = targetDecoded ? _("decoded by the model") : _("given");
    const said = h("bdi", {class: "said"}, targetDecoded ? found.translation : target);
    return [`${_("Translation")} `, said, ` ${how}, ${_("log-probability")} `,
      strong(found.logProbability.toFixed(2))];
  }
  const masks = found.masks.flatMap(({position, candidates: best}) =>
    [_("{mask} at {position}", {mask, position}), " ", ...candidates(best)]);
  const next = found.isNext ?? null;
  const follows = next === null ? []
    : [`${_("The second sentence follows the first")} `, strong(next.toFixed(2))];
  const hint = _("Write {mask} in the text and the model fills it in.", {mask});
  return masks.length || follows.length ? [...masks, ...follows] : [hint];
}

function labelNode({label, logit, probability}) {
  return h("span", {class: "candidate"}, h("bdi", {}, label), " ",
    h("span", {class: "n"}, (probability ?? logit).toFixed(2)));
}

/** The best label of each token. */
function tokenLabels(rows, tokens) {
  return rows.map(({position, labels: [best]}) => h("span", {class: "candidate"},
    tokenNode(tokens[position]), " ", labelNode(best)));
}

function candidates(best) {
  return best.slice(0, 5).map(({token, text, probability}) => h("span", {class: "candidate"},
    tokenNode({raw: token, text}), " ", h("span", {class: "n"}, probability.toFixed(2))));
}

/** Where the numbers come from, in a line: under the picture, and in every figure. */
export function provenance(state) {
  const {record, special, merge} = state;
  const parts = [pictureTitle(state), kindOf(record)];
  if (merge === "words") parts.push(_("pieces merged into words"));
  return sourced(state, [...parts, rowsSum(record, special)]);
}

/** The same of the picture of all heads. */
export function gridProvenance(state) {
  const {overview, run: {kinds}} = state;
  const {layers, heads, kind, attn: {shape: [, , n, m]}} = overview;
  const parts = [_("layers × heads: {L} × {H}", {L: layers.length, H: heads.length}),
    kindOf(overview)];
  const {shape} = kinds.find((whole) => whole.kind === kind);
  const [Tq, Tk] = shape.slice(-2);
  if (n < Tq || m < Tk) {
    parts.push(_("{Tq} × {Tk} tokens as {n} × {m} pixels, each the largest attention in it", {Tq, Tk, n, m}));
  }
  return sourced(state, parts);
}

const kindOf = ({kind}) => _("{kind} attention", {kind: KIND_NAMES[kind]});

/** What is said of a picture, between the model that it is of and the version that drew it. */
function sourced({run: {provenance: {model, sha256, dtype, version}}}, parts) {
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  return [model, weights, dtype, ...parts, `Attention Atlas ${version}`].join(" · ");
}

function rowsSum(record, special) {
  const {quantity, reduce} = record;
  if (quantity === "scores") return _("scores before the softmax");
  if (reduce === "max_heads") return _("rows need not sum to 1");
  if (special !== "hide" && !sumToOne(headOf(record).attn)) {
    return _("rows sum to less than 1: the model keeps a part of each for no token");
  }
  return special === "hide" ? _("special tokens hidden, rows sum to less than 1")
    : _("rows sum to 1");
}

/** Whether each row that looks anywhere sums to 1; those of a model with a sink do not. */
function sumToOne({data, shape: [Tq, Tk]}) {
  return Array.from({length: Tq}, (none, q) => data.subarray(q * Tk, (q + 1) * Tk))
    .every((row) => {
      const sum = row.reduce((total, share) => total + share, 0);
      return sum === 0 || sum > 0.99;
    });
}

/** The two lines of every page: the problem; what there is to know, and what was ignored. */
export function showNotice({problem, notice, ignored}, more = "") {
  say("problem", problem ?? "");
  const skipped = ignored.length
    ? _("Ignored from the address: {parts}.", {parts: ignored.join(", ")}) : "";
  say("notice", [notice, more, skipped].filter(Boolean).join(" "));
}

/** That a text was refused and the picture is of the one before. */
export function staleText({problem, draft, found, text = null, texts = text}) {
  const isStale = problem && found && draft && ("text" in draft || "texts" in draft);
  return isStale ? _("The picture is of the earlier text: {text}", {text: quote(texts ?? "")}) : "";
}

/** Text in an element, if the page has it and it differs. */
export function say(id, text, root = document) {
  const el = byId(id, root);
  if (el && el.textContent !== text) el.textContent = text;
}

/** Put an address on the clipboard; answers what to say of it. */
export async function copyLink(href) {
  const copied = await navigator.clipboard?.writeText(href).then(() => true, () => false);
  return copied ? _("copied") : _("copy it from the address bar");
}

/**
 * The ways out: this picture's address, the picture as a file, its numbers in each format.
 * @param {{links: [string, string][], actions: [string, () => Promise<string>][], linked?:
 * string}} ways
 *   an action answers what to say when it is done; `linked` is what the links are of, where that
 *   is not all
 */
export function waysOut({links, actions, linked = ""}) {
  const said = h("span", {role: "status"});
  const button = ([name, act]) => h("button", {type: "button", class: "plain-button",
    onclick: async () => {
      try {
        said.textContent = await act();
      } catch (error) {
        said.textContent = error.message;
      }
    }}, name);
  const anchors = links.map(([name, href]) => h("a", {href}, name));
  const whose = linked ? [h("span", {class: "linked"}, linked)] : [];
  return h("span", {class: "ways"}, said, ...actions.map(button), ...whose, ...anchors);
}
