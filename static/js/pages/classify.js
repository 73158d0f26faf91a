// The Classify page: what a head that tells labels apart says, where it reads it from, and which
// words the label depends on.

import {address, attention, classify} from "../lib/api.js";
import {attribute, showAttributions} from "../lib/attributions.js";
import {colorOf, css} from "../lib/color.js";
import {fillHeads} from "../lib/context.js";
import {modelIn, pageData} from "../lib/data.js";
import {drawTokens, mostOf, replaceContent} from "../lib/decoding.js";
import {byId, h} from "../lib/dom.js";
import {_} from "../lib/language.js";
import {placeName} from "../lib/reading.js";
import {saveBlob} from "../lib/save.js";
import {csvBlob, csvName} from "../lib/sheet.js";
import {copyLink, waysOut} from "../lib/summary.js";
import {sortable} from "../lib/tables.js";
import {label as labelOf, visible} from "../lib/token.js";
import * as url from "../lib/url.js";
import {frame} from "../lib/view.js";
import * as lines from "../views/lines.js";
import {mountPage} from "./engine.js";

const MOST_NAMED = 4; // tokens that a sentence names
const data = pageData();
const form = document.querySelector(".work");
const modelOf = (name) => modelIn(data.models, name) ?? data.models[0];
const unitOf = (name) => modelOf(name).classes.unit;
const UNLOCKED = {query: null, side: "query"};
const FRESH = {label: "", position: "", ...UNLOCKED};

function fit(wanted) {
  const {nLayer, nHead, classes} = modelOf(wanted.model);
  const has = !wanted.label || classes.names.includes(wanted.label);
  return {...wanted, label: has ? wanted.label : "",
    layer: Math.max(0, Math.min(Number(wanted.layer) || 0, nLayer - 1)),
    head: Math.max(0, Math.min(Number(wanted.head) || 0, nHead - 1))};
}

/** Another text has other tokens, and another model other labels. */
function retype(wanted, before) {
  const isOther = (...keys) => keys.some((key) => (wanted[key] ?? "") !== (before[key] ?? ""));
  return {...wanted, ...(isOther("text", "textPair", "choices", "model") ? FRESH : {})};
}

const linesOf = (texts) => (texts ?? "").split("\n").filter((line) => line.trim());

/** What /classify is asked; app/pages/classify.py asks the same. */
function specOf({model, text, textPair, choices, label, position, layer, head}) {
  const isChoice = unitOf(model) === "choice";
  const takesPair = modelOf(model).takesPair && !isChoice;
  return {model, text, textPair: (takesPair && textPair) || null,
    choices: isChoice ? JSON.stringify(linesOf(choices)) : null, label: label || null,
    position: position === "" ? null : Number(position), layer, head};
}

async function answer(wanted, options) {
  const result = await classify(specOf(wanted), options);
  const {model, text, textPair} = result;
  const {layer, head} = wanted;
  const record = await attention({model, text, textPair, layer, head}, options);
  return {found: {result, record}};
}

// Drawing: what the head says.

const percent = (probability) => probability.toFixed(3);

/** One sentence for what the head says. */
function verdictOf({classes: {unit}, labels, tokenLabels, answer: span, choice}) {
  if (unit === "answer") {
    return span ? _("The answer is “{text}”, with probability {p}.",
      {text: span.text, p: percent(span.probability)}) : _("The text has no answer.");
  }
  if (unit === "token") return _("Each token has a label; {n} tokens.", {n: tokenLabels.length});
  const [{label, logit, probability}] = labels;
  if (unit === "value") return _("The value is {value}.", {value: logit.toFixed(3)});
  if (unit === "choice") {
    return _("The best fit is text {n}, “{text}”, with probability {p}.",
      {n: choice + 1, text: label, p: percent(probability)});
  }
  return _("The label is {label}, with probability {p}.", {label, p: percent(probability)});
}

/** A bar of a share; beside it stands its number. */
function bar(share, theme) {
  const inside = h("span", {class: "classify-bar"});
  inside.style.width = `${100 * share}%`;
  inside.style.background = css(colorOf(0.45, theme));
  return h("td", {class: "classify-scale", "aria-hidden": "true"}, h("span", {}, inside));
}

/** Labels, each a button that shows what its logit is read from. */
function labelsTable(rows, {caption, chosen, pick, theme}) {
  const name = ({label}) => (pick ? h("button", {type: "button", "aria-pressed":
    `${label === chosen}`, onclick: () => pick(label)}, h("bdi", {}, label)) : h("bdi", {}, label));
  const heading = (text, props = {}) => h("th", {scope: "col", ...props}, text);
  return h("table", {class: "numbers classify-labels"}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heading(_("label")), h("td"),
      heading(_("probability"), {class: "n"}),
      heading(_("logit"), {class: "n"}))),
    h("tbody", {}, ...rows.map((row) => h("tr",
      row.label === chosen ? {"aria-current": "true"} : {}, h("th", {scope: "row"}, name(row)),
      bar(row.probability ?? 0, theme),
      h("td", {class: "n"}, row.probability === null ? "" : percent(row.probability)),
      h("td", {class: "n"}, row.logit.toFixed(2).replace("-", "−"))))));
}

function drawLabels({found: {result}}, theme) {
  const {classes: {unit, several}, labels, tokenLabels, tokens, position, label} = result;
  byId("verdict").textContent = verdictOf(result);
  const pick = (name) => page.want({label: name});
  const parts = [];
  if (labels.length) {
    parts.push(labelsTable(labels, {caption: several ? _("Labels: each by itself, none or several")
      : _("Labels and their probabilities"), chosen: label,
    pick: ["text", "pair"].includes(unit) ? pick : null, theme}));
  }
  if (tokenLabels.length) {
    const byToken = new Map(tokenLabels.map((row) => [tokens[row.position], row.position]));
    const chosen = tokenLabels.find((row) => row.position === position);
    parts.push(labelsTable(chosen.labels, {caption: _("Labels of “{token}” ({position})",
      {token: visible(tokens[position]), position}), chosen: label, pick, theme}),
    sortable({caption: _("The label of each token; a click shows its reading"),
      columns: [[_("token")], [_("label")], [_("probability"), 3]],
      rows: tokenLabels.map(({position: i, labels: [best]}) =>
        [tokens[i], best.label, best.probability]),
      pick: ([token]) => page.want({position: `${byToken.get(token)}`, label: ""})}));
  }
  replaceContent(byId("labels"), ...parts);
  byId("labels-said").textContent = ["text", "pair"].includes(unit) && labels.length > 1
    ? _("Click a label to see what its logit is read from.") : "";
}

// Where it reads from.

const named = (tokens, places) => places.slice(0, MOST_NAMED)
  .map((i) => `“${visible(tokens[i])}”`).join(", ") + (places.length > MOST_NAMED ? ", …" : "");

/** From which tokens the label is read, and where those look. */
function readingOf({tokens, reads, attention: row, layer, head}) {
  const values = {place: placeName(layer, head), most: mostOf(tokens, row)};
  if (reads.length === tokens.length) {
    return _("The head reads every token. In {place} they give, on average, most to: {most}.",
      values);
  }
  return reads.length === 1
    ? _("The head reads {tokens} alone. In {place} that token gives most to: {most}.",
      {tokens: named(tokens, reads), ...values})
    : _("The head reads {tokens}. In {place} these give, on average, most to: {most}.",
      {tokens: named(tokens, reads), ...values});
}

const view = lines.mount(byId("head-view"), ({query, side = "query"}) =>
  query !== undefined && page.want({query, side}));

function drawReading({found: {result, record}, layer, head, query, side}, theme) {
  const {tokens, reads, attention: row, answer: span} = result;
  const read = new Set(reads);
  const isAnswer = (i) => span && i >= span.first && i <= span.last;
  drawTokens(byId("sentence"), {tokens, theme, values: row,
    marks: tokens.map((none, i) => (isAnswer(i) ? "kept" : read.has(i) ? "masked" : "")),
    titles: tokens.map((token, i) => `${labelOf(token)}: ${row[i].toFixed(3)}`)});
  byId("reads-said").textContent = readingOf(result);
  const first = reads.length < tokens.length ? reads[0] : null;
  const locked = query !== null && query < tokens.length ? query : first;
  view.update(frame({record, layer, head, query: locked, side, theme}));
}

/** What the attributions of the label are asked for with. */
function attributionsOf({found: {result}}) {
  const {model, text, textPair, label, position, layer, head, reads, tokens, classes} = result;
  const isNumber = ["value", "choice"].includes(classes.unit);
  const metric = {kind: "class_logit", answer: isNumber ? null : label || null,
    position: classes.unit === "token" ? position : null};
  return {clean: {model, text, textPair}, metric, layer, head,
    query: reads.length < tokens.length ? reads[0] : null};
}

/** Where the numbers come from. */
function sourceOf({model, provenance: {sha256, version}}) {
  const weights = _("weights {sha}", {sha: sha256.slice(0, 8)});
  return `${model} · ${weights} · Attention Atlas ${version}`;
}

function drawFoot(state) {
  const {result} = state.found;
  const {model, layer, head} = result;
  const source = sourceOf(result);
  const here = {model, text: result.text, text_pair: result.textPair ?? undefined, layer, head};
  byId("foot").replaceChildren(h("span", {}, source), waysOut({
    links: [["json", address("classify", specOf(state))],
      [_("Explore"), url.pageOf("explore", here)], [_("Lab"), url.pageOf("lab", here)]],
    actions: [["csv", () => saveCsv(result, source)],
      [_("Copy link"), () => copyLink(url.href())]]}));
}

/** Each label with its number; where each token has one, all of them. */
async function saveCsv({labels, tokenLabels, answer: span, tokens}, provenance) {
  const rows = tokenLabels.flatMap(({position, labels: own}) =>
    own.map(({label, logit, probability}) =>
      [position, tokens[position].text, label, logit, probability ?? NaN]));
  const sheet = tokenLabels.length
    ? {columns: ["position", "token", "label", "logit", "probability"], rows}
    : span ? {columns: ["first", "last", "answer", "probability"],
      rows: [[span.first, span.last, span.text, span.probability]]}
      : {columns: ["label", "logit", "probability"],
        rows: labels.map(({label, logit, probability}) => [label, logit, probability ?? NaN])};
  saveBlob(csvBlob(sheet), csvName({file: ["classify"], provenance}));
  return "";
}

function drawControls({model}) {
  const unit = unitOf(model);
  byId("choices-field").hidden = unit !== "choice";
  byId("pair-field").hidden = unit === "choice" || !modelOf(model).takesPair;
}

function draw(state, theme) {
  const {nLayer, nHead} = modelOf(state.model);
  fillHeads(form, [nLayer, nHead]);
  drawLabels(state, theme);
  drawReading(state, theme);
  const title = byId("attributions-title").textContent;
  showAttributions(state.attributed, attributionsOf(state), theme,
    {title, provenance: sourceOf(state.found.result), file: ["classify", state.model]});
  drawFoot(state);
}

const given = {...data, textPair: data.textPair ?? ""};
const page = mountPage({data, fields: url.CLASSIFY, form, busy: byId("work"), given,
  more: {attributed: null}, local: ["query", "side"], fit, retype, answer, draw,
  controls: drawControls,
  texts: ({model, found: {result}}) => [{model, sequences: {source: result.tokens}}],
  plain: {textPair: "", choices: "", ...FRESH}});

byId("attribute").addEventListener("click", () => {
  const state = page.get();
  attribute(attributionsOf(state), state.found.result.tokens,
    (attributed) => page.patch({attributed})).catch(({message}) => page.patch({problem: message}));
});
